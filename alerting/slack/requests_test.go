package slack_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

const formType = "application/x-www-form-urlencoded"

func helpForm() string {
	return url.Values{"team_id": {"T0ACME"}, "user_id": {"U0ADA"}, "text": {"help"}, "response_url": {"https://hooks.slack.com/x"}}.Encode()
}

func TestSignatures(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	good := func() *http.Request {
		return b.sign("/api/slack/commands", formType, helpForm()+"&n="+time.Now().String(), time.Now())
	}
	if status, _ := b.do(good()); status != http.StatusOK {
		t.Fatalf("a good request: %d", status)
	}
	for name, spoil := range map[string]func(*http.Request){
		"no signature":      func(r *http.Request) { r.Header.Del("X-Slack-Signature") },
		"no timestamp":      func(r *http.Request) { r.Header.Del("X-Slack-Request-Timestamp") },
		"another signature": func(r *http.Request) { r.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("0", 64)) },
		"another version":   func(r *http.Request) { r.Header.Set("X-Slack-Signature", "v1"+r.Header.Get("X-Slack-Signature")[2:]) },
		"not hex":           func(r *http.Request) { r.Header.Set("X-Slack-Signature", "v0=zz") },
		"cut off":           func(r *http.Request) { r.Header.Set("X-Slack-Signature", r.Header.Get("X-Slack-Signature")[:20]) },
		"another time": func(r *http.Request) {
			r.Header.Set("X-Slack-Request-Timestamp", r.Header.Get("X-Slack-Request-Timestamp")+"0")
		},
		"time in words": func(r *http.Request) { r.Header.Set("X-Slack-Request-Timestamp", "now") },
	} {
		r := good()
		spoil(r)
		if status, _ := b.do(r); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, age := range []time.Duration{6 * time.Minute, 24 * time.Hour, -6 * time.Minute} {
		if status, _ := b.do(b.sign("/api/slack/commands", formType, helpForm(), time.Now().Add(-age))); status != http.StatusUnauthorized {
			t.Errorf("signed %s ago: %d", age, status)
		}
	}
	// Each endpoint checks.
	for _, path := range []string{"/api/slack/actions", "/api/slack/commands", "/api/slack/events"} {
		r := b.sign(path, formType, "x=1", time.Now())
		r.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("1", 64))
		if status, _ := b.do(r); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestReplaysAreRefused(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	at := time.Now()
	if status, _ := b.do(b.sign("/api/slack/commands", formType, helpForm(), at)); status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	again := b.sign("/api/slack/commands", formType, helpForm(), at)
	again.Header.Set("X-Slack-Signature", "v0="+strings.ToUpper(again.Header.Get("X-Slack-Signature")[3:])) // spelt otherwise
	if status, _ := b.do(again); status != http.StatusConflict {
		t.Errorf("a replay: %d", status)
	}
	other := newBundleOn(t, b)
	if status, _ := other.do(other.sign("/api/slack/commands", formType, helpForm(), at)); status != http.StatusConflict {
		t.Errorf("a replay to another process: %d", status)
	}
	b.store.down = true
	if status, _ := b.do(b.sign("/api/slack/commands", formType, helpForm()+"&x=2", at)); status != http.StatusServiceUnavailable {
		t.Errorf("without a database nobody knows whether it is a replay: %d", status)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	b := newBundle(t)
	if status, _ := b.do(b.sign("/api/slack/actions", formType, "payload="+strings.Repeat("x", 300<<10), time.Now())); status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", status)
	}
}

func TestUnreadableRequests(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for i, c := range []struct {
		path, body string
		want       int
	}{
		{"/api/slack/actions", "", 400},
		{"/api/slack/actions", "payload=", 400},
		{"/api/slack/actions", "payload=%7B", 400},
		{"/api/slack/actions", "payload=%00", 400},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`{"type":"view_submission"}`), 200},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`{"type":"block_actions","actions":[]}`), 200},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`{"type":"block_actions","actions":[{"block_id":"b","action_id":"other_app"}]}`), 200},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`{"type":"block_actions","actions":[{"block_id":"b","action_id":"tokiflow_view"}]}`), 200},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`{"type":"block_actions","actions":[{"block_id":"b","action_id":"tokiflow_acknowledge","value":"{}"}]}`), 200},
		{"/api/slack/actions", "payload=" + url.QueryEscape(`[]`), 400},
		{"/api/slack/commands", "", 400},
		{"/api/slack/commands", "team_id=T1&user_id=nobody", 400},
		{"/api/slack/commands", "team_id=T1&user_id=U0ADA&text=status", 400}, // no response_url
		{"/api/slack/commands", "team_id=T1&user_id=U0ADA&text=status&response_url=" + url.QueryEscape("http://169.254.169.254/"), 400},
		{"/api/slack/commands", "%zz", 400},
		{"/api/slack/events", "", 400},
		{"/api/slack/events", "[1]", 400},
		{"/api/slack/events", "{}", 200},
	} {
		if status, body := b.do(b.sign(c.path, formType, c.body, time.Now().Add(-time.Duration(i)*time.Second))); status != c.want {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, body)
		}
	}
	if n := len(b.slack.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// What is not Slack's is never asked for.
func TestResponseURLs(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for _, address := range []string{
		"http://hooks.slack.com/x", "https://hooks.slack.com.evil.example/x", "https://evil.example/hooks.slack.com", "https://hooks.slack.com@evil.example/x",
		"https://user@hooks.slack.com/x", "https://hooks.slack.com:8443/x", "//hooks.slack.com/x", "https:hooks.slack.com", "file:///etc/passwd", "https://HOOKS.slack.com.",
		"https://hooks.slack.com#@evil.example/", "https://hooks.slack.com", " https://hooks.slack.com/x", "https://hooks.slack.com/\x00",
	} {
		form := url.Values{"team_id": {"T0ACME"}, "user_id": {"U0ADA"}, "text": {"status"}, "response_url": {address}}
		if status, _ := b.do(b.sign("/api/slack/commands", formType, form.Encode(), time.Now())); status != http.StatusBadRequest {
			t.Errorf("%q: %d", address, status)
		}
	}
}

func TestEvents(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0BOTH")
	b.connect(b.b, "T0BOTH")
	event := func(body string) (int, string) {
		return b.do(b.sign("/api/slack/events", "application/json", body, time.Now()))
	}
	if status, body := event(`{"type":"url_verification","challenge":"3eZbrw1aB"}`); status != 200 || body != "3eZbrw1aB" {
		t.Errorf("%d %s", status, body)
	}
	for _, harmless := range []string{
		`{"type":"event_callback","team_id":"T0BOTH","event":{"type":"tokens_revoked","tokens":{"oauth":["U1"]}}}`,
		`{"type":"event_callback","team_id":"T0BOTH","event_time":1,"event":{"type":"app_uninstalled"}}`, // before it was installed
		`{"type":"event_callback","team_id":"","event":{"type":"app_uninstalled"}}`,
		`{"type":"event_callback","team_id":"T0ELSE","event":{"type":"app_uninstalled"}}`,
	} {
		if status, _ := event(harmless); status != 200 {
			t.Errorf("%s: %d", harmless, status)
		}
		if w, _ := b.app.Workspace(t.Context(), b.a); w.Revoked() {
			t.Fatalf("%s: revoked", harmless)
		}
	}
	b.store.down = true
	b.store.mu.Lock()
	seen := len(b.store.seen)
	b.store.mu.Unlock()
	if status, _ := event(`{"type":"event_callback","team_id":"T0BOTH","event":{"type":"app_uninstalled"}}`); status != http.StatusServiceUnavailable || seen == 0 {
		t.Errorf("%d: Slack must send it again", status)
	}
	b.store.down = false
	if status, _ := event(`{"type":"event_callback","team_id":"T0BOTH","event":{"type":"tokens_revoked","tokens":{"bot":["U0BOT"]}},"n":2}`); status != 200 {
		t.Errorf("%d", status)
	}
	for _, org := range []tenant.OrgID{b.a, b.b} {
		if w, _ := b.app.Workspace(t.Context(), org); !w.Revoked() || w.RevokedReason != "tokens_revoked" {
			t.Errorf("%+v", w)
		}
	}
}
