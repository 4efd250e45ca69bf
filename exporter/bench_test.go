package exporter_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	kgzip "github.com/klauspost/compress/gzip"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/exporter"
)

const benchMonitors = 10_000

func core() string {
	return "?name[]=tokiflow_monitor_" + strings.Join([]string{
		"up", "last_ping_timestamp_seconds", "last_success_timestamp_seconds", "last_run_duration_seconds", "due_timestamp_seconds",
		"deadline_timestamp_seconds", "open_runs", "uptime_ratio",
	}, "&name[]=tokiflow_monitor_")
}

// BenchmarkScrapeCore scrapes eight series of each of 10,000 monitors over HTTP with gzip.
func BenchmarkScrapeCore(b *testing.B) {
	for _, kind := range kinds() {
		b.Run("gzip/"+kind.name, func(b *testing.B) { benchScrape(b, core(), "gzip", kind.between) })
	}
}

// BenchmarkScrapeAll scrapes all series of 10,000 monitors over HTTP. With each scrape the same bytes, that were made before, are
// written into the same kind of response writer by a loop and nothing else: x-bare is how many times as long as that the
// scrape took, by the medians.
func BenchmarkScrapeAll(b *testing.B) {
	for _, enc := range []string{"identity", "gzip"} {
		for _, kind := range kinds() {
			b.Run(enc+"/"+kind.name, func(b *testing.B) { benchScrape(b, "", enc, kind.between) })
		}
	}
}

// kind is what happens between two scrapes.
type kind struct {
	name    string
	between func(s *bundle, r *rand.Rand)
}

func kinds() []kind {
	return []kind{
		{"quiet", func(s *bundle, _ *rand.Rand) { s.now = s.now.Add(1500 * time.Millisecond) }},
		// As with 15 s between the scrapes and pings every minute.
		{"busy", func(s *bundle, r *rand.Rand) {
			s.now = s.now.Add(1500 * time.Millisecond)
			ping(s, r, benchMonitors/4)
		}},
		// As the first scrape: every family of every monitor is written anew.
		{"cold", func(s *bundle, r *rand.Rand) {
			s.now = s.now.Add(1500 * time.Millisecond)
			s.store.set(func(m *memory) { m.changes++ })
			states := s.store.all(s.a)
			for i := range states {
				states[i].Project += "'"
			}
			s.store.put(s.a, states...)
		}},
	}
}

// ping lets n monitors succeed.
func ping(s *bundle, r *rand.Rand, n int) {
	all := s.store.all(s.a)
	changed := make([]inventory.MonitorState, 0, n)
	for _, i := range r.Perm(len(all))[:n] {
		m := all[i]
		m.State.Totals = m.State.Totals.Clone()
		d := time.Duration(r.IntN(600)) * time.Second
		m.State.Totals.AddRun(&monitor.Run{Outcome: monitor.Succeeded, Duration: d}, 1)
		m.State.LastPing.At, m.State.LastSuccess = s.now, s.now
		m.State.Due, m.State.Deadline = s.now.Add(time.Minute), s.now.Add(6*time.Minute)
		changed = append(changed, m)
	}
	s.store.put(s.a, changed...)
}

func benchScrape(b *testing.B, query, encoding string, between func(s *bundle, r *rand.Rand)) {
	s := newBundle(b, func(o *exporter.Options) { o.CacheBytes = 1 << 30 })
	s.store.put(s.a, randomMonitors(benchMonitors)...)
	server := httptest.NewServer(s.router)
	defer server.Close()
	bare := httptest.NewServer(bareHandler(b, []byte(s.get("a", "/metrics/monitors"+query)), encoding))
	defer bare.Close()
	r := rand.New(rand.NewPCG(1, 1))
	get(b, server, query, encoding)
	var (
		sent          int64
		took, written []time.Duration
	)
	for b.Loop() {
		b.StopTimer()
		between(s, r)
		refresh(s)
		runtime.GC() // of what preparing left behind
		began := time.Now()
		get(b, bare, query, encoding)
		written = append(written, time.Since(began))
		began = time.Now()
		b.StartTimer()
		sent = get(b, server, query, encoding)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	slices.Sort(written)
	median, base := took[len(took)/2], written[len(written)/2]
	b.ReportMetric(float64(sent), "bytes")
	b.ReportMetric(float64(median.Microseconds())/1e3, "ms-median")
	b.ReportMetric(float64(base.Microseconds())/1e3, "ms-bare")
	b.ReportMetric(float64(median)/float64(base), "x-bare")
}

// refresh does what Run does between two scrapes.
func refresh(s *bundle) {
	s.now = s.now.Add(time.Second)
	s.get("a", "/metrics/monitors?name[]=tokiflow_exporter_series")
}

// bareHandler writes the content, packed if it is to be.
func bareHandler(b *testing.B, content []byte, encoding string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var out io.Writer = w
		if encoding == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			z, err := kgzip.NewWriterLevel(w, kgzip.BestSpeed)
			if err != nil {
				b.Error(err)
			}
			defer z.Close()
			out = z
		}
		for rest := content; len(rest) > 0; {
			n := min(len(rest), 64<<10)
			if _, err := out.Write(rest[:n]); err != nil {
				b.Error(err)
			}
			rest = rest[n:]
		}
	})
}

// get scrapes and reads the answer without unpacking it, which would cost more than all else.
func get(b *testing.B, server *httptest.Server, query, encoding string) int64 {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/metrics/monitors"+query, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer a")
	r.Header.Set("Accept-Encoding", encoding)
	answer, err := server.Client().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		b.Fatal(answer.Status, err)
	}
	return n
}
