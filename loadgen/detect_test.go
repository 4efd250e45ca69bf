package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
)

// fake is a server that does for a few monitors what Tokiflow does, and misbehaves as it is told.
type fake struct {
	t       *testing.T
	hook    string
	secret  string
	sends   sync.WaitGroup
	deleted map[string]bool

	mu       sync.Mutex
	monitors map[string]*fakeMonitor // by ping key

	mute      bool                      // sends nothing
	twice     bool                      // sends everything twice
	cry       bool                      // opens an incident for a monitor that is fine
	deadline  func(time.Time) time.Time // what it claims the deadline was
	refuseAPI bool
}

type fakeMonitor struct {
	id, slug string
	span     time.Duration
	timer    *time.Timer
	last     time.Time
	open     *alert.Incident
}

func newFake(t *testing.T, secret string) (*fake, *httptest.Server, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		t: t, hook: "http://" + l.Addr().String() + "/", secret: secret, monitors: map[string]*fakeMonitor{}, deleted: map[string]bool{},
		deadline: func(at time.Time) time.Time { return at },
	}
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		s.Close()
		f.mu.Lock()
		for _, m := range f.monitors {
			f.calm(m)
		}
		f.mu.Unlock()
		f.sends.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	return f, s, l
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if key, ok := strings.CutPrefix(r.URL.Path, "/ping/"); ok {
		f.ping(key)
		return
	}
	if r.Header.Get("Authorization") != "Bearer key" || f.refuseAPI {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"detail":"no","errors":[{"location":"body.x","message":"bad"}]}`))
		return
	}
	switch r.Method {
	case http.MethodPost:
		var body struct {
			Name, Grace string
			Schedule    struct{ Interval string }
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		interval, _ := time.ParseDuration(body.Schedule.Interval)
		grace, _ := time.ParseDuration(body.Grace)
		m := &fakeMonitor{id: uuid.NewString(), slug: body.Name, span: interval + grace}
		key := uuid.NewString()
		f.monitors[key] = m
		_ = json.NewEncoder(w).Encode(Monitor{ID: m.id, PingKey: key, Slug: m.slug, Status: "new"})
	case http.MethodDelete:
		f.deleted[strings.TrimPrefix(r.URL.Path, "/api/v1/monitors/")] = true
	case http.MethodGet:
		_, _ = w.Write([]byte(`{"projects":[{"ping_key":"pk"}]}`))
	}
}

func (f *fake) ping(key string) {
	m := f.monitors[key]
	now := time.Now()
	f.calm(m)
	m.last = now
	if m.open != nil {
		m.open.Status, m.open.ResolvedAt = incident.Resolved, &now
		f.send(alert.TypeResolved, now, *m.open)
		m.open = nil
	}
	f.sends.Add(1)
	m.timer = time.AfterFunc(m.span, func() { defer f.sends.Done(); f.missed(m) })
	if f.cry && !strings.HasSuffix(m.slug, "-00001") { // the first ones go silent
		f.cry = false
		f.send(alert.TypeOpened, now, alert.Incident{ID: uuid.New(), MonitorID: uuid.MustParse(m.id), Kind: incident.Missed, OpenedAt: now})
	}
}

// calm takes back the alarm that would come at the deadline.
func (f *fake) calm(m *fakeMonitor) {
	if m.timer != nil && m.timer.Stop() {
		f.sends.Done()
	}
}

func (f *fake) missed(m *fakeMonitor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := f.deadline(m.last.Add(m.span))
	evidence, _ := json.Marshal(incident.Evidence{DeadlineAt: &due})
	now := time.Now()
	m.open = &alert.Incident{ID: uuid.New(), MonitorID: uuid.MustParse(m.id), Kind: incident.Missed, OpenedAt: now, Evidence: evidence}
	f.send(alert.TypeOpened, now, *m.open)
}

func (f *fake) send(what string, at time.Time, in alert.Incident) {
	if f.mute {
		return
	}
	body, _ := json.Marshal(alert.Message{Type: what, Timestamp: at, Data: alert.Data{Incident: in}})
	id := fmt.Sprint("msg_", uuid.New())
	times := 1
	if f.twice {
		times = 2
	}
	f.sends.Go(func() {
		for range times {
			req, _ := http.NewRequest(http.MethodPost, f.hook, bytes.NewReader(body))
			wh, _ := standardwebhooks.NewWebhookRaw([]byte(f.secret))
			now := time.Now()
			signature, _ := wh.Sign(id, now, body)
			req.Header.Set("webhook-id", id)
			req.Header.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
			req.Header.Set("webhook-signature", signature)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
		}
	})
}

func options(t *testing.T, s *httptest.Server, l net.Listener) DetectOptions {
	return DetectOptions{
		BaseURL: s.URL, APIKey: "key", Listener: l, Secret: "secret", Monitors: 5, Silent: 3,
		Interval: time.Second, Grace: 500 * time.Millisecond, Settle: 500 * time.Millisecond, Wait: 5 * time.Second, Say: t.Logf,
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	f, s, l := newFake(t, "secret")
	f.twice = true
	r, err := Detect(t.Context(), options(t, s, l))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults) > 0 || r.Told.Count()+uint64(r.Excluded) < 3 || r.Repeated == 0 {
		t.Errorf("%+v", r.Faults)
	}
	if r.Excluded == 0 && (r.Told.Count() != 3 || r.Resolved.Count() != 3 || r.Opened.Count() != 3) {
		t.Errorf("told %d, resolved %d, opened %d", r.Told.Count(), r.Resolved.Count(), r.Opened.Count())
	}
	if len(f.deleted) != 5 {
		t.Errorf("%d monitors were removed", len(f.deleted))
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "0 faults") {
		t.Error(b.String(), err)
	}
}

func TestDetectNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := func(want string, misbehave func(*fake, *DetectOptions)) {
		t.Helper()
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			f, s, l := newFake(t, "secret")
			o := options(t, s, l)
			o.Monitors, o.Silent, o.Wait = 2, 1, time.Second
			misbehave(f, &o)
			r, err := Detect(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(r.Faults, "\n"); !strings.Contains(all, want) {
				t.Errorf("faults %q, want %q", all, want)
			}
		})
	}
	f("no webhook told it", func(f *fake, _ *DetectOptions) { f.mute = true })
	f("signature is wrong", func(_ *fake, o *DetectOptions) { o.Secret = "another" })
	f("false alarm", func(f *fake, _ *DetectOptions) { f.cry = true })
	f("the deadline is said to have been", func(f *fake, _ *DetectOptions) {
		f.deadline = func(at time.Time) time.Time { return at.Add(-time.Minute) }
	})
	f("before the deadline", func(f *fake, _ *DetectOptions) {
		f.deadline = func(at time.Time) time.Time { return at.Add(500 * time.Millisecond) }
	})
}

func TestDetectOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*DetectOptions){
		"none silent": func(o *DetectOptions) { o.Silent = 0 },
		"interval":    func(o *DetectOptions) { o.Interval = time.Millisecond },
		"wait":        func(o *DetectOptions) { o.Wait = 0 },
		"key":         func(o *DetectOptions) { o.APIKey = "" },
		"secret":      func(o *DetectOptions) { o.Secret = "whsec_!" },
		"base URL":    func(o *DetectOptions) { o.BaseURL = "h" },
	} {
		o := DetectOptions{BaseURL: "http://h", APIKey: "k", Monitors: 1, Silent: 1, Interval: time.Second, Wait: time.Second}
		change(&o)
		if _, err := Detect(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	f, s, l := newFake(t, "secret")
	defer func() { _ = l.Close() }()
	a, err := NewAdmin(s.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	made, err := a.Make(t.Context(), Spec{Prefix: "x", Count: 40, Interval: 24 * time.Hour, Grace: time.Minute})
	if err != nil || len(made) != 40 || made[7].Slug != "x-00008" || made[7].PingKey == "" {
		t.Fatal(made, err)
	}
	if key, err := a.ProjectKey(t.Context()); key != "pk" || err != nil {
		t.Errorf("%q, %v", key, err)
	}
	if err := a.Remove(t.Context(), made[:10]); err != nil || len(f.deleted) != 10 {
		t.Errorf("%d removed, %v", len(f.deleted), err)
	}
	f.refuseAPI = true
	if _, err := a.Make(t.Context(), Spec{Prefix: "x", Count: 40}); err == nil || !strings.Contains(err.Error(), "422: no; body.x: bad") {
		t.Errorf("error %v", err)
	}
}
