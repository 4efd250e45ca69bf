package exporter_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/exporter"
)

// unpacked is the answer's body without its encoding. What is gzip is read with one stream allowed and no more.
func unpacked(t testing.TB, w *httptest.ResponseRecorder) []byte {
	t.Helper()
	if got, want := w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
		t.Fatalf("Content-Length is %s of %s bytes", got, want)
	}
	var in io.Reader = w.Body
	switch w.Header().Get("Content-Encoding") {
	case "gzip":
		z, err := stdgzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		in = z
	case "zstd":
		z, err := zstd.NewReader(w.Body, zstd.WithDecoderMaxWindow(8<<20)) // Prometheus takes no more
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		in = z
	}
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryEncodingHasTheSameBytes(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, randomMonitors(200)...)
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProto} {
		want := s.get("a", "/metrics/monitors", "Accept", accept)
		for _, c := range []string{"gzip", "zstd"} {
			for range 2 {
				w := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept", accept, "Accept-Encoding", c)
				if got := w.Header().Get("Content-Encoding"); got != c {
					t.Fatalf("asked for %s, got %q", c, got)
				}
				if c == "gzip" { // as Prometheus reads it, which checks the checksum
					z, err := kgzip.NewReader(bytes.NewReader(w.Body.Bytes()))
					if err != nil {
						t.Fatal(err)
					}
					if b, err := io.ReadAll(z); err != nil || string(b) != want {
						t.Fatalf("%d bytes, %v; want %d", len(b), err, len(want))
					}
				}
				if got := unpacked(t, w); string(got) != want {
					t.Fatalf("%s of %s: %d bytes, want %d", c, accept, len(got), len(want))
				}
			}
		}
	}
}

// golden is two monitors: one with everything, one of which nothing is known.
func golden() []inventory.MonitorState {
	m := plainMonitor(1)
	m.Config.Name, m.Config.Slug = "back\\up of \"main\"\n", "backup"
	m.Config.Tags, m.Config.Labels = []string{"db", "nightly"}, map[string]string{"team": "core"}
	t := &monitor.Totals{}
	for _, d := range []time.Duration{0, 250 * time.Millisecond, 90 * time.Second, 95500 * time.Millisecond} {
		t.AddRun(&monitor.Run{Outcome: monitor.Succeeded, Duration: d}, 1)
	}
	t.AddRun(&monitor.Run{Outcome: monitor.Failed, Duration: 3 * time.Second}, 1)
	t.AddTransition(&monitor.Transition{From: monitor.New, To: monitor.Up}, 1)
	t.AddTransition(&monitor.Transition{From: monitor.Up, To: monitor.Down, SecondsInPrevious: 7200}, 1)
	m.State = monitor.State{
		Status: monitor.Down, Since: start().Add(-10 * time.Minute), Totals: t, ZScore: -0.25,
		LastPing: monitor.LastPing{At: start().Add(-10*time.Minute + 123456*time.Microsecond)}, LastSuccess: start().Add(-time.Hour),
		Due: start().Add(50 * time.Minute), Deadline: start().Add(55 * time.Minute), Open: make([]monitor.OpenRun, 1),
	}
	m.State.Incidents = map[incident.Kind]uuid.UUID{incident.Fail: numbered(9)}
	return []inventory.MonitorState{m, plainMonitor(2)}
}

