package prom_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/test/services"
)

// scraper does what Prometheus does at a scrape, at instants of the past: it reads what the exporter says, and writes it into a
// real Prometheus, with a staleness marker for every series that is gone.
type scraper struct {
	t          *testing.T
	from       string // URL of the exporter's page
	to         *services.PrometheusServer
	known      map[string]seen // series of the scrape before
	samples    int
	histograms int
	markers    int
}

type seen struct {
	labels    []prompb.Label
	histogram bool
}

// accept asks for native histograms, with the classic ones beside them.
const accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

func (s *scraper) scrape(at time.Time) {
	s.t.Helper()
	var out prompb.WriteRequest
	now := map[string]seen{}
	s.read(func(l labels.Labels, v float64, h *histogram.Histogram) {
		key := l.String()
		ts := prompb.TimeSeries{Labels: prompb.FromLabels(l, nil)}
		if h != nil {
			ts.Histograms = []prompb.Histogram{prompb.FromIntHistogram(at.UnixMilli(), h)}
			key += " native"
			s.histograms++
		} else {
			ts.Samples = []prompb.Sample{{Timestamp: at.UnixMilli(), Value: v}}
			s.samples++
		}
		now[key] = seen{labels: ts.Labels, histogram: h != nil}
		out.Timeseries = append(out.Timeseries, ts)
	})
	for key, old := range s.known {
		if _, there := now[key]; there {
			continue
		}
		s.markers++
		out.Timeseries = append(out.Timeseries, prompb.TimeSeries{
			Labels: old.labels, Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: math.Float64frombits(value.StaleNaN)}},
		})
	}
	s.known = now
	s.write(&out)
}

// read gives every sample of the page.
func (s *scraper) read(f func(l labels.Labels, v float64, h *histogram.Histogram)) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.from, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%d %v: %.500s", res.StatusCode, err, page)
	}
	p, err := textparse.New(page, res.Header.Get("Content-Type"), labels.NewSymbolTable(), textparse.ParserOptions{
		KeepClassicOnClassicAndNativeHistograms: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.t.Fatal(err)
		}
		var l labels.Labels
		switch entry {
		case textparse.EntrySeries:
			_, _, v := p.Series()
			p.Labels(&l)
			f(l, v, nil)
		case textparse.EntryHistogram:
			_, _, h, _ := p.Histogram()
			p.Labels(&l)
			f(l, 0, h)
		}
	}
}

// write hands a request to Prometheus.
func (s *scraper) write(m *prompb.WriteRequest) {
	s.t.Helper()
	plain, err := m.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.to.URL()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, plain)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if said, _ := io.ReadAll(res.Body); res.StatusCode/100 != 2 {
		s.t.Fatalf("Prometheus answers %d: %s", res.StatusCode, said)
	}
}
