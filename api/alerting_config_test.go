package api_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	alertconfig "github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/infra/seal"
)

const alertingYAML = `# ours
route: {receiver: team, routes: [{matchers: ['severity="critical"'], receiver: on-call}]}
receivers:
- name: team
  webhook_configs:
  - url: https://hooks.example.com/s3cr3t
- name: on-call
`

func newAlertingBundle(t *testing.T) *bundle {
	t.Helper()
	return newBundle(t, func(o *api.Options) {
		box, err := seal.New(bytes.Repeat([]byte{1}, seal.KeySize))
		if err != nil {
			t.Fatal(err)
		}
		o.Alerting = alertconfig.NewStore(o.Store.(alertconfig.Backend), box, alertconfig.Options{})
	})
}

const configPath = "/api/v1/alerting/config"

func TestTheAlertingConfigurationComesBackAsItWasPut(t *testing.T) {
	s := newAlertingBundle(t)
	first := s.rule(s.a.read, http.MethodGet, configPath, "").want(http.StatusOK)
	if first.body["default"] != true || first.body["updated_at"] != nil || first.header.Get("ETag") != `"0"` || first.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", first.header, first.raw)
	}
	r := s.rule(s.a.write, http.MethodPut, configPath, alertingYAML, "Accept", "application/yaml", "If-Match", `"0"`).want(http.StatusOK)
	want := strings.Replace(alertingYAML, "https://hooks.example.com/s3cr3t", "<secret>", 1)
	if string(r.raw) != want || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s", r.raw)
	}
	version := r.header.Get("ETag")
	got := s.rule(s.a.read, http.MethodGet, configPath, "").want(http.StatusOK)
	if got.text("yaml") != want || got.body["default"] != false || got.header.Get("ETag") != version || strings.Contains(string(got.raw), `\u003c`) {
		t.Errorf("%s", got.raw)
	}
	if y := s.rule(s.a.read, http.MethodGet, configPath, "", "Accept", "application/yaml").want(http.StatusOK); string(y.raw) != want {
		t.Errorf("%s", y.raw)
	}
	// What was read may be put back as it is.
	if same := s.rule(s.a.write, http.MethodPut, configPath, string(got.raw), "Content-Type", "application/json").want(http.StatusOK); same.header.Get("ETag") != version {
		t.Errorf("%s", same.raw)
	}
	// With templates, as JSON; then the YAML alone, and the templates stay.
	body := `{"yaml":"route: {receiver: r}\nreceivers: [{name: r}]\ntemplates: [a.tmpl]\n","templates":{"a.tmpl":"{{ define \"a\" }}1{{ end }}"}}`
	s.rule(s.a.write, http.MethodPut, configPath, body, "Content-Type", "application/json").want(http.StatusOK)
	kept := s.rule(s.a.write, http.MethodPut, configPath, "route: {receiver: q}\nreceivers: [{name: q}]\ntemplates: [a.tmpl]\n").want(http.StatusOK)
	if m, ok := kept.body["templates"].(map[string]any); !ok || len(m) != 1 {
		t.Errorf("%s", kept.raw)
	}
	// Another organisation has the default still.
	if other := s.rule(s.b.read, http.MethodGet, configPath, "").want(http.StatusOK); other.body["default"] != true {
		t.Errorf("%s", other.raw)
	}
	s.rule(s.a.write, http.MethodDelete, configPath, "", "If-Match", version).want(http.StatusConflict)
	s.rule(s.a.write, http.MethodDelete, configPath, "", "If-Match", kept.header.Get("ETag")).want(http.StatusNoContent)
	s.rule(s.a.write, http.MethodDelete, configPath, "").want(http.StatusNotFound)
}

