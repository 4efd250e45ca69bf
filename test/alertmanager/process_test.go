package alertmanager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

const apiKey = "story-key-0123456789abcdef-0123456789abcd"

// process is a Tokiflow that a test talks to over HTTP.
type process struct {
	t    *testing.T
	base string
}

// start runs a Tokiflow with a database of its own until the test's end.
func start(t *testing.T) *process {
	t.Helper()
	ready := make(chan app.Welcome, 1)
	a, err := app.New(app.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: pgtest.NewURL(t), LogPartitions: 1,
		PingBodyLimit: 100_000, BootstrapAPIKey: apiKey, AllowPrivateWebhooks: true,
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

// alertmanager is the address of the organisation's Alertmanager, with its key as the password.
func (p *process) alertmanager() string {
	u, err := url.Parse(p.base + "/alertmanager")
	if err != nil {
		p.t.Fatal(err)
	}
	u.User = url.UserPassword("amtool", apiKey)
	return u.String()
}

// call is a request to the REST API that must succeed; in and out may be nil.
func (p *process) call(method, path string, in, out any) {
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
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusMultipleChoices {
		p.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, data, err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
}

// putConfig puts an alerting configuration.
func (p *process) putConfig(yaml string) {
	p.t.Helper()
	p.call(http.MethodPut, "/api/v1/alerting/config", map[string]string{"yaml": yaml}, nil)
}

// monitor makes a monitor and returns its id and its ping URL.
func (p *process) monitor(name string) (id, ping string) {
	p.t.Helper()
	var m struct {
		ID      string `json:"id"`
		PingURL string `json:"ping_url"`
	}
	p.call(http.MethodPost, "/api/v1/monitors", map[string]any{
		"name": name, "schedule": map[string]string{"interval": "1h"}, "grace": "1h", "tags": []string{"nightly"},
	}, &m)
	return m.ID, m.PingURL
}

// ping sends a ping.
func (p *process) ping(to string) {
	p.t.Helper()
	res, err := http.Get(to) //nolint:noctx,gosec // a test's own server
	if err != nil {
		p.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p.t.Fatalf("a ping answered %d", res.StatusCode)
	}
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
