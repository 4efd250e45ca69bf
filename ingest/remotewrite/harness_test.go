package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func now() time.Time { return time.Date(2026, 11, 22, 20, 51, 7, 0, time.UTC) }

func orgOf(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{15: n}} }

// fakeKeys knows the keys k1 and k2, of organisations 1 and 2, and "readonly".
type fakeKeys struct{ err error }

func (k fakeKeys) Request(r *http.Request, scope tenant.Scope) (tenant.Identity, error) {
	if k.err != nil {
		return tenant.Identity{}, k.err
	}
	switch key := auth.KeyOf(r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")); key {
	case "k1", "k2":
		return tenant.Identity{Org: orgOf(key[1] - '0'), Scopes: []tenant.Scope{scope}}, nil
	case "readonly":
		return tenant.Identity{}, auth.Lacking(scope)
	}
	return tenant.Identity{}, fault.New(fault.Unauthenticated, "the API key is not valid")
}

// fakeAppender keeps copies of what it is given, by organisation, and fails when told to.
type fakeAppender struct {
	mu       sync.Mutex
	err      error
	samples  map[tenant.OrgID][]series.Series
	metadata map[tenant.OrgID][]series.Metadata
	calls    int
}

func (f *fakeAppender) AppendSamples(_ context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return f.err
	}
	if f.samples == nil {
		f.samples, f.metadata = map[tenant.OrgID][]series.Series{}, map[tenant.OrgID][]series.Metadata{}
	}
	for i := range s {
		c := series.Series{Labels: append([]series.Label(nil), s[i].Labels...), Floats: append([]series.Float(nil), s[i].Floats...)}
		for _, h := range s[i].Histograms {
			c.Histograms = append(c.Histograms, series.Histogram{At: h.At, Data: bytes.Clone(h.Data)})
		}
		f.samples[org] = append(f.samples[org], c)
	}
	f.metadata[org] = append(f.metadata[org], m...)
	return nil
}

type harness struct {
	t        testing.TB
	appender *fakeAppender
	registry *prometheus.Registry
	handler  http.Handler
}

func newHarness(t testing.TB, change func(*Options)) *harness {
	t.Helper()
	h := &harness{t: t, appender: &fakeAppender{}, registry: prometheus.NewPedanticRegistry()}
	o := Options{Appender: h.appender, Keys: fakeKeys{}, Clock: now, Metrics: h.registry}
	if change != nil {
		change(&o)
	}
	inner, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	inner.Routes(r)
	h.handler = r
	return h
}

// post sends a body as it is, with headers that are those of version 1.0 unless told otherwise.
func (h *harness) post(body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("Authorization", "Bearer k1")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

// typeV2 is the Content-Type of version 2.0.
const typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

func (h *harness) v1(req *prompb.WriteRequest, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	raw, err := req.Marshal()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.post(snappy.Encode(nil, raw), headers...)
}

func (h *harness) v2(req *writev2.Request, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	raw, err := req.Marshal()
	if err != nil {
		h.t.Fatal(err)
	}
	return h.post(snappy.Encode(nil, raw), append([]string{"Content-Type", typeV2}, headers...)...)
}

// both sends series in either version, each time to a new harness, and gives f what came of it.
func both(t *testing.T, change func(*Options), s []prompb.TimeSeries, f func(t *testing.T, h *harness, w *httptest.ResponseRecorder)) {
	t.Helper()
	t.Run("1.0", func(t *testing.T) {
		h := newHarness(t, change)
		f(t, h, h.v1(&prompb.WriteRequest{Timeseries: s}))
	})
	t.Run("2.0", func(t *testing.T) {
		h := newHarness(t, change)
		f(t, h, h.v2(asV2(t, s)))
	})
}

// asV2 says the same in version 2.0. A histogram's message is, but for the time of creation, the same.
func asV2(t testing.TB, s []prompb.TimeSeries) *writev2.Request {
	t.Helper()
	table := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, old := range s {
		var ts writev2.TimeSeries
		for _, l := range old.Labels {
			ts.LabelsRefs = append(ts.LabelsRefs, table.Symbolize(l.Name), table.Symbolize(l.Value))
		}
		for _, f := range old.Samples {
			ts.Samples = append(ts.Samples, writev2.Sample{Value: f.Value, Timestamp: f.Timestamp})
		}
		for _, e := range old.Exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{Value: e.Value, Timestamp: e.Timestamp})
		}
		for i := range old.Histograms {
			raw, err := old.Histograms[i].Marshal()
			if err != nil {
				t.Fatal(err)
			}
			var hist writev2.Histogram
			if err := hist.Unmarshal(raw); err != nil {
				t.Fatal(err)
			}
			ts.Histograms = append(ts.Histograms, hist)
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = table.Symbols()
	return req
}

func labelsOf(pairs ...string) []prompb.Label {
	var l []prompb.Label
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return l
}

// one is a series with a sample of now.
func one(v float64, pairs ...string) prompb.TimeSeries {
	return prompb.TimeSeries{Labels: labelsOf(pairs...), Samples: []prompb.Sample{{Value: v, Timestamp: now().UnixMilli()}}}
}

// text writes series as one would read them.
func text(s []series.Series) string {
	var b strings.Builder
	for _, s := range s {
		for i, l := range s.Labels {
			fmt.Fprintf(&b, "%s%s=%q", map[bool]string{true: "", false: ","}[i == 0], l.Name, l.Value)
		}
		for _, f := range s.Floats {
			fmt.Fprintf(&b, " %v@%d", f.Value, f.At-now().UnixMilli())
		}
		for _, h := range s.Histograms {
			fmt.Fprintf(&b, " histogram@%d", h.At-now().UnixMilli())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var errDown = errors.New("the log cannot take records now")