func TestGolden(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, golden()...)
	for name, accept := range map[string]string{"text.txt": acceptText, "openmetrics.txt": acceptOpenMetrics} {
		got := s.get("a", "/metrics/monitors", "Accept", accept)
		file := filepath.Join("testdata", name)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got; UPDATE=1 writes it anew):\n%s", name, d)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, golden()...)
	// As Prometheus 3 sends it, and without compression.
	w := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept-Encoding", "identity", "Accept",
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
	want := http.Header{
		"Content-Type": {"application/openmetrics-text; version=1.0.0; charset=utf-8"}, "Cache-Control": {"no-store"},
		"Vary": {"Accept, Accept-Encoding"}, "Content-Length": {strconv.Itoa(w.Body.Len())},
	}
	if d := cmp.Diff(want, w.Header()); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	head := s.ask("a", http.MethodHead, "/metrics/monitors", "Accept", acceptOpenMetrics)
	if d := cmp.Diff(want, head.Header()); d != "" || head.Body.Len() > 0 {
		t.Errorf("HEAD has %d bytes and headers (-want +got):\n%s", head.Body.Len(), d)
	}
	for _, c := range []struct{ accept, format string }{
		{"", "text/plain; version=0.0.4"},
		{"*/*", "text/plain; version=0.0.4"},
		{"text/html, */*;q=0.1", "text/plain; version=0.0.4"},
		{"application/json", "text/plain; version=0.0.4"},
		{"text/plain;version=1.0.0", "text/plain; version=0.0.4"},
		{acceptText + ";q=0.5," + acceptOpenMetrics + ";q=0.4", "text/plain; version=0.0.4"},
		{acceptText + ";q=0.5, " + acceptProto + " ; q=0.7", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"},
		{acceptProto + ";q=0", "text/plain; version=0.0.4"},
		{"application/vnd.google.protobuf;proto=other;encoding=delimited, application/openmetrics-text", "application/openmetrics-text; version=1.0.0"},
		{"application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=\"1.0.0\";q=.1", "application/openmetrics-text; version=1.0.0"},
		{"application/openmetrics-text;q=hello", "text/plain; version=0.0.4"},
	} {
		got := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept", c.accept).Header().Get("Content-Type")
		if strings.TrimSuffix(got, "; charset=utf-8") != c.format {
			t.Errorf("Accept: %s gives %s, want %s", c.accept, got, c.format)
		}
	}
	for _, c := range []struct{ accept, encoding string }{
		{"", ""},
		{"gzip", "gzip"},
		{"zstd,gzip", "zstd"},
		{"gzip, deflate, br, zstd", "zstd"},
		{"gzip;q=1, zstd;q=0.5", "gzip"},
		{"gzip;q=0", ""},
		{"*", "gzip"},
		{"gzip;q=0, *", ""},
		{"br", ""},
		{"identity;q=1, gzip;q=0.5", ""},
		{"GZIP;Q=0.2", "gzip"},
		{"gzip;q=2", ""},
	} {
		if got := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept-Encoding", c.accept).Header().Get("Content-Encoding"); got != c.encoding {
			t.Errorf("Accept-Encoding: %s gives %q, want %q", c.accept, got, c.encoding)
		}
	}
}

func TestWhoMayScrape(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, golden()...)
	for _, path := range []string{"/metrics/monitors", "/sd/prometheus", "/sd/prometheus?by=project"} {
		for _, c := range []struct {
			key    string
			status int
			says   string
		}{
			{"a", http.StatusOK, ""},
			{"", http.StatusUnauthorized, "authorization: {credentials: tkf_…}"},
			{"unknown", http.StatusUnauthorized, "the API key is not valid"},
			{"a-read", http.StatusForbidden, `lacks the scope "metrics"`},
			{"broken", http.StatusInternalServerError, "on our side"},
		} {
			w := s.ask(c.key, http.MethodGet, path)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "EOF") {
				t.Errorf("%s with the key %q: %d %s; want %d with %q", path, c.key, w.Code, w.Body, c.status, c.says)
			}
			if n := len(w.Header().Values("WWW-Authenticate")); (n == 2) != (c.status == http.StatusUnauthorized) {
				t.Errorf("%s with the key %q: %d challenges", path, c.key, n)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s with the key %q may be kept by others", path, c.key)
			}
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.SetBasicAuth("anybody", "a")
		w := httptest.NewRecorder()
		if s.router.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Errorf("%s with the key as password: %d", path, w.Code)
		}
	}
}

