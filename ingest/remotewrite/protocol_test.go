package remotewrite

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

func histogramAt(at time.Time) prompb.Histogram {
	return prompb.FromIntHistogram(at.UnixMilli(), &histogram.Histogram{
		Schema: 3, ZeroThreshold: 1e-9, ZeroCount: 1, Count: 6, Sum: 12.5,
		PositiveSpans: []histogram.Span{{Offset: -2, Length: 2}, {Offset: 3, Length: 1}}, PositiveBuckets: []int64{1, 1, -1},
		NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}}, NegativeBuckets: []int64{1},
	})
}

// TestHistograms: each kind is stored as a message of version 1.0, whichever version it came in.
func TestHistograms(t *testing.T) {
	at := now().UnixMilli()
	stale := math.Float64frombits(0x7ff0000000000002)
	for name, want := range map[string]prompb.Histogram{
		"integer": histogramAt(now()),
		"float": prompb.FromFloatHistogram(at, &histogram.FloatHistogram{
			CounterResetHint: histogram.GaugeType, Schema: -4, Count: 2.5, Sum: math.Inf(1),
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []float64{2, .5},
		}),
		"custom buckets": prompb.FromIntHistogram(at, &histogram.Histogram{
			Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 4, CustomValues: []float64{1, 2.5},
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []int64{1, 0, 0},
		}),
		"stale": prompb.FromIntHistogram(at, &histogram.Histogram{Sum: stale}),
		"empty": prompb.FromFloatHistogram(at, &histogram.FloatHistogram{}),
	} {
		t.Run(name, func(t *testing.T) {
			both(t, nil, []prompb.TimeSeries{{Labels: labelsOf("__name__", "h"), Histograms: []prompb.Histogram{want}}},
				func(t *testing.T, h *harness, w *httptest.ResponseRecorder) {
					if w.Code != http.StatusNoContent {
						t.Fatal(w.Code, w.Body)
					}
					s := h.appender.samples[orgOf(1)]
					var got prompb.Histogram
					if err := got.Unmarshal(s[0].Histograms[0].Data); err != nil {
						t.Fatal(err)
					}
					a, b := mustMarshal(t, &want), mustMarshal(t, &got)
					if !bytes.Equal(a, b) || s[0].Histograms[0].At != at {
						t.Errorf("%x became %x at %d", a, b, s[0].Histograms[0].At)
					}
				})
		})
	}
}

func mustMarshal(t *testing.T, h *prompb.Histogram) []byte {
	t.Helper()
	b, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBadHistograms(t *testing.T) {
	change := func(f func(*prompb.Histogram)) prompb.Histogram {
		h := histogramAt(now())
		f(&h)
		return h
	}
	for name, c := range map[string]struct {
		h    prompb.Histogram
		want string
	}{
		"buckets that the spans do not name": {change(func(h *prompb.Histogram) { h.PositiveDeltas = h.PositiveDeltas[1:] }), "spans need 3 buckets"},
		"a count that is not the buckets'":   {change(func(h *prompb.Histogram) { h.Count = &prompb.Histogram_CountInt{CountInt: 7} }), "Count field is 7"},
		"a negative bucket":                  {change(func(h *prompb.Histogram) { h.PositiveDeltas[0] = -1 }), "observation count of -1"},
		"an unknown schema":                  {change(func(h *prompb.Histogram) { h.Schema = 9 }), "schema 9"},
		"float buckets of an integer count":  {change(func(h *prompb.Histogram) { h.PositiveCounts = []float64{1} }), "float buckets"},
		"integer buckets of a float count":   {change(func(h *prompb.Histogram) { h.Count = &prompb.Histogram_CountFloat{CountFloat: 6} }), "integer buckets"},
		"spans beyond all numbers": {change(func(h *prompb.Histogram) {
			h.PositiveSpans = []prompb.BucketSpan{{Offset: math.MaxInt32, Length: math.MaxUint32}, {Offset: math.MaxInt32, Length: math.MaxUint32}}
		}), "histogram: "},
		"too many buckets": {change(func(h *prompb.Histogram) { h.PositiveDeltas = make([]int64, maxBuckets+1) }), "more than 10000 buckets"},
		"too many bytes":   {change(func(h *prompb.Histogram) { h.CustomValues = make([]float64, maxHistogramSize/8) }), "65536 are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			good := histogramAt(now().Add(time.Second))
			both(t, nil, []prompb.TimeSeries{{Labels: labelsOf("__name__", "h"), Histograms: []prompb.Histogram{c.h, good}}},
				func(t *testing.T, h *harness, w *httptest.ResponseRecorder) {
					if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "series h{}: histogram: ") || !strings.Contains(w.Body.String(), c.want) {
						t.Errorf("%d %s, want %q", w.Code, w.Body, c.want)
					}
					if got := text(h.appender.samples[orgOf(1)]); got != "__name__=\"h\" histogram@1000\n" {
						t.Errorf("stored %s", got)
					}
				})
		})
	}
}

