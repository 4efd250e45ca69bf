//go:build unix

package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/disklog"
)

// sink is an appender that has everything durable at once.
type sink struct{ bytes atomic.Int64 }

func (s *sink) Append(_ context.Context, _ int, rec []byte) (time.Time, error) {
	s.bytes.Add(int64(len(rec)))
	return time.Time{}, nil
}

func (s *sink) AppendAll(_ context.Context, _ int, recs [][]byte) (time.Time, error) {
	for _, rec := range recs {
		s.bytes.Add(int64(len(rec)))
	}
	return time.Time{}, nil
}

// benchPartitions is the number of partitions of the log.
const benchPartitions = 8

// benchRouters returns a bare chi router that answers 200, one with an Ingest of 100,000 monitors, the same Ingest before a
// router, and the paths of pings.
func benchRouters(b *testing.B, log Appender) (bare, pings, front http.Handler, paths []string) {
	b.Helper()
	plain := chi.NewRouter()
	plain.HandleFunc("/ping/*", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK")) })
	full := fleet(100_000)
	g, err := New(Options{
		Appender: log, Partitions: benchPartitions, Targets: newSource(), Creator: new(creator), Authenticator: new(authority),
		BodyLimit: DefaultBodyLimit, RateLimit: 1_000_000_000, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	g.cache.apply(full)
	r := chi.NewRouter()
	g.Routes(r)
	for i := range 1000 {
		paths = append(paths, "/ping/"+full.Targets[i*97].Key.String())
	}
	return plain, r, g.Front(plain), paths
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkHandler is the handlers alone, without net/http.
func BenchmarkHandler(b *testing.B) {
	bare, pings, front, paths := benchRouters(b, new(sink))
	body := "backup finished: 123 files\n"
	for _, c := range []struct {
		name    string
		handler http.Handler
		body    string
	}{{"bare", bare, ""}, {"ping", pings, ""}, {"front", front, ""}, {"body", pings, body}} {
		b.Run(c.name, func(b *testing.B) {
			var reqs []*http.Request
			for _, p := range paths {
				r := httptest.NewRequest(http.MethodPost, p, strings.NewReader(c.body))
				r.Header.Set("User-Agent", "curl/8.5.0")
				reqs = append(reqs, r)
			}
			w := &discard{h: http.Header{}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := reqs[i%len(reqs)]
				if c.body != "" {
					r.Body = io.NopCloser(strings.NewReader(c.body))
				}
				clear(w.h)
				c.handler.ServeHTTP(w, r)
			}
		})
	}
}

// diskAppender is a real log on disk.
func diskAppender(b *testing.B) Appender {
	b.Helper()
	disk, err := disklog.Open(disklog.Options{Dir: b.TempDir(), Partitions: benchPartitions})
	if err != nil {
		b.Fatal(err)
	}
	log := eventlog.NewAppender(disk, eventlog.AppenderOptions{})
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- log.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := errors.Join(<-ran, disk.Close()); err != nil {
			b.Error(err)
		}
	})
	return log
}

// BenchmarkServer is whole requests over 64 connections; the load generator runs on the same cores, and is as small as can be.
func BenchmarkServer(b *testing.B) {
	bare, pings, front, paths := benchRouters(b, new(sink))
	_, _, durable, durablePaths := benchRouters(b, diskAppender(b))
	if paths[7] != durablePaths[7] {
		b.Fatal("two fleets")
	}
	for _, c := range []struct {
		name    string
		handler http.Handler
		body    string
	}{{"bare", bare, ""}, {"ping", pings, ""}, {"front", front, ""}, {"body", pings, "backup finished: 123 files\n"}, {"disk", durable, ""}} {
		b.Run(c.name, func(b *testing.B) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			used := processorTime(b)
			for i := range 64 {
				wg.Go(func() {
					if err := hammer(server.Listener.Addr().String(), paths[i:], c.body, &left); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			b.ReportMetric(float64(processorTime(b)-used)/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// processorTime is what this process has used, the load generator included: unlike the rate it says something on a machine
// that does other work too.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hammer sends requests over one connection, one after the other, until none is left.
func hammer(addr string, paths []string, body string, left *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := 0; left.Add(-1) >= 0; i++ {
		req := "GET " + paths[i%len(paths)] + " HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.5.0\r\n\r\n"
		if body != "" {
			req = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.5.0\r\nContent-Length: %d\r\n\r\n%s", paths[i%len(paths)], len(body), body)
		}
		if _, err := io.WriteString(conn, req); err != nil {
			return err
		}
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if first && string(line[:12]) != "HTTP/1.1 200" {
				return fmt.Errorf("answered %q", line)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(len("OK")); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkBatch is a batch of 10,000 pings.
func BenchmarkBatch(b *testing.B) {
	_, pings, _, paths := benchRouters(b, new(sink))
	var body strings.Builder
	for i := range maxBatchPings {
		fmt.Fprintf(&body, "{\"key\":%q,\"kind\":\"success\",\"exit_code\":0,\"duration\":1.5}\n", strings.TrimPrefix(paths[i%len(paths)], "/ping/"))
	}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, batchPath, strings.NewReader(body.String()))
		r.Header.Set("X-Api-Key", apiKeyAll)
		w := httptest.NewRecorder()
		pings.ServeHTTP(w, r)
		if !strings.HasPrefix(w.Body.String(), `{"accepted":10000,`) {
			b.Fatal(w.Body.String())
		}
	}
	b.ReportMetric(float64(b.N)*maxBatchPings/b.Elapsed().Seconds(), "pings/s")
}

// BenchmarkCache is a look-up by key and one by slug, and a change, among 100,000 monitors.
func BenchmarkCache(b *testing.B) {
	full := fleet(100_000)
	c := newCache(16)
	c.apply(full)
	b.Run("key", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c.byKey(full.Targets[i%1000].Key)
		}
	})
	b.Run("slug", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c.bySlug(projA().UUID, full.Targets[i%1000].Slug)
		}
	})
	b.Run("change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			p := full.Targets[i%len(full.Targets)]
			p.Key[0]++
			c.apply(tenant.PingTargets{Monitor: p.Monitor, Targets: []tenant.PingTarget{p}})
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			c.apply(full)
		}
	})
}
