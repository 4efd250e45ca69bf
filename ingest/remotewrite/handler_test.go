package remotewrite

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/prompb"
)

func written(w *httptest.ResponseRecorder) string {
	h := w.Header()
	return h.Get("X-Prometheus-Remote-Write-Samples-Written") + "/" + h.Get("X-Prometheus-Remote-Write-Histograms-Written") + "/" +
		h.Get("X-Prometheus-Remote-Write-Exemplars-Written")
}

// TestSeries: what is stored of a series, and what its sender is told, in either version.
func TestSeries(t *testing.T) {
	ms := now().UnixMilli()
	many := labelsOf("__name__", "m")
	for i := range 64 {
		many = append(many, prompb.Label{Name: fmt.Sprintf("l%02d", i), Value: "x"})
	}
	flood := labelsOf("__name__", "m")
	for i := range 1000 {
		flood = append(flood, prompb.Label{Name: fmt.Sprint("l", i), Value: "x"})
	}
	for name, c := range map[string]struct {
		series prompb.TimeSeries
		want   string // stored
		fault  string // told
	}{
		"plain":             {series: one(1, "__name__", "up", "job", "a"), want: `__name__="up",job="a" 1@0`},
		"unsorted":          {series: one(1, "job", "a", "__name__", "up"), want: `__name__="up",job="a" 1@0`},
		"an empty value":    {series: one(1, "__name__", "up", "a", "", "b", "1"), want: `__name__="up",b="1" 1@0`},
		"UTF-8":             {series: one(1, "__name__", "größe", "ort.der", "köln"), want: `__name__="größe",ort.der="köln" 1@0`},
		"type and unit":     {series: one(1, "__name__", "up", "__type__", "gauge"), want: `__name__="up",__type__="gauge" 1@0`},
		"no name":           {series: one(1, "job", "a"), fault: `series {job="a"}: no label __name__`},
		"an empty name":     {series: one(1, "__name__", "", "job", "a"), fault: `no label __name__`},
		"no labels":         {series: one(1), fault: `series {}: no label __name__`},
		"a label twice":     {series: one(1, "__name__", "up", "a", "1", "a", "2"), fault: `series up{a="1", a="2"}: the label "a" stands there twice`},
		"unsorted twice":    {series: one(1, "b", "1", "__name__", "up", "b", "2"), fault: `the label "b" stands there twice`},
		"a nameless label":  {series: one(1, "", "x", "__name__", "up"), fault: `a label has no name`},
		"a reserved label":  {series: one(1, "__name__", "up", "__replica__", "a"), fault: `the label name "__replica__" is reserved`},
		"a long name":       {series: one(1, "__name__", "up", strings.Repeat("x", 201), "a"), fault: `has 201 bytes, 200 are allowed`},
		"a long value":      {series: one(1, "__name__", "up", "a", strings.Repeat("x", 2049)), fault: `the value of label "a" has 2049 bytes, 2048 are allowed`},
		"not UTF-8":         {series: one(1, "__name__", "up", "a", "\xff"), fault: `the label "a" is not UTF-8`},
		"a name not UTF-8":  {series: one(1, "__name__", "up", "a\xff", "x"), fault: `is not UTF-8`},
		"NUL":               {series: one(1, "__name__", "up", "a", "x\x00y"), fault: `or has a NUL in it`},
		"65 labels":         {series: prompb.TimeSeries{Labels: many, Samples: []prompb.Sample{{Timestamp: ms}}}, fault: `65 labels, 64 are allowed`},
		"a flood of labels": {series: prompb.TimeSeries{Labels: flood, Samples: []prompb.Sample{{Timestamp: ms}}}, fault: `too many labels, 64 are allowed`},
		"old": {
			series: prompb.TimeSeries{Labels: labelsOf("__name__", "up"), Samples: []prompb.Sample{{Value: 1, Timestamp: ms - 1e10}, {Value: 2, Timestamp: ms + 3600e3}}},
			want:   `__name__="up" 1@-10000000000 2@3600000`,
		},
		"backwards and twice": {
			series: prompb.TimeSeries{Labels: labelsOf("__name__", "up"), Samples: []prompb.Sample{{Value: 1, Timestamp: ms}, {Value: 2, Timestamp: ms - 5}, {Value: 3, Timestamp: ms}}},
			want:   `__name__="up" 1@0 2@-5 3@0`,
		},
		"the future": {
			series: prompb.TimeSeries{Labels: labelsOf("__name__", "up"), Samples: []prompb.Sample{{Value: 1, Timestamp: ms + 3600e3 + 1}, {Value: 2, Timestamp: ms}}},
			want:   `__name__="up" 2@0`, fault: `series up{}: the time 2026-11-22T21:51:07Z is more than 1h0m0s ahead of ours`,
		},
		"before 1970": {series: prompb.TimeSeries{Labels: labelsOf("__name__", "up"), Samples: []prompb.Sample{{Timestamp: -1}}}, fault: `the time -1 is before 1970`},
	} {
		t.Run(name, func(t *testing.T) {
			good := one(7, "__name__", "good")
			both(t, nil, []prompb.TimeSeries{c.series, good}, func(t *testing.T, h *harness, w *httptest.ResponseRecorder) {
				want := `__name__="good" 7@0` + "\n"
				if c.want != "" {
					want = c.want + "\n" + want
				}
				if got := text(h.appender.samples[orgOf(1)]); got != want {
					t.Errorf("stored:\n%swant:\n%s", got, want)
				}
				status := http.StatusNoContent
				if c.fault != "" {
					status = http.StatusBadRequest
				}
				if w.Code != status || !strings.Contains(w.Body.String(), c.fault) {
					t.Errorf("answer %d %q, want %d %q", w.Code, w.Body, status, c.fault)
				}
			})
		})
	}
}