// TestV2Messages: what only version 2.0 can get wrong.
func TestV2Messages(t *testing.T) {
	sample := []writev2.Sample{{Value: 1, Timestamp: now().UnixMilli(), StartTimestamp: 5}}
	good := writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: sample}
	for name, c := range map[string]struct {
		ts     writev2.TimeSeries
		status int
		want   string
	}{
		"good":                  {good, 204, ""},
		"an odd number of refs": {writev2.TimeSeries{LabelsRefs: []uint32{1, 2, 3}, Samples: sample}, 400, `series up{}: an odd number of references`},
		"a symbol outside":      {writev2.TimeSeries{LabelsRefs: []uint32{1, 2, 3, 99}, Samples: sample}, 400, `symbol 99 of a label is not among the 5 symbols`},
		"help outside":          {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: sample, Metadata: writev2.Metadata{HelpRef: 5}}, 400, `help_ref 5`},
		"nothing in it":         {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}}, 400, `no sample, no histogram and no exemplar`},
		"exemplars alone":       {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Exemplars: []writev2.Exemplar{{Value: 1}}}, 204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			w := h.v2(&writev2.Request{Symbols: []string{"", "__name__", "up", "job", "a"}, Timeseries: []writev2.TimeSeries{c.ts, good}})
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s, want %d %q", w.Code, w.Body, c.status, c.want)
			}
			if got := text(h.appender.samples[orgOf(1)]); !strings.HasSuffix(got, "__name__=\"up\" 1@0\n") {
				t.Errorf("stored %s", got)
			}
			if n, err := sum(h, "tokiflow_remote_write_created_timestamps_ignored_total"); n == 0 || err != nil {
				t.Errorf("%v times of creation ignored, %v", n, err)
			}
		})
	}
}

// TestV2Forms: references that are not packed, symbols behind the series, and fields that nobody knows yet.
func TestV2Forms(t *testing.T) {
	symbol := func(s string) []byte { return append([]byte{0x22, byte(len(s))}, s...) }
	sample := binary.AppendUvarint([]byte{0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10}, uint64(now().UnixMilli())) // 1 at now
	sample = append([]byte{0x12, byte(len(sample))}, sample...)
	ts := append([]byte{0x08, 1, 0x08, 2}, sample...)
	ts = append(ts, 0xf8, 0x01, 5, 0xfd, 0x01, 1, 2, 3, 4, 0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8) // fields 31
	body := append([]byte{0x2a, byte(len(ts))}, ts...)
	for _, s := range []string{"", "__name__", "up"} {
		body = append(body, symbol(s)...)
	}
	h := newHarness(t, nil)
	if w := h.post(snappy.Encode(nil, body), "Content-Type", typeV2); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	if got, want := text(h.appender.samples[orgOf(1)]), "__name__=\"up\" 1@0\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestClient: client_golang's own client is satisfied with both versions.
func TestClient(t *testing.T) {
	h := newHarness(t, nil)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	client := &http.Client{Transport: withKey{http.DefaultTransport}}
	for _, c := range []struct {
		kind remote.WriteMessageType
		msg  any
	}{
		{remote.WriteV1MessageType, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(1, "__name__", "up")}}},
		{remote.WriteV2MessageType, asV2(t, []prompb.TimeSeries{one(2, "__name__", "up")})},
	} {
		api, err := remote.NewAPI(server.URL, remote.WithAPIHTTPClient(client), remote.WithAPIPath("prometheus/api/v1/write"))
		if err != nil {
			t.Fatal(err)
		}
		stats, err := api.Write(t.Context(), c.kind, c.msg)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
		}
		if c.kind == remote.WriteV2MessageType && stats.Samples != 1 {
			t.Errorf("%+v", stats)
		}
	}
	if got := text(h.appender.samples[orgOf(1)]); got != "__name__=\"up\" 1@0\n__name__=\"up\" 2@0\n" {
		t.Error(got)
	}
}

