package prom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/app"
)

// process is a Tokiflow that a test talks to over HTTP.
type process struct {
	t    *testing.T
	base string
}

// start runs a process until the test's end.
func start(t *testing.T, databaseURL string) *process {
	t.Helper()
	ready := make(chan app.Welcome, 1)
	a, err := app.New(app.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: databaseURL, LogPartitions: 1,
		PingBodyLimit: 100_000, BootstrapAPIKey: testKey, AllowPrivateWebhooks: true,
		Series:   app.Series{AllowPrivateForwards: true},
		Logger:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Announce: func(w app.Welcome) { ready <- w },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case w := <-ready:
		return &process{t: t, base: w.URL}
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	return nil
}

// send is a request with the key; it returns the status, the header and the body of the answer.
func (p *process) send(method, path string, in any, accept string) (int, http.Header, []byte) {
	p.t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			p.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, res.Header, data
}

// call is a request to the REST API that must succeed; out may be nil.
func (p *process) call(method, path string, in, out any) {
	p.t.Helper()
	status, _, data := p.send(method, path, in, "")
	if status >= http.StatusMultipleChoices {
		p.t.Fatalf("%s %s: %d %s", method, path, status, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
}

// monitor makes a monitor and pings it: behind its URL, each of the ends.
func (p *process) monitor(name string, pings ...string) string {
	p.t.Helper()
	var m struct {
		ID      string `json:"id"`
		PingURL string `json:"ping_url"`
	}
	p.call(http.MethodPost, "/api/v1/monitors", map[string]any{
		"name": name, "schedule": map[string]string{"interval": "2s"}, "grace": "1s", "tags": []string{"nightly", `odd "one"`},
	}, &m)
	for _, end := range pings {
		res, err := http.Get(m.PingURL + end) //nolint:noctx,gosec // a test's own server
		if err != nil {
			p.t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			p.t.Fatalf("a ping answered %d", res.StatusCode)
		}
	}
	return m.ID
}

// eventually waits for what has no signal of its own.
func eventually(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
