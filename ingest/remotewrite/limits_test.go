package remotewrite

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/tokiflow/tokiflow/ingest/admit"
)

// TestTenBadSeriesAreNamed, and the others are counted.
func TestTenBadSeriesAreNamed(t *testing.T) {
	var s []prompb.TimeSeries
	for i := range 25 {
		s = append(s, one(1, "n", fmt.Sprint(i)))
	}
	both(t, nil, s, func(t *testing.T, _ *harness, w *httptest.ResponseRecorder) {
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		if w.Code != http.StatusBadRequest || len(lines) != 11 || lines[10] != "and 15 more" {
			t.Errorf("%d %q", w.Code, lines)
		}
	})
}

// TestTenancy: what a key writes is its own organisation's.
func TestTenancy(t *testing.T) {
	h := newHarness(t, nil)
	for key, v := range map[string]float64{"k1": 1, "k2": 2} {
		// A label or header that names another organisation changes nothing.
		w := h.v1(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(v, "__name__", "up", "org_id", orgOf(1).String())}},
			"Authorization", "Bearer "+key, "X-Scope-OrgID", orgOf(1).String())
		if w.Code != http.StatusNoContent {
			t.Fatal(w.Code, w.Body)
		}
	}
	for n := byte(1); n <= 2; n++ {
		s := h.appender.samples[orgOf(n)]
		if len(s) != 1 || s[0].Floats[0].Value != float64(n) {
			t.Errorf("organisation %d has\n%s", n, text(s))
		}
	}
}

// TestRateLimit: what is over the rate is refused whole, and passes when its time has come.
func TestRateLimit(t *testing.T) {
	clock := now()
	h := newHarness(t, func(o *Options) {
		o.Clock = func() time.Time { return clock }
		o.Limiter = admit.NewLimiter(admit.Limits{SamplesPerSecond: 10, SamplesBurst: 10}, o.Clock)
	})
	ten := &prompb.WriteRequest{}
	for i := range 10 {
		ten.Timeseries = append(ten.Timeseries, one(1, "__name__", fmt.Sprint("m", i)))
	}
	if w := h.v1(ten); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	w := h.v1(ten)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || len(h.appender.samples[orgOf(1)]) != 10 {
		t.Errorf("%d, Retry-After %q, %d stored", w.Code, w.Header().Get("Retry-After"), len(h.appender.samples[orgOf(1)]))
	}
	if w := h.v1(ten, "Authorization", "Bearer k2"); w.Code != http.StatusNoContent {
		t.Errorf("another organisation: %d", w.Code)
	}
	clock = clock.Add(time.Second)
	if w := h.v1(ten); w.Code != http.StatusNoContent {
		t.Errorf("a second later: %d %s", w.Code, w.Body)
	}
}

// TestSeriesLimit: known series always pass; new ones only while there is room.
func TestSeriesLimit(t *testing.T) {
	clock := now()
	h := newHarness(t, func(o *Options) {
		o.Clock = func() time.Time { return clock }
		o.Limiter = admit.NewLimiter(admit.Limits{ActiveSeries: 2}, o.Clock)
	})
	req := func(names ...string) *prompb.WriteRequest {
		r := &prompb.WriteRequest{}
		for _, n := range names {
			r.Timeseries = append(r.Timeseries, prompb.TimeSeries{Labels: labelsOf("__name__", n), Samples: []prompb.Sample{{Timestamp: clock.UnixMilli()}}})
		}
		return r
	}
	w := h.v1(req("a", "b", "c"))
	if w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "series c{}: the organisation has its 2 active series") || w.Header().Get("Retry-After") != "60" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := len(h.appender.samples[orgOf(1)]); got != 2 {
		t.Errorf("%d series stored", got)
	}
	if w := h.v1(req("b", "a")); w.Code != http.StatusNoContent {
		t.Errorf("known series: %d %s", w.Code, w.Body)
	}
	if w := h.v1(req("c"), "Authorization", "Bearer k2"); w.Code != http.StatusNoContent {
		t.Errorf("another organisation: %d %s", w.Code, w.Body)
	}
	clock = clock.Add(time.Hour + time.Minute)
	if w := h.v1(req("c", "d")); w.Code != http.StatusNoContent {
		t.Errorf("an hour later: %d %s", w.Code, w.Body)
	}
}

