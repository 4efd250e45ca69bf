package forward

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
)

// remoteWrite speaks Prometheus remote write 1.0.
type remoteWrite struct {
	window
	config  *forward.Config
	request prompb.WriteRequest
	samples int
	plain   []byte // reused
}

func newRemoteWrite(c *forward.Config) *remoteWrite { return &remoteWrite{config: c} }

func (r *remoteWrite) begin(from, to time.Time) time.Time {
	r.set(from, to)
	r.reset()
	return from
}

// add gathers samples. What it keeps of list is its strings, which do not change.
func (r *remoteWrite) add(list []series.Series, full func() error) error {
	for i := range list {
		s := &list[i]
		if !r.config.Wants(valueOf(s.Labels, series.NameLabel)) {
			continue
		}
		ts := prompb.TimeSeries{}
		for _, f := range s.Floats {
			if r.has(f.At) {
				ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: f.At, Value: f.Value})
			}
		}
		for _, h := range s.Histograms {
			if !r.has(h.At) {
				continue
			}
			var m prompb.Histogram
			if err := m.Unmarshal(h.Data); err != nil {
				return fmt.Errorf("a histogram of %s: %w", valueOf(s.Labels, series.NameLabel), err)
			}
			m.Timestamp = h.At
			ts.Histograms = append(ts.Histograms, m)
		}
		n := len(ts.Samples) + len(ts.Histograms)
		if n == 0 {
			continue
		}
		if r.samples+n > batchSamples && r.samples > 0 {
			if err := full(); err != nil {
				return err
			}
		}
		ts.Labels = r.labels(s.Labels)
		r.request.Timeseries = append(r.request.Timeseries, ts)
		r.samples += n
	}
	return nil
}

// labels are the series' own with the external ones that it does not have, sorted as the receiver expects.
func (r *remoteWrite) labels(own []series.Label) []prompb.Label {
	out := make([]prompb.Label, 0, len(own)+len(r.config.ExternalLabels))
	for _, l := range own {
		out = append(out, prompb.Label{Name: l.Name, Value: l.Value})
	}
	for name, value := range r.config.ExternalLabels {
		if valueOf(own, name) == "" {
			out = append(out, prompb.Label{Name: name, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// take returns the gathered request, compressed.
func (r *remoteWrite) take() ([]byte, int, error) {
	n := r.samples
	if n == 0 {
		return nil, 0, nil
	}
	size := r.request.Size()
	r.plain = slices.Grow(r.plain[:0], size)[:size]
	_, err := r.request.MarshalToSizedBuffer(r.plain)
	r.reset()
	if err != nil {
		return nil, 0, fmt.Errorf("write the request: %w", err)
	}
	return snappy.Encode(nil, r.plain), n, nil
}

func (r *remoteWrite) reset() {
	clear(r.request.Timeseries) // let go of the strings
	r.request.Timeseries, r.samples = r.request.Timeseries[:0], 0
}