// TestBits: a staleness marker is a NaN with a payload, and arrives as it was.
func TestBits(t *testing.T) {
	for _, bits := range []uint64{0x7ff0000000000002, 0x7ff8000000000001, math.Float64bits(math.Inf(-1)), 1} {
		both(t, nil, []prompb.TimeSeries{one(math.Float64frombits(bits), "__name__", "up")}, func(t *testing.T, h *harness, _ *httptest.ResponseRecorder) {
			if got := math.Float64bits(h.appender.samples[orgOf(1)][0].Floats[0].Value); got != bits {
				t.Errorf("%#x became %#x", bits, got)
			}
		})
	}
}

// TestWrittenHeaders: version 2.0 is told what was written, on every answer.
func TestWrittenHeaders(t *testing.T) {
	s := []prompb.TimeSeries{
		one(1, "__name__", "a"), one(1, "job", "without a name"),
		{Labels: labelsOf("__name__", "h"), Histograms: []prompb.Histogram{histogramAt(now())}},
		{Labels: labelsOf("__name__", "e"), Samples: []prompb.Sample{{Timestamp: now().UnixMilli()}}, Exemplars: []prompb.Exemplar{{Value: 1}, {Value: 2}}},
	}
	h := newHarness(t, nil)
	if w := h.v2(asV2(t, s)); w.Code != http.StatusBadRequest || written(w) != "2/1/0" {
		t.Errorf("%d, %s written", w.Code, written(w))
	}
	if w := h.v1(&prompb.WriteRequest{Timeseries: s}); w.Code != http.StatusBadRequest || written(w) != "//" {
		t.Errorf("1.0: %d, %s written", w.Code, written(w))
	}
	h.appender.err = errDown
	if w := h.v2(asV2(t, s)); w.Code != http.StatusServiceUnavailable || written(w) != "0/0/0" || w.Header().Get("Retry-After") != "5" {
		t.Errorf("log down: %d, %s written, Retry-After %q", w.Code, written(w), w.Header().Get("Retry-After"))
	}
	for name, want := range map[string]float64{
		"tokiflow_remote_write_samples_total": 4, "tokiflow_remote_write_histograms_total": 2, "tokiflow_remote_write_exemplars_dropped_total": 6,
	} {
		if got, err := sum(h, name); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", name, got, err, want)
		}
	}
	if problems, err := testutil.GatherAndLint(h.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func sum(h *harness, name string) (float64, error) {
	all, err := h.registry.Gather()
	var v float64
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				v += m.GetCounter().GetValue()
			}
		}
	}
	return v, err
}

// TestNothingIsAnsweredBeforeItIsDurable: while the log is away everything is 503, and comes in when it is sent again.
func TestNothingIsAnsweredBeforeItIsDurable(t *testing.T) {
	h := newHarness(t, nil)
	req := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(1, "__name__", "up")}}
	h.appender.err = errDown
	if w := h.v1(req); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	h.appender.err = nil
	if w := h.v1(req); w.Code != http.StatusNoContent || w.Body.Len() > 0 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := text(h.appender.samples[orgOf(1)]); got != "__name__=\"up\" 1@0\n" {
		t.Error(got)
	}
}

