package pushgateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/prometheus/common/expfmt"
)

// TestPaths: components as curl and client libraries write them.
func TestPaths(t *testing.T) {
	h := newHarness(t, nil)
	for path, want := range map[string]string{
		"job/a":                           `{job="a"}`,
		"job/a/":                          `{job="a"}`,
		"job@base64/YS9i":                 `{job="a/b"}`,
		"job/a/instance/i":                `{instance="i",job="a"}`,
		"job/a/path@base64/L3Zhci90bXA":   `{job="a",path="/var/tmp"}`,
		"job/a/path@base64/L3Zhci90bXA=":  `{job="a",path="/var/tmp"}`,
		"job/a/name@base64/8J-YgQ==":      `{job="a",name="😁"}`,
		"job/a/empty@base64/=":            `{job="a"}`,
		"job/a%20b/x/%2Fy":                `{job="a b",x="/y"}`,
		"job/a/%C3%BC/1":                  `{job="a",ü="1"}`,
		"job/a/job/b":                     `{job="a"}`,
		"job/a/le/1/quantile/2/version/3": `{job="a",le="1",quantile="2",version="3"}`,
	} {
		h.db.mu.Lock()
		clear(h.db.series)
		h.db.mu.Unlock()
		h.now = h.now.Add(time.Minute)
		h.do(200, "PUT", prefix+path, "m 1\n")
		h.want("m" + want + " 1")
		h.do(202, "DELETE", prefix+path, "")
	}
	for path, want := range map[string]string{
		"job":                       "odd number",
		"job/":                      "odd number",
		"job/a/x":                   "odd number of components",
		"instance/a":                "the path is",
		"job@base64/!!":             "invalid base64 encoding for label job",
		"job/a/__name__/x":          `improper label name "__name__"`,
		"job/a/x/1/x/2":             "twice",
		"job//x/1":                  "job name is required",
		"job@base64/=":              "job name is required",
		"job/a/x@base64/_w":         "is not UTF-8",
		"job/a/x/%00":               "NUL",
		"job/a/x%00y@base64/=":      "NUL",
		"job/a/@base64/YQ":          "improper label name",
		"job/a/" + long("x") + "/":  "odd number",
		"job/a/" + long("x") + "/1": "200 are allowed",
	} {
		if got := h.do(400, "PUT", prefix+path, "m 1\n"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func long(s string) string { return strings.Repeat(s, 300) }

// TestFormats: text, OpenMetrics and protobuf come to the same, plain or gzip.
func TestFormats(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "runs_total", Help: "Runs."})
	c.Add(3)
	hist := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took_seconds", Help: "Time.", Buckets: []float64{1, 2.5}})
	hist.Observe(2)
	sum := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size_bytes", Help: "Size.", Objectives: map[float64]float64{.5: .05}})
	sum.Observe(7)
	reg.MustRegister(c, hist, sum)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`runs_total{instance="i",job="backup"} 3`, `took_seconds_bucket{instance="i",job="backup",le="1.0"} 0`,
		`took_seconds_bucket{instance="i",job="backup",le="2.5"} 1`, `took_seconds_bucket{instance="i",job="backup",le="+Inf"} 1`,
		`took_seconds_sum{instance="i",job="backup"} 2`, `took_seconds_count{instance="i",job="backup"} 1`,
		`size_bytes{instance="i",job="backup",quantile="0.5"} 7`, `size_bytes_sum{instance="i",job="backup"} 7`, `size_bytes_count{instance="i",job="backup"} 1`,
	}
	for name, format := range map[string]expfmt.Format{
		"text": expfmt.NewFormat(expfmt.TypeTextPlain), "OpenMetrics": expfmt.NewFormat(expfmt.TypeOpenMetrics), "protobuf": expfmt.NewFormat(expfmt.TypeProtoDelim),
	} {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprint(name, zipped), func(t *testing.T) {
				h := newHarness(t, nil)
				var plain, packed bytes.Buffer
				e := expfmt.NewEncoder(&plain, format)
				for _, f := range families {
					if err := e.Encode(f); err != nil {
						t.Fatal(err)
					}
				}
				if closer, ok := e.(expfmt.Closer); ok {
					if err := closer.Close(); err != nil {
						t.Fatal(err)
					}
				}
				body, headers := plain.String(), []string{"Content-Type", string(format)}
				if zipped {
					z := gzip.NewWriter(&packed)
					_, _ = z.Write(plain.Bytes())
					_ = z.Close()
					body, headers = packed.String(), append(headers, "Content-Encoding", "gzip")
				}
				h.do(200, "PUT", job+"/instance/i", body, headers...)
				h.want(want...)
				if m := h.db.metadata["took_seconds"]; m.Type != "histogram" || m.Help != "Time." {
					t.Errorf("%+v", m)
				}
			})
		}
	}
}

