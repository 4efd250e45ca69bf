package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

const testKey = "test-key-0123456789abcdef-0123456789"

// process is a Tokiflow that a test talks to over HTTP.
type process struct {
	t    *testing.T
	base string
	stop func() error
}

func options(t *testing.T, databaseURL string) app.Options {
	return app.Options{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), DatabaseURL: databaseURL, LogPartitions: 1,
		PingBodyLimit: 100_000, BootstrapAPIKey: testKey, AllowPrivateWebhooks: true,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// start runs a process until the test's end, or until stop.
func start(t *testing.T, o app.Options) *process {
	t.Helper()
	ready := make(chan app.Welcome, 1)
	o.Announce = func(w app.Welcome) { ready <- w }
	a, err := app.New(o)
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
		return &process{t: t, base: w.URL, stop: stop}
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("not ready after 60 s")
	}
	return nil
}

// call is a request to the API; out may be nil.
func (p *process) call(method, path string, in, out any) int {
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
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if out != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(data, out); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
	if res.StatusCode >= 400 {
		p.t.Logf("%s %s: %d %s", method, path, res.StatusCode, data)
	}
	return res.StatusCode
}

type monitorView struct {
	ID       string    `json:"id"`
	PingURL  string    `json:"ping_url"`
	PingKey  string    `json:"ping_key"`
	Status   string    `json:"status"`
	LastPing time.Time `json:"last_ping_at"`
	Deadline time.Time `json:"deadline_at"`
}

func (p *process) create(name, interval, grace string) monitorView {
	p.t.Helper()
	var m monitorView
	if code := p.call("POST", "/api/v1/monitors", map[string]any{
		"name": name, "schedule": map[string]string{"interval": interval}, "grace": grace,
	}, &m); code != http.StatusCreated {
		p.t.Fatalf("create answered %d", code)
	}
	return m
}

func (p *process) ping(url string) {
	p.t.Helper()
	res, err := http.Get(url) //nolint:noctx,gosec // a test's own server
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "OK" {
		p.t.Fatalf("ping answered %d %q", res.StatusCode, body)
	}
}

// message is what a webhook says.
type message struct {
	at   time.Time
	Type string `json:"type"`
	Data struct {
		Incident struct {
			ID         string     `json:"id"`
			MonitorID  string     `json:"monitor_id"`
			Kind       string     `json:"kind"`
			OpenedAt   time.Time  `json:"opened_at"`
			ResolvedAt *time.Time `json:"resolved_at"`
			Evidence   struct {
				DeadlineAt time.Time `json:"deadline_at"`
				ExitCode   *int      `json:"exit_code"`
				Output     string    `json:"output"`
			} `json:"evidence"`
		} `json:"incident"`
		Monitor struct {
			Name string `json:"name"`
		} `json:"monitor"`
	} `json:"data"`
}

// receiver is a webhook receiver of the test's own.
func receiver(t *testing.T) (string, <-chan message) {
	got := make(chan message, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m := message{at: time.Now()}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Errorf("webhook: %v", err)
		}
		got <- m
	}))
	t.Cleanup(srv.Close)
	return srv.URL, got
}

func next(t *testing.T, from <-chan message) message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("no webhook for 30 s")
		return message{}
	}
}

// eventually waits for what has no signal of its own.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestWholeWay: pinged, a monitor is up; silent, an incident opens and the webhook says so; pinged again, it is resolved and
// the webhook says that too. On the log on disk and on a real Kafka, on plain PostgreSQL and with TimescaleDB.
func TestWholeWay(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) { wholeWay(t, options(t, pool.Config().ConnString())) })
	})
	t.Run("kafka", func(t *testing.T) {
		o := options(t, pgtest.NewURL(t))
		o.Kafka = kafka(t)
		wholeWay(t, o)
	})
}

func kafka(t *testing.T) app.Kafka {
	return app.Kafka{Brokers: []string{services.Kafka(t)}, Topic: "app-" + uuid.NewString(), Partitions: 3}
}

