package receivers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/discord"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/alerting/texts"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
)

// load reads a configuration as an organisation's is.
func load(t testing.TB, yaml string, templates map[string]string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Source{YAML: yaml, Templates: templates}, config.Options{
		Kinds: append(receivers.Kinds(), discord.Kind()), AllowPrivate: true, DefaultTemplates: texts.All(),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	return c
}

func TestAReceiverIsTried(t *testing.T) {
	got := make(chan string, 10)
	works := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(body)
	}))
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(func() { works.Close(); broken.Close() })
	b := newBundle(t)
	c := load(t, fmt.Sprintf(`
route: {receiver: ops}
receivers:
- name: ops
  webhook_configs: [{url: '%[1]s/one'}, {url: '%[2]s/%[3]s'}]
  msteams_configs: [{webhook_url: '%[1]s/teams'}]
  alertmanager_configs: [{url: '%[1]s/am'}]
- name: none
- name: dead
  pushover_configs: [{user_key: a, token: b, http_config: {proxy_url: 'http://127.0.0.1:1'}}]
`, works.URL, broken.URL, secret), nil)
	tried, err := b.receivers.Test(t.Context(), c, "ops")
	if err != nil || len(tried) != 4 {
		t.Fatalf("%+v, %v", tried, err)
	}
	for i, want := range []alert.Notification{
		{Integration: "webhook[0]", Status: alert.Delivered},
		{Integration: "webhook[1]", Status: alert.Failed, StatusCode: 503, Error: "unexpected status code 503"},
		{Integration: "msteams[0]", Status: alert.Delivered},
		{Integration: "alertmanager[0]", Status: alert.Delivered},
	} {
		n := tried[i]
		if n.Integration != want.Integration || n.Status != want.Status || n.StatusCode != want.StatusCode || n.Error != want.Error || n.Latency <= 0 || n.Attempts != 1 || n.EndedAt.IsZero() {
			t.Errorf("%+v, want %+v", n, want)
		}
	}
	all := []string{<-got, <-got, <-got}
	for _, w := range []string{"/one ", "/teams ", "/am/api/v2/alerts ", "This is a test: no monitor is down", `"alertname":"TokiflowTest"`, "MessageCard"} {
		if !strings.Contains(strings.Join(all, "\n"), w) {
			t.Errorf("nothing has %q:\n%s", w, all)
		}
	}
	b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 4 })

	if tried, err := b.receivers.Test(t.Context(), c, "none"); err != nil || len(tried) != 0 {
		t.Errorf("%+v, %v", tried, err)
	}
	if tried, err := b.receivers.Test(t.Context(), c, "dead"); err != nil || tried[0].Status != alert.Failed || tried[0].Error == "" {
		t.Errorf("%+v, %v", tried, err)
	}
	if _, err := b.receivers.Test(t.Context(), c, "nobody"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
	discord := load(t, "route: {receiver: ops}\nreceivers: [{name: ops, discord_app_configs: [{connection: ops}]}]", nil)
	if _, err := b.receivers.Test(t.Context(), discord, "ops"); fault.CodeOf(err) != fault.Invalid || !strings.Contains(fault.MessageOf(err), "not set up") {
		t.Errorf("%v", err)
	}
}

// The default templates are within the bounds that templates of organisations have, and give way to theirs.
func TestDefaultTemplatesOfAConfiguration(t *testing.T) {
	const yaml = "route: {receiver: ops}\nreceivers: [{name: ops, slack_configs: [{api_url: 'https://a.example', channel: c}]}]\n"
	b := newBundle(t)
	tmpl, err := load(t, yaml, nil).NewTemplate(b.options.ExternalURL)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = b.tmpl.ExternalURL
	names := make([]string, 4000)
	for i := range names {
		names[i] = fmt.Sprintf("<nightly> *backup* %d", i)
	}
	alerts := firing(names...)
	data, plain := tmpl.Data("ops", nil, nil, "", alerts...), b.tmpl.Data("ops", nil, nil, "", alerts...)
	for _, name := range []string{
		"__subject", "slack.default.text", "discord.default.message", "msteamsv2.default.text", "telegram.default.message", "pushover.default.message", "webex.default.message",
		"opsgenie.default.description", "victorops.default.state_message", "sns.default.subject", "jira.default.description", "mattermost.default.text",
	} {
		got, err := tmpl.ExecuteTextString(`{{ template "`+name+`" . }}`, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err := b.tmpl.ExecuteTextString(`{{ template "`+name+`" . }}`, plain)
		if err != nil || got != want {
			t.Errorf("%s: guarded\n%.300s\nplain\n%.300s\n%v", name, got, want, err)
		}
	}
	own := load(t, "templates: [own.tmpl]\n"+yaml, map[string]string{"own.tmpl": `{{ define "slack.default.text" }}ours{{ end }}`})
	if tmpl, err = own.NewTemplate(b.options.ExternalURL); err != nil {
		t.Fatal(err)
	}
	if got := renderText(t, tmpl, "slack.default.text"); got != "ours" {
		t.Errorf("%q", got)
	}
}

func renderText(t testing.TB, tmpl *template.Template, name string) string {
	t.Helper()
	text, err := tmpl.ExecuteTextString(`{{ template "`+name+`" . }}`, template.Data{})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
