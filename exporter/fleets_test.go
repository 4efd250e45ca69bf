package exporter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/exporter"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func newBundleKeys() *auth.Keys { return auth.NewKeys(identities{}, nil) }

// running is a bundle by the bubble's clock whose exporter runs until the test ends.
func running(t *testing.T, change ...func(o *exporter.Options)) *bundle {
	t.Helper()
	s := newBundle(t, append(change, func(o *exporter.Options) { o.Clock = time.Now })...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.exporter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAScrapeCostsNoQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t)
		m := plainMonitor(1)
		s.store.put(s.a, m)
		s.get("a", "/metrics/monitors")
		time.Sleep(10*time.Second + time.Second/2)
		before := s.store.asked()
		if before < 10 || before > 12 {
			t.Errorf("%d readings in 10 s, want one a second", before)
		}
		for range 100 {
			s.get("a", "/metrics/monitors")
		}
		if s.store.asked() != before {
			t.Error("scrapes asked the store")
		}
		// What changes is seen within 2 s.
		m.State.Status = monitor.Down
		s.store.put(s.a, m)
		time.Sleep(2 * time.Second)
		before = s.store.asked()
		if got := s.get("a", "/metrics/monitors?name[]=tokiflow_monitor_up"); !strings.Contains(got, `000000000001"} 0`) || s.store.asked() != before {
			t.Errorf("2 s after it went down:\n%s", got)
		}
		s.store.remove(s.a, m.ID)
		time.Sleep(2 * time.Second)
		if got := s.get("a", "/metrics/monitors"); strings.Contains(got, "tokiflow_monitor_up") {
			t.Errorf("2 s after it was deleted:\n%s", got)
		}
	})
}

func TestOldStatesAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := running(t, func(o *exporter.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		s.store.put(s.a, plainMonitor(1))
		s.get("a", "/metrics/monitors")
		s.store.set(func(m *memory) { m.fails = errors.New("the database is away") })
		time.Sleep(5 * time.Second)
		if got := s.get("a", "/metrics/monitors"); !strings.Contains(got, "\ntokiflow_exporter_states_age_seconds 5\n") {
			t.Errorf("after 5 s without the database:\n%.300s", got)
		}
		time.Sleep(6 * time.Second)
		for _, path := range []string{"/metrics/monitors", "/sd/prometheus?by=project"} {
			w := s.ask("a", http.MethodGet, path)
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "away") {
				t.Errorf("%s after 11 s without the database: %d %s", path, w.Code, w.Body)
			}
		}
		if w := s.ask("a", http.MethodGet, "/sd/prometheus"); w.Code != http.StatusOK {
			t.Errorf("service discovery without the database: %d %s", w.Code, w.Body)
		}
		s.store.set(func(m *memory) { m.fails = nil })
		if got := s.get("a", "/metrics/monitors"); !strings.Contains(got, "\ntokiflow_exporter_states_age_seconds 0\n") {
			t.Errorf("with the database again:\n%.300s", got)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("the log has %d lines, want one when it failed and one when it went again:\n%s", n, &log)
		}
	})
}

func TestAHangingDatabaseHoldsNoScrapeForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t)
		s.store.put(s.a, plainMonitor(1))
		s.get("a", "/metrics/monitors")
		s.store.set(func(m *memory) { m.stall = make(chan struct{}) })
		time.Sleep(5 * time.Second)
		began := time.Now()
		s.get("a", "/metrics/monitors")
		if d := time.Since(began); d > time.Second {
			t.Errorf("a scrape took %v, though there was something to show", d)
		}
		time.Sleep(6 * time.Second)
		began = time.Now()
		w := s.ask("a", http.MethodGet, "/metrics/monitors")
		if d := time.Since(began); w.Code != http.StatusServiceUnavailable || d >= 10*time.Second {
			t.Errorf("%d after %v; Prometheus would wait for 10 s", w.Code, d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics/monitors", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", "a")
		began = time.Now()
		s.router.ServeHTTP(&nowhere{}, r)
		if d := time.Since(began); d > 0 {
			t.Errorf("a client that went was waited for for %v", d)
		}
	})
}

// nowhere is a client that is gone.
type nowhere struct{ h http.Header }

func (n *nowhere) Header() http.Header {
	if n.h == nil {
		n.h = http.Header{}
	}
	return n.h
}
func (*nowhere) Write([]byte) (int, error) { return 0, errors.New("gone") }
func (*nowhere) WriteHeader(int)           {}

func TestTheFirstScrapesShareOneReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t)
		s.store.put(s.a, plainMonitor(1))
		stall := make(chan struct{})
		s.store.set(func(m *memory) { m.stall = stall })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if w := s.ask("a", http.MethodGet, "/metrics/monitors"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "tokiflow_monitor_up{") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		time.Sleep(2500 * time.Millisecond)
		close(stall)
		all.Wait()
		if n := s.store.asked(); n != 1 {
			t.Errorf("%d readings, want 1", n)
		}
	})
}

func TestWhoIsNotScrapedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t)
		s.store.put(s.a, randomMonitors(100)...)
		s.get("a", "/metrics/monitors")
		s.get("b", "/metrics/monitors")
		for range 4 {
			time.Sleep(4 * time.Minute)
			s.get("b", "/metrics/monitors")
		}
		kept := func() float64 {
			n, err := testutil.GatherAndCount(s.registry, "tokiflow_scrape_organisations")
			if err != nil || n != 1 {
				t.Fatal(n, err)
			}
			return valueOf(t, s, "tokiflow_scrape_organisations")
		}
		if n := kept(); n != 1 {
			t.Errorf("%g organisations are kept, want 1", n)
		}
		if n := valueOf(t, s, "tokiflow_scrape_cache_bytes"); n > 100 {
			t.Errorf("%g bytes of answers are kept of an organisation without monitors", n)
		}
		time.Sleep(6 * time.Minute)
		before := s.store.asked()
		time.Sleep(time.Minute)
		if n := s.store.asked(); kept() != 0 || n != before {
			t.Errorf("%g organisations are kept, %d readings for nobody", kept(), n-before)
		}
		if got := s.get("a", "/metrics/monitors"); strings.Count(got, "\ntokiflow_monitor_up{") != 100 {
			t.Error("it does not come back")
		}
	})
}

func valueOf(t *testing.T, s *bundle, name string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.Metric[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s := newBundle(t, func(o *exporter.Options) { o.CacheBytes = 50_000 })
	s.store.put(s.a, randomMonitors(1000)...)
	want := s.get("a", "/metrics/monitors")
	if got := s.get("a", "/metrics/monitors"); got != want {
		t.Error("the second answer differs")
	}
	if n := valueOf(t, s, "tokiflow_scrape_cache_bytes"); n < 10_000 || n > 500_000 {
		t.Errorf("%g bytes are kept of %d, want about 50,000", n, len(want))
	}
}

func TestOwnMetrics(t *testing.T) {
	s := newBundle(t)
	s.get("a", "/metrics/monitors")
	s.ask("", http.MethodGet, "/metrics/monitors")
	s.ask("a", http.MethodGet, "/metrics/monitors?x")
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(`
# HELP tokiflow_scrapes_total Scrapes of monitors, by HTTP status.
# TYPE tokiflow_scrapes_total counter
tokiflow_scrapes_total{status="200"} 1
tokiflow_scrapes_total{status="400"} 1
tokiflow_scrapes_total{status="401"} 1
`), "tokiflow_scrapes_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(s.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestStoppedItAnswersThatItIs(t *testing.T) {
	s := newBundle(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.exporter.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if w := s.ask("a", http.MethodGet, "/metrics/monitors"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestManyAtOnce is for the race detector: scrapes in all views while monitors change.
func TestManyAtOnce(t *testing.T) {
	s := newBundle(t, func(o *exporter.Options) { o.Clock = time.Now })
	monitors := randomMonitors(100)
	for _, org := range []tenant.OrgID{s.a, s.b} {
		s.store.put(org, monitors...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.exporter.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() {
		r := rand.New(rand.NewPCG(1, 1))
		for ctx.Err() == nil {
			m := randomMonitor(r, 0)
			m.ID = monitors[r.IntN(100)].ID
			s.store.put(s.a, m)
			s.store.remove(s.b, monitors[r.IntN(100)].ID)
			time.Sleep(10 * time.Millisecond)
		}
	})
	var scrapes sync.WaitGroup
	for i := range 6 {
		scrapes.Go(func() {
			for n := range 8 {
				accept := []string{acceptText, acceptOpenMetrics, acceptProto}[(i+n)%3]
				query := []string{"", "?project[]=project-1", "?tag[]=db", "?name[]=tokiflow_monitor_uptime_ratio"}[n%4]
				w := s.ask([]string{"a", "b"}[n%2], http.MethodGet, "/metrics/monitors"+query, "Accept", accept, "Accept-Encoding", []string{"", "gzip", "zstd"}[i%3])
				got, own, _ := scraped(t, unpacked(t, w), w.Header().Get("Content-Type"))
				if fmt.Sprint(len(got)) != fmt.Sprint(own[seriesOf("tokiflow_exporter_series")]) {
					t.Errorf("%d series of %v", len(got), own)
				}
			}
		})
	}
	scrapes.Wait()
	cancel()
	all.Wait()
}