// TestNativeHistogram: it stands beside its classic series.
func TestNativeHistogram(t *testing.T) {
	h := newHarness(t, nil)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	hist := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took_seconds", Help: "Time.", NativeHistogramBucketFactor: 1.1, Buckets: []float64{1}})
	hist.Observe(2)
	if err := h.pusher(server.URL).Collector(hist).Push(); err != nil {
		t.Fatal(err)
	}
	h.want(`took_seconds{job="backup"} histogram`, `took_seconds_bucket{job="backup",le="1.0"} 0`, `took_seconds_bucket{job="backup",le="+Inf"} 1`,
		`took_seconds_sum{job="backup"} 2`, `took_seconds_count{job="backup"} 1`)
	h.pass(2 * time.Minute)
	if p := h.points(`took_seconds{job="backup"}`); len(p) < 2 || p[1].value != "histogram" {
		t.Errorf("%v", p)
	}
	h.do(202, "DELETE", job, "")
	h.want()
}

func (h *harness) pusher(url string) *push.Pusher {
	return push.New(url+"/push", "backup").Header(http.Header{"Authorization": {"Bearer k1"}})
}

// TestClient: client_golang's own package for the Pushgateway.
func TestClient(t *testing.T) {
	h := newHarness(t, nil)
	server := httptest.NewServer(h.handler)
	defer server.Close()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "last_success", Help: "When."})
	g.Set(5)
	p := func() *push.Pusher {
		return h.pusher(server.URL).Grouping("path", "/a/b").Grouping("empty", "").Grouping("zone", "ü&x").Collector(g)
	}
	if err := p().PushContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.want(`last_success{job="backup",path="/a/b",zone="ü&x"} 5`)
	h.now = h.now.Add(time.Second)
	g.Set(6)
	if err := p().AddContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.want(`last_success{job="backup",path="/a/b",zone="ü&x"} 6`)
	h.now = h.now.Add(time.Second)
	if err := p().Format(expfmt.NewFormat(expfmt.TypeTextPlain)).Push(); err != nil {
		t.Fatal(err)
	}
	if err := p().Delete(); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Second)
	h.want()
}

// TestList has the form of the Pushgateway's API.
func TestList(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job+"/instance/i?ttl=1h", "# TYPE a gauge\n# HELP a All.\na{x=\"y\"} 1.5\n")
	var got struct {
		Status string
		Data   []struct {
			Labels     map[string]string
			Successful bool `json:"last_push_successful"`
			A          struct {
				Type, Help string
				Metrics    []struct {
					Labels map[string]string
					Value  string
				}
			}
			Pushed struct{ Metrics []struct{ Value string } } `json:"push_time_seconds"`
		}
	}
	if err := json.Unmarshal([]byte(h.do(200, "GET", "/push/api/v1/metrics", "")), &got); err != nil {
		t.Fatal(err)
	}
	want := `{success [{map[instance:i job:backup] true {GAUGE All. [{map[instance:i job:backup x:y] 1.5}]} {[{1.79538066e+09}]}}]}`
	if s := fmt.Sprint(got); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}
