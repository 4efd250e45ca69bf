package forward

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
)

// The types of Datadog's metrics, as its API numbers them.
const (
	datadogCount = 1
	datadogGauge = 3
)

// datadog speaks version 2 of Datadog's series API. Prometheus' names stay; labels become tags; a counter is sent as the count
// of each interval. As Datadog cannot join, every series of a monitor gets the tags that stand in tokiflow_monitor_info alone.
type datadog struct {
	window
	config   *forward.Config
	counters map[string]bool // names of series that only rise
	external []string        // tags
	info     map[string]tags // of each monitor, by id
	out      []datadogSeries
	samples  int
}

// tags are a monitor's, as of an instant.
type tags struct {
	list []string
	at   int64
}

// datadogSeries is one element of the request's series.
type datadogSeries struct {
	Metric   string         `json:"metric"`
	Type     int            `json:"type"`
	Interval int64          `json:"interval,omitempty"` // seconds; of counts
	Points   []datadogPoint `json:"points"`
	Tags     []string       `json:"tags,omitempty"`
}

type datadogPoint struct {
	Timestamp int64   `json:"timestamp"` // seconds since 1970
	Value     float64 `json:"value"`
}

func newDatadog(c *forward.Config) *datadog {
	d := &datadog{config: c, counters: map[string]bool{}, info: map[string]tags{}}
	for _, f := range metric.Families() {
		for _, s := range f.Series {
			if f.Type == metric.Counter || f.Type == metric.Histogram {
				d.counters[f.Name+s.Suffix] = true
			}
		}
	}
	for name, value := range c.ExternalLabels {
		d.external = append(d.external, name+":"+value)
	}
	slices.Sort(d.external)
	return d
}

// begin has the instant before the first read too: counts are differences.
func (d *datadog) begin(from, to time.Time) time.Time {
	d.set(from, to)
	d.out, d.samples = d.out[:0], 0
	maps.DeleteFunc(d.info, func(_ string, t tags) bool { return t.at < d.from-time.Hour.Milliseconds() }) // deleted
	return from.Add(-d.config.Interval)
}

// add gathers samples. Native histograms are left out: their classic form says the same.
func (d *datadog) add(list []series.Series, full func() error) error {
	for i := range list {
		d.learn(&list[i])
	}
	for i := range list {
		s := &list[i]
		name := valueOf(s.Labels, series.NameLabel)
		if !d.wants(name) {
			continue
		}
		out := datadogSeries{Metric: name, Type: datadogGauge, Points: d.gauge(s.Floats)}
		if d.counters[name] {
			out.Type, out.Interval, out.Points = datadogCount, int64(d.config.Interval/time.Second), d.count(s.Floats)
		}
		if len(out.Points) == 0 {
			continue
		}
		if d.samples+len(out.Points) > batchSamples && d.samples > 0 {
			if err := full(); err != nil {
				return err
			}
		}
		out.Tags = d.tags(s.Labels)
		d.out = append(d.out, out)
		d.samples += len(out.Points)
	}
	return nil
}

// wants leaves the buckets out unless they are asked for by name: Datadog bills by the series, and they are most of them.
func (d *datadog) wants(name string) bool {
	if len(d.config.Metrics) == 0 {
		return !strings.HasSuffix(name, "_bucket")
	}
	return d.config.Wants(name)
}

// gauge are the samples as they are; JSON has no NaN and no infinity.
func (d *datadog) gauge(floats []series.Float) []datadogPoint {
	var out []datadogPoint
	for _, f := range floats {
		if d.has(f.At) && !math.IsNaN(f.Value) && !math.IsInf(f.Value, 0) {
			out = append(out, datadogPoint{Timestamp: f.At / 1000, Value: f.Value})
		}
	}
	return out
}

// count are the differences from sample to sample. What a counter that was not there before begins with has come since: a
// monitor's counters begin at 0 when it is made.
func (d *datadog) count(floats []series.Float) []datadogPoint {
	var out []datadogPoint
	before := 0.0
	for _, f := range floats {
		if math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
			before = 0
			continue
		}
		rise := f.Value - before
		if rise < 0 {
			rise = f.Value // it began anew
		}
		before = f.Value
		if d.has(f.At) {
			out = append(out, datadogPoint{Timestamp: f.At / 1000, Value: rise})
		}
	}
	return out
}

// learn takes in what a monitor's info says.
func (d *datadog) learn(s *series.Series) {
	if valueOf(s.Labels, series.NameLabel) != metric.InfoName {
		return
	}
	at := int64(math.MinInt64)
	for _, f := range s.Floats {
		if !math.IsNaN(f.Value) {
			at = f.At
		}
	}
	id := valueOf(s.Labels, metric.LabelID)
	if known, ok := d.info[id]; ok && known.at > at {
		return // renamed: the younger one counts
	}
	d.info[id] = tags{list: tagsOf(s.Labels, metric.LabelID), at: at}
}

// tags are the series' labels, what its monitor's info says, and the external labels.
func (d *datadog) tags(labels []series.Label) []string {
	out := tagsOf(labels)
	if valueOf(labels, series.NameLabel) != metric.InfoName {
		out = append(out, d.info[valueOf(labels, metric.LabelID)].list...)
	}
	return append(out, d.external...)
}

// tagsOf writes labels as tags, without the name and those named. Of the label tags each is a tag of its own.
func tagsOf(labels []series.Label, without ...string) []string {
	var out []string
	for _, l := range labels {
		switch {
		case l.Name == series.NameLabel || slices.Contains(without, l.Name):
		case l.Name == "tags":
			for t := range strings.SplitSeq(strings.Trim(l.Value, ","), ",") {
				out = append(out, "tags:"+t)
			}
		default:
			out = append(out, l.Name+":"+l.Value)
		}
	}
	return out
}

// take returns the gathered request, compressed.
func (d *datadog) take() ([]byte, int, error) {
	n := d.samples
	if n == 0 {
		return nil, 0, nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := json.NewEncoder(z).Encode(struct {
		Series []datadogSeries `json:"series"`
	}{d.out})
	clear(d.out)
	d.out, d.samples = d.out[:0], 0
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("write the request: %w", err)
	}
	return b.Bytes(), n, nil
}
