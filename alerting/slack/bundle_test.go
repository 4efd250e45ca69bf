package slack_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/slack"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const signingSecret = "8f742231b10e8888abcd99yyyzzz85a5"

// fakeBox marks what it sealed; it opens with the same about only.
type fakeBox struct{}

func (fakeBox) Seal(plain, about []byte) ([]byte, error) {
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce)
	mac := hmac.New(sha256.New, []byte("key"))
	_, _ = fmt.Fprintf(mac, "%x/%x/%x", nonce, plain, about)
	return append(append(nonce, mac.Sum(nil)...), plain...), nil
}

func (fakeBox) Open(sealed, about []byte) ([]byte, error) {
	if len(sealed) < 40 {
		return nil, errors.New("broken")
	}
	mac := hmac.New(sha256.New, []byte("key"))
	_, _ = fmt.Fprintf(mac, "%x/%x/%x", sealed[:8], sealed[40:], about)
	if !hmac.Equal(mac.Sum(nil), sealed[8:40]) {
		return nil, errors.New("broken")
	}
	return sealed[40:], nil
}

// bundle is the app in front of a fake Slack, with two organisations.
type bundle struct {
	t        *testing.T
	slack    *fakeSlack
	store    *fakeStore
	app      *slack.App
	server   *httptest.Server
	client   *http.Client
	a, b     tenant.OrgID
	registry *prometheus.Registry
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{
		t: t, slack: newFakeSlack(t),
		a: tenant.OrgID{UUID: uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")},
		b: tenant.OrgID{UUID: uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000002")},
	}
	b.store = &fakeStore{
		workspaces: map[tenant.OrgID]alert.Workspace{}, channels: map[string]bool{}, states: map[uuid.UUID]tenant.OrgID{}, seen: map[[32]byte]bool{},
		alerts: map[tenant.OrgID]map[string]alert.Routed{b.a: {}, b.b: {}}, silences: map[tenant.OrgID][]alert.StoredSilence{},
		orgs: map[tenant.OrgID]string{b.a: "acme", b.b: "globex"}, monitors: map[tenant.OrgID][]inventory.Monitor{}, incidents: map[tenant.OrgID][]inventory.Incident{},
	}
	b.start()
	return b
}

// newBundleOn is another process in front of the same Slack and store.
func newBundleOn(t *testing.T, old *bundle) *bundle {
	t.Helper()
	b := &bundle{t: t, slack: old.slack, store: old.store, a: old.a, b: old.b}
	b.start()
	return b
}

func (b *bundle) start() {
	b.t.Helper()
	router := chi.NewRouter()
	b.server = httptest.NewServer(router)
	b.t.Cleanup(b.server.Close)
	b.registry = prometheus.NewRegistry()
	var err error
	b.app, err = slack.New(slack.Options{
		ClientID: "1.2", ClientSecret: "client-secret", SigningSecret: signingSecret, BaseURL: b.server.URL,
		Workspaces: b.store, Once: b.store, Alerts: b.store, Incidents: b.store, Monitors: b.store, Runs: b.store,
		Keys: auth.NewKeys(b.store, nil), Box: fakeBox{}, Client: &http.Client{Transport: b.slack, CheckRedirect: noRedirect},
		Logger: slog.New(slog.DiscardHandler), Registerer: b.registry, APIURL: b.slack.server.GetAPIURL(), AuthorizeURL: "https://slack.example/authorize",
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.app.Routes(router)
	b.client = &http.Client{CheckRedirect: noRedirect}
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.app.Close(ctx); err != nil {
			b.t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// connect gives the organisation a workspace.
func (b *bundle) connect(org tenant.OrgID, team string) alert.Workspace {
	b.t.Helper()
	w := alert.Workspace{Org: org, TeamID: team, TeamName: "Team " + team, Channel: "#ops", ChannelID: "C0OPS", InstalledAt: time.Now().Add(-time.Hour).UTC()}
	sealed, err := fakeBox{}.Seal([]byte("xoxb-secret-"+team), w.About())
	if err != nil {
		b.t.Fatal(err)
	}
	w.Sealed = sealed
	if err := b.store.PutSlackWorkspace(b.t.Context(), org, w); err != nil {
		b.t.Fatal(err)
	}
	return w
}

// entry makes an entry of slack_app_configs.
func entryOf(t *testing.T, text string) config.Entry {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return config.Entry{Kind: slack.KindName, Receiver: "ops", SendResolved: !strings.Contains(text, "send_resolved: false"), Node: n.Content[0]}
}

// sign makes a request as Slack does.
func (b *bundle) sign(path, contentType, body string, at time.Time) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	stamp := fmt.Sprint(at.Unix())
	mac := hmac.New(sha256.New, []byte(signingSecret))
	_, _ = fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	return req
}

func (b *bundle) do(req *http.Request) (int, string) {
	b.t.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var sb strings.Builder
	if _, err := copyAll(&sb, res.Body); err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, sb.String()
}

// press presses a button of a message.
func (b *bundle) press(team, user string, m posted, action string) {
	b.t.Helper()
	status, text := b.do(b.pressRequest(team, user, m, action, valueOf(b.t, m, action)))
	if status != http.StatusOK || text != "" {
		b.t.Fatalf("%d %s", status, text)
	}
}

func (b *bundle) pressRequest(team, user string, m posted, action, value string) *http.Request {
	payload, err := json.Marshal(map[string]any{
		"type": "block_actions", "team": map[string]any{"id": team}, "user": map[string]any{"id": user, "name": "ada", "team_id": team},
		"container":    map[string]any{"type": "message", "message_ts": m.ts, "channel_id": m.channel},
		"channel":      map[string]any{"id": m.channel},
		"response_url": "https://hooks.slack.com/actions/T1/2/3",
		"actions":      []any{map[string]any{"action_id": action, "block_id": "b", "type": "button", "value": value}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.sign("/api/slack/actions", "application/x-www-form-urlencoded", url.Values{"payload": {string(payload)}}.Encode(), time.Now())
}

// valueOf is what a button of a message carries.
func valueOf(t *testing.T, m posted, action string) string {
	t.Helper()
	var attachments []struct {
		Blocks []struct {
			Elements []struct {
				ActionID string `json:"action_id"`
				Value    string `json:"value"`
			} `json:"elements"`
		} `json:"blocks"`
	}
	if err := json.Unmarshal([]byte(m.attachments), &attachments); err != nil {
		t.Fatal(err)
	}
	for _, a := range attachments {
		for _, block := range a.Blocks {
			for _, e := range block.Elements {
				if e.ActionID == action {
					return e.Value
				}
			}
		}
	}
	t.Fatalf("no button %s in %s", action, m.attachments)
	return ""
}

// pulse types a command and returns the answer, at once or by the response_url.
func (b *bundle) pulse(team, channel, text string) string {
	b.t.Helper()
	form := url.Values{
		"command": {"/pulse"}, "team_id": {team}, "channel_id": {channel}, "user_id": {"U0ADA"}, "user_name": {"ada"}, "text": {text},
		"response_url": {"https://hooks.slack.com/commands/T1/2/3"}, "trigger_id": {uuid.NewString()},
	}
	status, body := b.do(b.sign("/api/slack/commands", "application/x-www-form-urlencoded", form.Encode(), time.Now()))
	if status != http.StatusOK {
		b.t.Fatalf("%d %s", status, body)
	}
	if body == "" {
		body = b.answered()
	}
	var a struct {
		Type string `json:"response_type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		b.t.Fatalf("%s: %v", body, err)
	}
	if a.Type != "ephemeral" {
		b.t.Errorf("the answer is for everybody: %s", body)
	}
	return a.Text
}

// answered waits for what is sent to a response_url.
func (b *bundle) answered() string {
	b.t.Helper()
	select {
	case s := <-b.slack.hook:
		return s
	case <-time.After(10 * time.Second):
		b.t.Fatal("no answer")
		return ""
	}
}

// settle waits until what was begun in the background is done.
func (b *bundle) settle(done func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			b.t.Fatal("it did not come to that")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// missed is an alert of a monitor's incident.
func missed(name string, at time.Time) alert.Routed {
	evidence, _ := json.Marshal(incident.Evidence{DueAt: &at, LastPingKind: "success", LastPingAt: &at})
	id := uuid.NewSHA1(uuid.Nil, []byte(name+at.String()))
	return alert.Routed{
		Source: alert.FromIncident, StartsAt: at, UpdatedAt: at, Incident: id, Monitor: uuid.NewSHA1(uuid.Nil, []byte(name)),
		Labels: map[string]string{
			alert.LabelName: "MonitorMissed", alert.LabelMonitor: name, alert.LabelID: uuid.NewSHA1(uuid.Nil, []byte(name)).String(),
			alert.LabelProject: "Default", alert.LabelSeverity: "critical", alert.LabelTags: ",db,nightly,",
		},
		Annotations: map[string]string{
			alert.AnnotationSummary: name + " did not come", alert.AnnotationIncident: id.String(), alert.AnnotationKind: "missed",
			alert.AnnotationEvidence: string(evidence),
		},
		GeneratorURL: "https://tokiflow.example.com/monitors/1",
	}
}