func TestHTTP(t *testing.T) {
	good, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{one(1, "__name__", "up")}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	packed := snappy.Encode(nil, good)
	goodV2, err := asV2(t, []prompb.TimeSeries{one(1, "__name__", "up")}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	bomb := append([]byte{0x80, 0x80, 0x40}, bytes.Repeat([]byte{0xfe, 1, 0}, 100)...) // says 1 MiB
	for name, c := range map[string]struct {
		body    []byte
		headers []string
		status  int
		want    string
	}{
		"1.0":                     {packed, nil, 204, ""},
		"1.0 named":               {packed, []string{"Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest"}, 204, ""},
		"without types":           {packed, []string{"Content-Type", "", "Content-Encoding", ""}, 204, ""},
		"2.0":                     {snappy.Encode(nil, goodV2), []string{"Content-Type", typeV2}, 204, ""},
		"2.0 with a space":        {snappy.Encode(nil, goodV2), []string{"Content-Type", "application/x-protobuf; proto=io.prometheus.write.v2.Request"}, 204, ""},
		"basic authentication":    {packed, []string{"Authorization", "Basic YTprMQ=="}, 204, ""},
		"an empty request":        {snappy.Encode(nil, nil), nil, 204, ""},
		"no key":                  {packed, []string{"Authorization", ""}, 401, "the API key is not valid"},
		"a key without the scope": {packed, []string{"Authorization", "Bearer readonly"}, 403, `lacks the scope "samples"`},
		"JSON":                    {packed, []string{"Content-Type", "application/json"}, 415, "send application/x-protobuf"},
		"another message":         {packed, []string{"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v3.Request"}, 415, "proto may be"},
		"a broken type":           {packed, []string{"Content-Type", "application/x-protobuf;proto"}, 415, "Content-Type"},
		"gzip":                    {packed, []string{"Content-Encoding", "gzip"}, 415, "send snappy"},
		"zstd":                    {packed, []string{"Content-Encoding", "zstd"}, 415, "send snappy"},
		"not snappy":              {good, nil, 400, "Snappy"},
		"nothing":                 {nil, nil, 400, "Snappy"},
		"snappy cut short":        {packed[:len(packed)-3], nil, 400, "Snappy"},
		"a snappy bomb":           {bomb, nil, 400, "Snappy"},
		"not protobuf":            {snappy.Encode(nil, []byte("hello")), nil, 400, "protobuf"},
		"protobuf cut short":      {snappy.Encode(nil, good[:len(good)-3]), nil, 400, "protobuf"},
		"too big":                 {bytes.Repeat([]byte{1}, 1<<20+1), nil, 413, "1048576 bytes"},
		"too big unpacked":        {snappy.Encode(nil, make([]byte, 2<<20+1)), nil, 413, "unpacks to 2097153 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.MaxBody, o.MaxUnpacked = 1<<20, 2<<20 })
			w := h.post(c.body, c.headers...)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.status, c.want)
			}
			if w.Code >= 400 && h.appender.calls > 0 {
				t.Error("something was stored")
			}
			if (w.Code == 401) != (len(w.Header().Values("WWW-Authenticate")) == 2) {
				t.Errorf("WWW-Authenticate: %v", w.Header())
			}
		})
	}
	h := newHarness(t, nil)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Path, nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

// TestChunkedBody: a body whose length is not told is held to the bound too.
func TestChunkedBody(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.MaxBody = 1000 })
	r := httptest.NewRequest(http.MethodPost, Path, &failing{left: 5000})
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer k1")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r = httptest.NewRequest(http.MethodPost, Path, &failing{left: 500})
	r.Header.Set("Authorization", "Bearer k1")
	w = httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "to its end") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// failing is a body that breaks off.
type failing struct{ left int }

func (f *failing) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, errors.New("connection reset")
	}
	n := min(len(b), f.left)
	f.left -= n
	return n, nil
}

// TestKeysAway: without the database keys that are not remembered cannot be looked up; that is no fault of the key.
func TestKeysAway(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Keys = fakeKeys{err: errors.New("connection refused")} })
	w := h.v1(&prompb.WriteRequest{})
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "refused") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
