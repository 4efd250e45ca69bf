package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tokiflow/tokiflow/loadgen"
)

// coreSeries are the eight that a dashboard lives on.
func coreSeries() []string {
	return []string{
		"tokiflow_monitor_up", "tokiflow_monitor_last_ping_timestamp_seconds", "tokiflow_monitor_last_success_timestamp_seconds",
		"tokiflow_monitor_last_run_duration_seconds", "tokiflow_monitor_due_timestamp_seconds",
		"tokiflow_monitor_deadline_timestamp_seconds", "tokiflow_monitor_open_runs", "tokiflow_monitor_uptime_ratio",
	}
}

// scrapes is how often each page is read, and pause how long it is waited before: the server's memory of the states is anew
// then, as for a Prometheus, and some hundred monitors have changed.
const (
	scrapes = 15
	pause   = 1500 * time.Millisecond
)

// measureScrape: how long a scrape of all monitors takes, while they are pinged, and how long a bare server needs to write
// the same bytes.
func measureScrape(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	if err := srv.start(ctx, brokers); err != nil {
		return err
	}
	keys, err := population(ctx, srv, s.monitors, 5)
	if err != nil {
		return err
	}
	// In no order: neighbours are written together, and jobs do not ping in the order in which they were made.
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	stop := keepPinging(ctx, srv, keys, 300)
	defer stop()

	core := srv.base + "/metrics/monitors?" + url.Values{"name[]": coreSeries()}.Encode()
	all := srv.base + "/metrics/monitors"
	for _, page := range []struct{ what, url, encoding string }{
		{"eight core series, gzip", core, "gzip"},
		{"all series, gzip", all, "gzip"},
		{"all series, plain", all, "identity"},
	} {
		text, err := plain(ctx, page.url)
		if err != nil {
			return err
		}
		bare, shut, err := bareServer(ctx, text)
		if err != nil {
			return err
		}
		var ours, theirs []time.Duration
		var size int64
		before, err := srv.metric(ctx, "tokiflow_pings_total")
		if err != nil {
			return err
		}
		for range scrapes { // in turn, so that both meet the same machine
			time.Sleep(pause)
			took, n, err := timed(ctx, page.url, page.encoding)
			if err != nil {
				return err
			}
			base, _, err := timed(ctx, bare, page.encoding)
			if err != nil {
				return err
			}
			ours, theirs, size = append(ours, took), append(theirs, base), n
		}
		shut()
		after, err := srv.metric(ctx, "tokiflow_pings_total")
		if err != nil {
			return err
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		fmt.Printf("%s: %d monitors, %.1f MB of text, %.1f MB on the wire: p50 %.1f ms, worst %.1f ms; bare writing of the same bytes %.1f ms; ratio %.2f; %.0f pings between two scrapes\n",
			page.what, s.monitors, float64(len(text))/1e6, float64(size)/1e6, ms(ours[scrapes/2]), ms(ours[scrapes-1]), ms(theirs[scrapes/2]),
			ours[scrapes/2].Seconds()/theirs[scrapes/2].Seconds(), (after-before)/scrapes)
	}
	return nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// population makes monitors and gives each some runs. It returns their ping keys.
func population(ctx context.Context, srv *server, n, runs int) ([]string, error) {
	admin, err := loadgen.NewAdmin(srv.base, apiKey)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	monitors, err := admin.Make(ctx, loadgen.Spec{Prefix: "population", Count: n, Interval: time.Hour, Grace: time.Hour})
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, m := range monitors {
		keys = append(keys, m.PingKey)
	}
	for sent := 0; sent < n*runs; {
		res, err := loadgen.Ping(ctx, loadgen.PingOptions{
			BaseURL: srv.base, Targets: keys, Connections: 64, Duration: time.Second, Runs: true,
		})
		if err != nil {
			return nil, err
		}
		sent += int(res.Answered) / 2
	}
	return keys, nil
}

// keepPinging sends rate pings a second in the background until the returned function is called.
func keepPinging(ctx context.Context, srv *server, keys []string, rate float64) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = loadgen.Ping(ctx, loadgen.PingOptions{ // it ends by being cancelled
			BaseURL: srv.base, Targets: keys, Connections: 2, Duration: time.Hour, Rate: rate,
		})
	}()
	return func() {
		cancel()
		<-done
	}
}

func plain(ctx context.Context, url string) ([]byte, error) {
	res, err := request(ctx, url, "identity")
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	return io.ReadAll(res.Body)
}

// timed reads a page and throws it away.
func timed(ctx context.Context, url, encoding string) (time.Duration, int64, error) {
	began := time.Now()
	res, err := request(ctx, url, encoding)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	return time.Since(began), n, err
}

// request asks as Prometheus does, and leaves the answer compressed.
func request(ctx context.Context, url, encoding string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Accept-Encoding", encoding)
	res, err := http.DefaultClient.Do(req) //nolint:gosec // our own servers
	if err == nil && res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s answered %d: %s", url, res.StatusCode, body)
	}
	return res, err
}

// bareServer writes text, and nothing else, compressed where it is asked to be.
func bareServer(ctx context.Context, text []byte) (string, func(), error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		if r.Header.Get("Accept-Encoding") != "gzip" {
			_, _ = w.Write(text)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		_, _ = z.Write(text)
		_ = z.Close()
	})
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = s.Close() }, nil
}
