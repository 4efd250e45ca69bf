package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const goodAlerting = `# routes
route:
  receiver: team
  group_by: [project]
  routes:
    - matchers: [severity="critical"]
      receiver: on-call
      continue: true
    - matchers: [project=~"shop|web"]
      receiver: web
receivers:
  - name: team
    webhook_configs:
      - url: https://hooks.example.com/s3cr3t
  - name: on-call
    slack_app_configs:
      - channel: '#ops'
  - name: web
`

func TestAlertingCheck(t *testing.T) {
	i := invocation{files: map[string]string{"good.yml": goodAlerting}}
	want := result{Out: "good.yml: 3 receivers with 2 integrations, 0 inhibition rules, 0 templates\n"}
	if diff := cmp.Diff(want, i.run(t, "alerting", "check", "good.yml")); diff != "" {
		t.Error(diff)
	}
	bad := strings.Replace(strings.Replace(goodAlerting, "receiver: web", "receiver: wep", 1), "'#ops'", "'o p s'", 1)
	i.files["bad.yml"] = bad
	r := i.run(t, "alerting", "check", "bad.yml", "good.yml")
	for _, w := range []string{`bad.yml:10: undefined receiver "wep" used in route`, "bad.yml:17: slack_app_configs: channel"} {
		if !strings.Contains(r.Errors, w) {
			t.Errorf("%q does not say %q", r.Errors, w)
		}
	}
	if r.Code != exitFailed || !strings.Contains(r.Out, "good.yml: 3 receivers") {
		t.Errorf("%+v", r)
	}
	i.files["private.yml"] = strings.Replace(goodAlerting, "hooks.example.com", "127.0.0.1", 1)
	if r := i.run(t, "alerting", "check", "private.yml"); r.Code != exitFailed || !strings.Contains(r.Errors, "private.yml:14: url: forbidden address") {
		t.Errorf("%+v", r)
	}
	if r := i.run(t, "alerting", "check", "--allow-private-webhooks", "private.yml"); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	if r := i.run(t, "alerting", "check", "none.yml"); r.Code != exitFailed || !strings.Contains(r.Errors, "none.yml") {
		t.Errorf("%+v", r)
	}
}