// TestTooMuchAtOnce: memory is bounded whoever sends.
func TestTooMuchAtOnce(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.MaxAtOnce = 100 })
	inner, err := New(Options{Appender: h.appender, Keys: fakeKeys{}, Clock: now, MaxAtOnce: 100})
	if err != nil {
		t.Fatal(err)
	}
	inner.atOnce.Store(90)
	h.handler = inner
	w := h.v1(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(1, "__name__", "up")}})
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || inner.atOnce.Load() != 90 {
		t.Errorf("%d %s, %d bytes under way", w.Code, w.Body, inner.atOnce.Load())
	}
	inner.atOnce.Store(0)
	if w := h.v1(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(1, "__name__", strings.Repeat("x", 200))}}); w.Code != http.StatusNoContent {
		t.Errorf("one alone, as big as it may be: %d %s", w.Code, w.Body)
	}
}

func TestTooMuchInOne(t *testing.T) {
	empty := bytes.Repeat([]byte{0x0a, 0}, maxSeries+1) // series without labels
	symbols := bytes.Repeat([]byte{0x22, 0}, maxSymbols+1)
	sample := bytes.Repeat([]byte{0x12, 0}, maxSamples+1)
	floats := append([]byte{0x0a, 0x82, 0x89, 0x7a}, sample...)
	h := newHarness(t, nil)
	for what, w := range map[string]*httptest.ResponseRecorder{
		"100000 series":   h.post(snappy.Encode(nil, empty)),
		"1000000 symbols": h.post(snappy.Encode(nil, symbols), "Content-Type", typeV2),
		"1000000 samples": h.post(snappy.Encode(nil, floats)),
	} {
		if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), what) {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
}

// TestMetadata: what is said of metrics is stored once for each, whichever version says it.
func TestMetadata(t *testing.T) {
	h := newHarness(t, nil)
	h.v1(&prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "a_total", Help: "All \x00of it\xff", Unit: "seconds"},
		{Type: prompb.MetricMetadata_STATESET, MetricFamilyName: "b"},
		{MetricFamilyName: ""},
		{Type: 99, MetricFamilyName: "c"},
	}})
	table := writev2.NewSymbolTable()
	meta := func(kind writev2.Metadata_MetricType, help string, name ...string) writev2.TimeSeries {
		ts := writev2.TimeSeries{
			Samples:  []writev2.Sample{{Timestamp: now().UnixMilli()}},
			Metadata: writev2.Metadata{Type: kind, HelpRef: table.Symbolize(help), UnitRef: table.Symbolize("s")},
		}
		for _, s := range name {
			ts.LabelsRefs = append(ts.LabelsRefs, table.Symbolize(s))
		}
		return ts
	}
	req := &writev2.Request{Timeseries: []writev2.TimeSeries{
		meta(writev2.Metadata_METRIC_TYPE_HISTOGRAM, "How long", "__name__", "took_bucket", "le", "1"),
		meta(writev2.Metadata_METRIC_TYPE_HISTOGRAM, "How long", "__name__", "took_sum"),
		meta(writev2.Metadata_METRIC_TYPE_COUNTER, "How many", "__name__", "n_total"),
		meta(writev2.Metadata_METRIC_TYPE_SUMMARY, "", "__name__", "_sum"),
	}}
	req.Symbols = table.Symbols()
	if w := h.v2(req); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	h.v2(req) // says the same again
	got := fmt.Sprintf("%q", h.appender.metadata[orgOf(1)])
	want := `[{"a_total" "counter" "All of it` + "\uFFFD" + `" "seconds"} {"b" "stateset" "" ""} {"c" "" "" ""}` +
		` {"took" "histogram" "How long" "s"} {"n_total" "counter" "How many" "s"} {"_sum" "summary" "" "s"}]`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