func wholeWay(t *testing.T, o app.Options) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { // behind every other clean-up
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before)
	})
	hook, said := receiver(t)
	o.AlertWebhooks = []string{hook}
	p := start(t, o)

	m := p.create("backup", "2s", "1s")
	if m.Status != "new" {
		t.Errorf("a monitor never pinged is %q", m.Status)
	}
	p.ping(m.PingURL)
	status := func() string {
		var now monitorView
		p.call("GET", "/api/v1/monitors/"+m.ID, nil, &now)
		return now.Status
	}
	eventually(t, "up after a ping", func() bool { return status() == "up" })

	opened := next(t, said)
	if opened.Type != "incident.opened" || opened.Data.Incident.Kind != "missed" || opened.Data.Monitor.Name != "backup" {
		t.Fatalf("said %+v", opened)
	}
	if status() != "down" {
		t.Errorf("silent, it is %q", status())
	}
	if d := opened.at.Sub(opened.Data.Incident.Evidence.DeadlineAt); d < 0 || d > 20*time.Second {
		t.Errorf("the webhook came %v after the deadline", d)
	} else {
		t.Logf("the webhook came %v after the deadline", d)
	}

	p.ping(m.PingURL + "/0")
	resolved := next(t, said)
	if resolved.Type != "incident.resolved" || resolved.Data.Incident.ID != opened.Data.Incident.ID || resolved.Data.Incident.ResolvedAt == nil {
		t.Fatalf("said %+v", resolved)
	}
	p.ping(m.PingURL + "/7")
	failed := next(t, said)
	if ev := failed.Data.Incident.Evidence; failed.Data.Incident.Kind != "fail" || ev.ExitCode == nil || *ev.ExitCode != 7 {
		t.Fatalf("said %+v", failed)
	}

	var list struct{ Items []map[string]any }
	eventually(t, "three pings in the history", func() bool {
		p.call("GET", "/api/v1/monitors/"+m.ID+"/pings", nil, &list)
		return len(list.Items) == 3
	})
	p.call("GET", "/api/v1/monitors/"+m.ID+"/transitions", nil, &list)
	if len(list.Items) < 4 {
		t.Errorf("transitions: %v", list.Items)
	}
	if code := p.call("DELETE", "/api/v1/monitors/"+m.ID, nil, nil); code != http.StatusNoContent {
		t.Errorf("delete answered %d", code)
	}
	gone := next(t, said)
	if gone.Type != "incident.resolved" {
		t.Errorf("said %+v", gone)
	}
	eventually(t, "a deleted monitor's key is unknown", func() bool {
		res, err := http.Get(m.PingURL) //nolint:noctx,gosec // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusNotFound
	})
}

// TestRestartAcrossDeadlines: the process was down across deadlines. Who goes on pinging has no incident; who was silent has
// one, behind the gap.
func TestRestartAcrossDeadlines(t *testing.T) {
	t.Run("disk", func(t *testing.T) { restart(t, options(t, pgtest.NewURL(t)), func(*app.Options) {}) })
	t.Run("kafka", func(t *testing.T) {
		o := options(t, pgtest.NewURL(t))
		o.Kafka = kafka(t)
		restart(t, o, func(*app.Options) {})
	})
	t.Run("another log", func(t *testing.T) { // the old one was lost
		restart(t, options(t, pgtest.NewURL(t)), func(o *app.Options) { o.DataDir = t.TempDir() })
	})
}

func restart(t *testing.T, o app.Options, meanwhile func(*app.Options)) {
	hook, said := receiver(t)
	o.AlertWebhooks = []string{hook}
	p := start(t, o)
	alive, silent := p.create("alive", "2s", "1s"), p.create("silent", "2s", "1s")
	p.ping(alive.PingURL)
	p.ping(silent.PingURL)
	eventually(t, "both are up", func() bool {
		var list struct{ Items []monitorView }
		p.call("GET", "/api/v1/monitors?status=up", nil, &list)
		return len(list.Items) == 2
	})
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // across both deadlines: there is nothing to wait for
	meanwhile(&o)
	p = start(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	var pinger sync.WaitGroup
	pinger.Go(func() {
		for ctx.Err() == nil {
			p.ping(fmt.Sprintf("%s/ping/%s", p.base, alive.PingKey))
			time.Sleep(300 * time.Millisecond)
		}
	})
	m := next(t, said)
	cancel()
	pinger.Wait()
	if m.Data.Incident.MonitorID != silent.ID || m.Data.Incident.Kind != "missed" {
		t.Errorf("said %+v", m)
	}
	select {
	case m := <-said:
		if m.Data.Incident.MonitorID == alive.ID {
			t.Errorf("said too: %+v", m)
		}
	default:
	}
}