func TestAMistakenAlertingConfigurationChangesNothing(t *testing.T) {
	s := newAlertingBundle(t)
	s.rule(s.a.write, http.MethodPut, configPath, alertingYAML).want(http.StatusOK)
	r := s.rule(s.a.write, http.MethodPut, configPath, strings.ReplaceAll(alertingYAML, "receiver: on-call", "receiver: none")+"foo: 1\n").want(http.StatusUnprocessableEntity)
	for _, w := range []string{`line 2: undefined receiver \"none\" used in route`, `line 8: unknown key \"foo\"`, `"location":"body"`} {
		if !strings.Contains(string(r.raw), w) {
			t.Errorf("%s does not say %s", r.raw, w)
		}
	}
	if strings.Contains(string(r.raw), "s3cr3t") {
		t.Errorf("%s", r.raw)
	}
	j := s.rule(s.a.write, http.MethodPut, configPath, `{"yaml":"foo: 1"}`, "Content-Type", "application/json").want(http.StatusUnprocessableEntity)
	if !strings.Contains(string(j.raw), `"location":"body.yaml"`) {
		t.Errorf("%s", j.raw)
	}
	s.rule(s.a.write, http.MethodPut, configPath, `{"yalm":""}`, "Content-Type", "application/json").want(http.StatusBadRequest)
	s.rule(s.a.write, http.MethodPut, configPath, `{} {}`, "Content-Type", "application/json").want(http.StatusBadRequest)
	s.rule(s.a.write, http.MethodPut, configPath, "x", "Content-Type", "image/png").want(http.StatusUnsupportedMediaType)
	s.rule(s.a.write, http.MethodPut, configPath, strings.Repeat("x", 5<<20)).want(http.StatusRequestEntityTooLarge)
	s.rule(s.a.write, http.MethodPut, configPath, alertingYAML, "If-Match", `"0"`).want(http.StatusConflict)
	s.rule(s.a.write, http.MethodPut, configPath, alertingYAML, "If-Match", `"x"`).want(http.StatusConflict)
	s.rule(s.a.write, http.MethodPut, configPath, `{"yaml":"route: {receiver: r}\nreceivers: [{name: r}]","version":0}`, "Content-Type", "application/json").want(http.StatusConflict)
	s.rule(s.a.read, http.MethodPut, configPath, alertingYAML).want(http.StatusForbidden)
	s.rule(s.a.write, http.MethodGet, configPath, "").want(http.StatusForbidden)
	dry := s.rule(s.a.write, http.MethodPut, configPath+"?dry_run=true", strings.Replace(alertingYAML, "# ours", "# dry", 1)).want(http.StatusOK)
	if !strings.Contains(dry.text("yaml"), "# dry") {
		t.Errorf("%s", dry.raw)
	}
	got := s.rule(s.a.read, http.MethodGet, configPath, "").want(http.StatusOK)
	if !strings.HasPrefix(got.text("yaml"), "# ours") {
		t.Errorf("%s", got.raw)
	}
	if strings.Contains(s.out.String(), "s3cr3t") {
		t.Error("a secret is in the log")
	}
}

func TestTryingRoutes(t *testing.T) {
	s := newAlertingBundle(t)
	s.rule(s.a.write, http.MethodPut, configPath, alertingYAML).want(http.StatusOK)
	const path = "/api/v1/alerting/routes/test"
	for query, want := range map[string]string{"?label=severity=critical": `{"receivers":["on-call"]}`, "?label=a=b&label=c=d=e": `{"receivers":["team"]}`} {
		if r := s.rule(s.a.read, http.MethodGet, path+query, "").want(http.StatusOK); strings.TrimSpace(string(r.raw)) != want {
			t.Errorf("%s: %s", query, r.raw)
		}
	}
	s.rule(s.a.read, http.MethodGet, path+"?label=x", "").want(http.StatusUnprocessableEntity)
	s.rule(s.a.read, http.MethodGet, path, "").want(http.StatusUnprocessableEntity)
}

func TestAServerWithoutAlerting(t *testing.T) {
	s := newBundle(t)
	s.rule(s.a.read, http.MethodGet, configPath, "").want(http.StatusServiceUnavailable)
	s.rule(s.a.write, http.MethodPut, configPath, alertingYAML).want(http.StatusServiceUnavailable)
	s.rule(s.a.write, http.MethodDelete, configPath, "").want(http.StatusServiceUnavailable)
	s.rule(s.a.read, http.MethodGet, "/api/v1/alerting/routes/test?label=a=b", "").want(http.StatusServiceUnavailable)
}