func TestNobodySeesAnothersMonitors(t *testing.T) {
	s := newBundle(t)
	secret := golden()
	for i := range secret {
		secret[i].Config.Name, secret[i].Project = "secret", "secret"
	}
	s.store.put(s.a, secret...)
	mine := plainMonitor(7)
	s.store.put(s.b, mine)
	s.get("a", "/metrics/monitors") // so that it is in memory
	id := secret[0].ID.String()
	for _, q := range []string{
		"", "?project[]=secret", "?monitor[]=secret", "?id[]=" + id, "?id[]=" + id + "&id[]=" + mine.ID.String(), "?tag[]=db", "?label[]=team%3Dcore",
		"?project[]=secret&project[]=shop", "?name[]=tokiflow_monitor_info", "?monitor[]=.*&monitor[]=%25", "?id=" + id + "&name=tokiflow_monitor_up",
	} {
		for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProto} {
			if got := s.get("b", "/metrics/monitors"+q, "Accept", accept); strings.Contains(got, "secret") || strings.Contains(got, id) {
				t.Errorf("%s shows another's monitors:\n%s", q, got)
			}
		}
	}
	for _, q := range []string{"?org=" + s.a.String(), "?org_id[]=" + s.a.String(), "?match[]={id=\"" + id + "\"}", "?name[]=secret", "?a;b"} {
		w := s.ask("b", http.MethodGet, "/metrics/monitors"+strings.ReplaceAll(strings.ReplaceAll(q, "{", "%7B"), "\"", "%22"))
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "tokiflow_monitor_up{") {
			t.Errorf("%s: %d %s", q, w.Code, w.Body)
		}
	}
	if got := s.get("b", "/sd/prometheus?by=project"); strings.Contains(got, "secret") {
		t.Errorf("service discovery shows another's projects: %s", got)
	}
}

func TestDiscovery(t *testing.T) {
	s := newBundle(t)
	ask := func(query string) (groups []map[string]any) {
		w := s.ask("a", http.MethodGet, "/sd/prometheus"+query)
		if err := json.Unmarshal(w.Body.Bytes(), &groups); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v %s", w.Code, err, w.Body)
		}
		return groups
	}
	type labels = map[string]any
	at := []any{"tokiflow.example.com:443"}
	all := []map[string]any{{"targets": at, "labels": labels{"__scheme__": "https", "__metrics_path__": "/metrics/monitors"}}}
	if d := cmp.Diff(all, ask("")); d != "" {
		t.Errorf("one target (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]map[string]any{}, ask("?by=project")); d != "" {
		t.Errorf("no project (-want +got):\n%s", d)
	}
	for i, p := range []string{"web", "shop", "web", ""} {
		m := plainMonitor(i)
		m.Project = p
		s.store.put(s.a, m)
	}
	s.now = s.now.Add(time.Minute)
	var want []map[string]any
	for _, p := range []string{"shop", "web"} {
		want = append(want, map[string]any{"targets": at, "labels": labels{
			"__scheme__": "https", "__metrics_path__": "/metrics/monitors", "__param_project": p, "instance": "tokiflow.example.com:443/" + p,
		}})
	}
	if d := cmp.Diff(want, ask("?by=project")); d != "" {
		t.Errorf("by project (-want +got):\n%s", d)
	}
	if got := s.get("a", "/metrics/monitors?project=web&name=tokiflow_monitor_up"); strings.Count(got, "\ntokiflow_monitor_up{") != 2 {
		t.Errorf("the parameter that it names does not work:\n%s", got)
	}
	for _, q := range []string{"?by=tag", "?by=", "?what=ever", "?%zz"} {
		if w := s.ask("a", http.MethodGet, "/sd/prometheus"+q); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", q, w.Code, w.Body)
		}
	}
	for base, want := range map[string]string{
		"http://10.0.0.1:8080": "10.0.0.1:8080 http /metrics/monitors", "https://[::1]/deep/": "[::1]:443 https /deep/metrics/monitors",
		"": "example.com:80 http /metrics/monitors", // the request's
	} {
		s = newBundle(t, func(o *exporter.Options) { o.BaseURL = base })
		g := ask("")[0]
		l := g["labels"].(labels)
		if got := g["targets"].([]any)[0].(string) + " " + l["__scheme__"].(string) + " " + l["__metrics_path__"].(string); got != want {
			t.Errorf("base URL %q gives %s, want %s", base, got, want)
		}
	}
}