type withKey struct{ inner http.RoundTripper }

func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer k1")
	return k.inner.RoundTrip(r)
}

func newBatch() *batch {
	rules := admit.Rules{}.WithDefaults()
	return &batch{rules: &rules, now: now()}
}

// FuzzV1: nothing panics; what the schema's own decoder takes and ours keeps is the same.
func FuzzV1(f *testing.F) {
	seed := func(s ...prompb.TimeSeries) {
		raw, err := (&prompb.WriteRequest{Timeseries: s, Metadata: []prompb.MetricMetadata{{MetricFamilyName: "up", Help: "h"}}}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	seed(one(1, "__name__", "up", "job", "a"), prompb.TimeSeries{Labels: labelsOf("__name__", "h"), Histograms: []prompb.Histogram{histogramAt(now())}})
	seed(one(1, "b", "1", "a", "2", "__name__", "up", "c", ""))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := newBatch()
		err := b.readV1(string(raw))
		checkBatch(t, b)
		var theirs prompb.WriteRequest
		if theirs.Unmarshal(raw) != nil || err != nil {
			return
		}
		var want []series.Series
		for _, ts := range theirs.Timeseries {
			var l []series.Label
			for _, p := range ts.Labels {
				l = append(l, series.Label{Name: p.Name, Value: p.Value})
			}
			var floats []series.Float
			for _, s := range ts.Samples {
				if b.rules.Time(s.Timestamp, now()) == "" {
					floats = append(floats, series.Float{At: s.Timestamp, Value: s.Value})
				}
			}
			if kept, err := b.rules.Labels(l); err == nil && len(floats) > 0 && len(ts.Labels) <= 2*b.rules.MaxLabels {
				want = append(want, series.Series{Labels: kept, Floats: floats})
			}
		}
		var got []series.Series
		for _, s := range b.series {
			if s.Floats != nil {
				got = append(got, series.Series{Labels: s.Labels, Floats: s.Floats})
			}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })); diff != "" {
			t.Fatalf("%x (-theirs +ours):\n%s", raw, diff)
		}
	})
}

func FuzzV2(f *testing.F) {
	raw, err := asV2(f, []prompb.TimeSeries{
		one(1, "__name__", "up", "job", "a"), {Labels: labelsOf("__name__", "h"), Histograms: []prompb.Histogram{histogramAt(now())}},
	}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0x22, 0, 0x2a, 4, 0x0a, 2, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := newBatch()
		_ = b.readV2(string(raw))
		checkBatch(t, b)
	})
}

// checkBatch holds what was read to the rules, and what a batch is used for again to nothing.
func checkBatch(t *testing.T, b *batch) {
	t.Helper()
	for i := range b.series {
		s := &b.series[i]
		if len(s.Floats)+len(s.Histograms) == 0 || len(s.Labels) == 0 || len(s.Labels) > b.rules.MaxLabels {
			t.Fatalf("series %d: %+v", i, s)
		}
		for j := 1; j < len(s.Labels); j++ {
			if s.Labels[j-1].Name >= s.Labels[j].Name {
				t.Fatalf("labels of %s are not in order", admit.Name(s.Labels))
			}
		}
		for _, h := range s.Histograms {
			again, err := Histogram(h.Data)
			if err != nil || !bytes.Equal(again, h.Data) {
				t.Fatalf("histogram %x: %x, %v", h.Data, again, err)
			}
		}
	}
	_ = b.refused.String()
}

func FuzzHistogram(f *testing.F) {
	h := histogramAt(now())
	raw, err := h.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		data, err := Histogram(raw)
		if err != nil {
			return
		}
		again, err := Histogram(data)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x became %x, then %x, %v", raw, data, again, err)
		}
	})
}