func TestAlertingCheckFindsTemplates(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"am.yml": strings.Replace(goodAlerting, "/s3cr3t", "/{{ template \"x\" . }}", 1) + "templates: ['./t/*.tmpl']\n", "t/x.tmpl": `{{ define "x" }}{{ .Status }}{{ end }}`,
		"own.yml": strings.Replace(goodAlerting, "url: https://hooks.example.com/s3cr3t", "url_file: url.txt", 1),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := invocation{}.environment()
	check := alertingCheckCmd{}
	e.readFile = os.ReadFile
	c, err := check.load(e, filepath.Join(dir, "am.yml"))
	if err != nil || len(c.Templates) != 1 {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := check.load(e, filepath.Join(dir, "own.yml")); err == nil || !strings.Contains(err.Error(), "url_file names a file") {
		t.Error(err)
	}
	check.OwnFile = true
	if _, err := check.load(e, filepath.Join(dir, "own.yml")); err != nil {
		t.Error(err)
	}
}

// amtool's own semantics: receivers in the order of the routes, commas between, status 1 where others were expected.
func TestAlertingRoutes(t *testing.T) {
	i := invocation{files: map[string]string{"a.yml": goodAlerting}}
	f := func(code int, out string, args ...string) {
		t.Helper()
		r := i.run(t, append([]string{"alerting", "routes"}, args...)...)
		if r.Code != code || r.Out != out {
			t.Errorf("%v: %+v, want %d, %q", args, r, code, out)
		}
	}
	f(0, "team\n", "test", "--file", "a.yml")
	f(0, "on-call\n", "test", "--file", "a.yml", "severity=critical")
	f(0, "on-call,web\n", "test", "--file", "a.yml", `severity="critical"`, "project=web")
	f(0, "on-call,web\n", "test", "--file", "a.yml", "--verify-receivers", "on-call,web", "severity=critical", "project=web")
	f(exitFailed, "web\nWARNING: Expected receivers did not match resolved receivers.\n", "test", "--file", "a.yml", "--verify-receivers", "team", "project=web")
	f(exitUsage, "", "test", "--file", "a.yml", "severity!=critical")
	f(exitUsage, "", "test")
	f(0, `Routing tree:
.
└── default-route  receiver: team
    ├── {severity="critical"}  continue: true  receiver: on-call
    └── {project=~"shop|web"}  receiver: web
`, "show", "--file", "a.yml")
}

// alertingBackend is a table of one row.
type alertingBackend struct {
	mu      sync.Mutex
	sealed  []byte
	version int64
}

func (b *alertingBackend) AlertingConfig(context.Context, tenant.OrgID) ([]byte, string, int64, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sealed, "", b.version, time.Time{}, nil
}

func (b *alertingBackend) PutAlertingConfig(_ context.Context, _ tenant.OrgID, sealed []byte, _ string, _ uuid.UUID, _ int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealed = sealed
	b.version++
	return b.version, nil
}

type openBox struct{}

func (openBox) Seal(plain, _ []byte) ([]byte, error)  { return plain, nil }
func (openBox) Open(sealed, _ []byte) ([]byte, error) { return sealed, nil }

// newAlertingServer is the API's part about the alerting configuration.
func newAlertingServer(t *testing.T) *httptest.Server {
	t.Helper()
	store := config.NewStore(&alertingBackend{}, openBox{}, app.AlertingOptions(false))
	answer := func(w http.ResponseWriter, c alert.Configuration, err error) {
		if err != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = fmt.Fprintf(w, `{"detail":"validation failed","errors":[{"message":%s}]}`, strconv.Quote(fault.MessageOf(err)))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"yaml": c.YAML, "templates": c.Templates, "version": c.Version})
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tkf_key" || r.URL.Path != "/api/v1/alerting/config" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"detail":"the API key is unknown"}`)
			return
		}
		if r.Method == http.MethodGet {
			c, err := store.Get(r.Context(), tenant.OrgID{})
			answer(w, c, err)
			return
		}
		var body alertingAnswer
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			answer(w, alert.Configuration{}, err)
			return
		}
		c, err := store.Put(r.Context(), tenant.OrgID{}, alert.Configuration{YAML: body.YAML, Templates: body.Templates}, uuid.Nil, body.Version, r.URL.Query().Get("dry_run") != "")
		answer(w, c, err)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAlertingSyncAndDiff(t *testing.T) {
	s := newAlertingServer(t)
	run := func(text string, args ...string) result {
		t.Helper()
		i := invocation{files: map[string]string{"a.yml": text}, variables: map[string]string{"API_KEY": "tkf_key", "BASE_URL": s.URL + "/"}}
		return i.run(t, append([]string{"alerting"}, args...)...)
	}
	want := func(r result, code int, texts ...string) {
		t.Helper()
		for _, w := range texts {
			if r.Code != code || !strings.Contains(r.Out+r.Errors, w) || strings.Contains(r.Out+r.Errors, "s3cr3t") {
				t.Errorf("%+v, want %d with %q", r, code, w)
			}
		}
	}
	want(run(goodAlerting, "sync", "--dry-run", "a.yml"), 0, "+  - name: on-call\n", "would have changed the configuration of version 0\n")
	want(run(goodAlerting, "diff", "a.yml"), exitFailed, "+      - url: <secret>\n")
	want(run(goodAlerting, "sync", "a.yml"), 0, "changed: the configuration is of version 1 now\n")
	want(run(goodAlerting, "sync", "a.yml"), 0, "nothing has changed\n")
	if r := run(goodAlerting, "diff", "a.yml"); r.Code != 0 || r.Out != "" {
		t.Errorf("%+v", r)
	}
	want(run(strings.Replace(goodAlerting, "/s3cr3t", "/s3cr3t2", 1), "sync", "a.yml"), 0, "changed secrets alone: the configuration is of version 2 now\n")
	kept := strings.Replace(strings.Replace(goodAlerting, "https://hooks.example.com/s3cr3t", "<secret>", 1), "# routes", "# kept", 1)
	want(run(kept, "sync", "a.yml"), 0, "-# routes\n+# kept\n", "version 3")
	want(run(strings.Replace(kept, "name: team", "name: q", 1), "sync", "a.yml"), exitFailed, "a.yml:14: url: <secret> stands for what is stored")
	want(run(strings.Replace(goodAlerting, "hooks.example.com", "10.0.0.1", 1), "sync", "a.yml"), exitFailed, "a.yml:14: url: forbidden address")
	want(run(strings.Replace(goodAlerting, "receiver: web", "receiver: wep", 1), "sync", "a.yml"), exitFailed, "a.yml:10: undefined receiver")
	want(run(goodAlerting, "routes", "test", "severity=critical"), 0, "on-call\n")
	want(run(goodAlerting, "routes", "show"), 0, "└── default-route  receiver: team")
	want(run(goodAlerting, "routes", "show", "--api-key", "other"), exitFailed, "401 Unauthorized: the API key is unknown")
	if r := (invocation{files: map[string]string{"a.yml": goodAlerting}}).run(t, "alerting", "sync", "a.yml"); r.Code != exitUsage {
		t.Errorf("%+v", r)
	}
}
