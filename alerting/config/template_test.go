package config_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func external() *url.URL { return &url.URL{Scheme: "https", Host: "am.example"} }

// group is n alerts that fire.
func group(t *template.Template, n int) *template.Data {
	alerts := make([]*alert.Alert, n)
	for i := range alerts {
		alerts[i] = &alert.Alert{Alert: model.Alert{
			Labels:      model.LabelSet{"alertname": "MonitorMissed", "monitor": model.LabelValue("m<" + string(rune('a'+i%26)) + ">"), "project": "p", "severity": "critical", "tags": ",a,b,"},
			Annotations: model.LabelSet{"summary": `late & "gone"`, "description": "It did not come.", "evidence": `{"due":"2026-01-02T03:00:00Z"}`},
			StartsAt:    time.Unix(1_700_000_000, 0).UTC(), EndsAt: time.Now().Add(time.Hour),
		}}
	}
	return t.Data("team", model.LabelSet{"project": "p"}, nil, "first notification", alerts...)
}

func loaded(t *testing.T, s config.Source) (*config.Config, *template.Template) {
	t.Helper()
	c, err := config.Load(s, options())
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := c.NewTemplate(external())
	if err != nil {
		t.Fatal(err)
	}
	return c, tmpl
}

// TestAlertmanagersTemplatesGiveWhatTheyGave compares each of its own templates with guards to that without.
func TestAlertmanagersTemplatesGiveWhatTheyGave(t *testing.T) {
	t.Parallel()
	_, ours := loaded(t, config.Default())
	theirs, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs.ExternalURL = external()
	compared := 0
	for _, name := range []string{
		"slack.default.title", "slack.default.fallback", "slack.default.titlelink", "slack.default.color", "pagerduty.default.description",
		"pagerduty.default.instances", "opsgenie.default.message", "opsgenie.default.description", "victorops.default.state_message",
		"email.default.subject", "email.default.html", "pushover.default.title", "pushover.default.message", "pushover.default.url",
		"sns.default.subject", "sns.default.message", "telegram.default.message", "discord.default.title", "discord.default.message",
		"webex.default.message", "msteams.default.title", "msteams.default.text", "msteamsv2.default.text", "jira.default.summary",
		"jira.default.description", "wechat.default.message", "rocketchat.default.text", "mattermost.default.text", "__subject", "__text_alert_list",
	} {
		call := `{{ template "` + name + `" . }}`
		for _, n := range []int{1, 3} {
			data := group(ours, n)
			want, wantErr := theirs.ExecuteTextString(call, data)
			got, err := ours.ExecuteTextString(call, data)
			if got != want || (err == nil) != (wantErr == nil) {
				t.Errorf("%s: got %q, %v; want %q, %v", name, got, err, want, wantErr)
			}
			wantHTML, wantErr := theirs.ExecuteHTMLString(call, data)
			gotHTML, err := ours.ExecuteHTMLString(call, data)
			if gotHTML != wantHTML || (err == nil) != (wantErr == nil) {
				t.Errorf("%s as HTML: got %q, %v; want %q, %v", name, gotHTML, err, wantHTML, wantErr)
			}
			if err == nil {
				compared++
			}
		}
	}
	if compared < 40 {
		t.Errorf("only %d of the templates are there", compared)
	}
}

// patient are options by which no time passes: a machine that is busy ends nothing.
func patient() config.Options {
	o, now := options(), time.Now()
	o.Now = func() time.Time { return now }
	return o
}

// TestAStormFitsTheBounds: a group of thousands in Alertmanager's own e-mail.
func TestAStormFitsTheBounds(t *testing.T) {
	t.Parallel()
	parsed, err := config.Load(config.Default(), patient())
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := parsed.NewTemplate(external())
	if err != nil {
		t.Fatal(err)
	}
	data := group(tmpl, 5000)
	out, err := tmpl.ExecuteHTMLString(`{{ template "email.default.html" . }}`, data)
	if err != nil || strings.Count(out, "late &amp; ") < 5000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	data = group(tmpl, 1500)
	for _, body := range []string{
		`{{ range .Alerts }}{{ if gt (len $.Alerts.Firing) 1 }}{{ .Labels.SortedPairs.Values | join " " }}{{ end }}{{ end }}`,
		`{{ toJson .Alerts | len }}`, `{{ range .Alerts.Firing }}{{ .Labels }}{{ .Annotations.summary | toUpper | reReplaceAll "L(.)" "$1" }}{{ end }}`,
	} {
		c, err := config.Load(withTitle(body), options())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tmpl.ExecuteTextString(c.Alertmanager.Receivers[0].DiscordConfigs[0].Title, data); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func withTitle(title string) config.Source {
	return config.Source{YAML: "route: {receiver: r}\nreceivers:\n- name: r\n  discord_configs:\n  - webhook_url: https://d.example/x\n    title: |-\n      " +
		strings.ReplaceAll(title, "\n", "\n      ") + "\n"}
}

// TestHostileTemplates are found when they are put.
func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	double := `{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range 60 }}{{ $x = `
	for name, c := range map[string]struct{ title, file, want string }{
		"endless":        {`{{ range 1000000000000 }}{{ end }}`, "", "line 6: discord_configs.title: with one alert: "},
		"names the file": {`{{ template "loop" . }}`, `{{ define "loop" }}{{ range 1000000000000 }}{{ end }}{{ end }}`, `executing "loop"`},
		"recursive":      {`{{ template "a" . }}`, `{{ define "a" }}{{ template "b" . }}{{ end }}{{ define "b" }}{{ template "a" . }}{{ end }}`, "call each other too deeply"},
		"over alerts":    {`{{ range 9999 }}{{ range $.Alerts }}{{ range 9999 }}{{ end }}{{ end }}{{ end }}`, "", "too many steps"},
		"width":          {`{{ printf "%999999999d" 1 }}`, "", "three digits"},
		"doubling":       {double + `printf "%s%s" $x $x }}{{ end }}{{ $x }}`, "", "it gives too much"},
		"doubling join":  {double + `join $x (stringSlice $x $x) }}{{ end }}{{ $x }}`, "", "it gives too much"},
		"doubling JSON":  {double + `toJson (list $x $x) }}{{ end }}{{ $x }}`, "", "it gives too much"},
		"doubling title": {`{{ $x := "ŉŉŉŉŉŉŉŉŉŉŉŉŉŉŉŉ" }}{{ range 99 }}{{ $x = title (print $x $x) }}{{ end }}`, "", "it gives too much"},
		"no file":        {`{{ readFile "/etc/passwd" }}`, "", `function "readFile" not defined`},
		"no environment": {`{{ env "HOME" }}`, "", `function "env" not defined`},
		"zone":           {`{{ tz "../../etc/passwd" now }}`, "", "time: invalid location name"},
		"not defined":    {`{{ template "nope" . }}`, "", `"nope" not defined`},
		"no template":    {`{{ if }}`, "", "line 6: discord_configs.title: "},
		"no field":       {`{{ .Nope }}`, "", "can't evaluate field Nope"},
		"resolved":       {`{{ (index .Alerts.Firing 0).Labels.x }}`, "", "with resolved alerts"},
		"bad file":       {`x`, `{{ define "x" }}{{ if }}{{ end }}`, "my.tmpl:1"},
		"bad function":   {`x`, `{{ define "x" }}{{ nope }}{{ end }}`, `"nope" not defined`},
		"guard's names":  {`{{ __step 1 }}`, "", "kept for the server"},
		"overridden":     {`x`, `{{ define "discord.default.message" }}{{ .Nope }}{{ end }}`, "can't evaluate field Nope"},
	} {
		s := withTitle(c.title)
		if c.file != "" {
			s.YAML += "templates: [my.tmpl]\n"
			s.Templates = map[string]string{"my.tmpl": c.file}
		}
		began := time.Now()
		_, err := config.Load(s, patient())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "__step") || strings.Contains(err.Error(), "$__") {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// TestNoTextEscapesTheGuard puts a hostile template at every place that can hold one.
func TestNoTextEscapesTheGuard(t *testing.T) {
	t.Parallel()
	const loop = "{{ printf `%99999d` 1 }}"
	for _, entry := range []string{
		`discord_configs: [{webhook_url: https://x.example, content: "LOOP"}]`, `email_configs: [{to: "LOOP", smarthost: "x.example:1", from: a@b.c}]`,
		`email_configs: [{to: a@b.c, smarthost: "x.example:1", from: "LOOP"}]`, `email_configs: [{to: a@b.c, smarthost: "x.example:1", from: a@b.c, headers: {X: "LOOP"}}]`,
		`email_configs: [{to: a@b.c, smarthost: "x.example:1", from: a@b.c, html: "LOOP"}]`, `pagerduty_configs: [{routing_key: "LOOP"}]`,
		`pagerduty_configs: [{routing_key: x, details: {a: "LOOP"}}]`, `pagerduty_configs: [{routing_key: x, details: {a: {b: ["LOOP"]}}}]`,
		`pagerduty_configs: [{routing_key: x, details: {"LOOP": 1}}]`, `pagerduty_configs: [{routing_key: x, images: [{src: "LOOP"}]}]`,
		`pagerduty_configs: [{routing_key: x, links: [{href: "LOOP"}]}]`, `slack_configs: [{api_url: https://x.example, actions: [{type: button, text: t, url: "LOOP"}]}]`,
		`slack_configs: [{api_url: https://x.example, fields: [{title: t, value: "LOOP"}]}]`, `slack_configs: [{api_url: https://x.example, channel: "LOOP"}]`,
		`webhook_configs: [{url: "https://x.example/LOOP"}]`, `webhook_configs: [{url: "https://x.example/", payload: {a: ["LOOP"]}}]`,
		`opsgenie_configs: [{api_key: "LOOP"}]`, `opsgenie_configs: [{api_key: x, details: {a: "LOOP"}}]`, `opsgenie_configs: [{api_key: x, responders: [{name: "LOOP", type: team}]}]`,
		`wechat_configs: [{api_secret: "LOOP", corp_id: x}]`, `pushover_configs: [{user_key: "LOOP", token: x}]`, `pushover_configs: [{user_key: x, token: x, html: true, message: "LOOP"}]`,
		`victorops_configs: [{api_key: x, routing_key: "LOOP"}]`, `victorops_configs: [{api_key: x, routing_key: r, custom_fields: {a: "LOOP"}}]`,
		`sns_configs: [{topic_arn: "LOOP", sigv4: {access_key: a, secret_key: b}}]`, `sns_configs: [{topic_arn: x, attributes: {a: "LOOP"}, sigv4: {access_key: a, secret_key: b}}]`,
		`telegram_configs: [{bot_token: x, chat_id: 1, message: "LOOP"}]`, `telegram_configs: [{bot_token: x, chat_id: 1, parse_mode: HTML, message: "LOOP"}]`,
		`webex_configs: [{room_id: x, message: "LOOP", http_config: {authorization: {credentials: x}}}]`, `msteams_configs: [{webhook_url: https://x.example, text: "LOOP"}]`,
		`msteamsv2_configs: [{webhook_url: https://x.example, title: "LOOP"}]`, `jira_configs: [{api_url: https://x.example, project: p, issue_type: t, fields: {a: {b: "LOOP"}}}]`,
		`jira_configs: [{api_url: https://x.example, project: p, issue_type: t, summary: {template: "LOOP"}}]`, `jira_configs: [{api_url: https://x.example, project: p, issue_type: t, labels: ["LOOP"]}]`,
		`rocketchat_configs: [{api_url: https://x.example, token: x, token_id: x, actions: [{type: button, text: "LOOP"}]}]`, `mattermost_configs: [{webhook_url: https://x.example, text: "LOOP"}]`,
		`mattermost_configs: [{webhook_url: https://x.example, attachments: [{text: "LOOP"}]}]`, `chat_configs: [{channel: "#x", text: "LOOP"}]`,
	} {
		text := minimal("  " + strings.ReplaceAll(entry, "LOOP", loop))
		_, err := config.Load(config.Source{YAML: text}, options())
		if err == nil || !strings.Contains(err.Error(), "line 5: ") || !strings.Contains(err.Error(), "three digits") {
			t.Errorf("%s: %v", entry, err)
		}
	}
	_, err := config.Load(config.Source{YAML: "route: {receiver: r, routes: [{labels: {x: '" + loop + "'}}]}\nreceivers: [{name: r}]"}, options())
	if err == nil || !strings.Contains(err.Error(), "three digits") {
		t.Error(err)
	}
}

func TestBracesInPasswordsStay(t *testing.T) {
	t.Parallel()
	c, _ := loaded(t, config.Source{YAML: minimal(`  email_configs: [{to: a@b.c, smarthost: "x.example:1", from: a@b.c, auth_password: "{{ x }}"}]
  webhook_configs: [{url: https://x.example, http_config: {basic_auth: {username: u, password: "{{ y }}"}}}]
`)})
	r := c.Alertmanager.Receivers[0]
	if r.EmailConfigs[0].AuthPassword != "{{ x }}" || r.WebhookConfigs[0].HTTPConfig.BasicAuth.Password != "{{ y }}" {
		t.Errorf("%q %q", r.EmailConfigs[0].AuthPassword, r.WebhookConfigs[0].HTTPConfig.BasicAuth.Password)
	}
}

func TestTemplatesOverlayEachOther(t *testing.T) {
	t.Parallel()
	o := options()
	o.DefaultTemplates = []string{`{{ define "discord.default.title" }}ours{{ end }}{{ define "tokiflow.title" }}{{ .Status }}!{{ end }}`}
	s := withTitle(`{{ template "mine" . }}`)
	s.YAML += "templates: ['*.tmpl']\n"
	s.Templates = map[string]string{"a.tmpl": `{{ define "mine" }}{{ template "tokiflow.title" . }}{{ end }}`, "b.tmpl": `{{ define "tokiflow.title" }}theirs{{ end }}`}
	c, err := config.Load(s, o)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := c.NewTemplate(external())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		c.Alertmanager.Receivers[0].DiscordConfigs[0].Title: "theirs", `{{ template "discord.default.title" . }}`: "ours", `{{ template "mine" . }}`: "theirs",
	} {
		if got, err := tmpl.ExecuteTextString(text, group(tmpl, 1)); got != want || err != nil {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

// TestEveryExecutionHasItsOwnBudget: one that was ended takes nothing from the next, and they run at once.
func TestEveryExecutionHasItsOwnBudget(t *testing.T) {
	t.Parallel()
	s := withTitle(`{{ if gt (len .Alerts) 5 }}{{ range 99999999 }}{{ end }}{{ end }}{{ range 50000 }}{{ end }}ok`)
	c, tmpl := loaded(t, s)
	title := c.Alertmanager.Receivers[0].DiscordConfigs[0].Title
	done := make(chan error)
	for i := range 8 {
		go func() {
			n := 1
			if i%2 == 0 {
				n = 9
			}
			out, err := tmpl.ExecuteTextString(title, group(tmpl, n))
			if (err == nil) != (n == 1) || n == 1 && out != "ok" {
				done <- errors.New(out)
				return
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLoadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("am.yml", minimal("  webhook_configs:\n  - url_file: /run/secrets/url\n    http_config: {authorization: {credentials_file: token}}\ntemplates: ['t/*.tmpl', none/*.tmpl]\n"))
	write("t/a.tmpl", `{{ define "a" }}1{{ end }}`)
	write("t/b.tmpl", `{{ define "b" }}2{{ end }}`)
	c, err := config.LoadFile(filepath.Join(dir, "am.yml"), options())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Alertmanager.Receivers[0].WebhookConfigs[0].HTTPConfig.Authorization.CredentialsFile; got != filepath.Join(dir, "token") {
		t.Error(got)
	}
	tmpl, err := c.NewTemplate(external())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tmpl.ExecuteTextString(`{{ template "a" }}{{ template "b" }}`, group(tmpl, 1)); got != "12" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	write("am.yml", minimal("foo: 1"))
	if _, err := config.LoadFile(filepath.Join(dir, "am.yml"), options()); err == nil || !strings.Contains(err.Error(), "am.yml:5: unknown key") {
		t.Error(err)
	}
	if _, err := config.LoadFile(filepath.Join(dir, "none.yml"), options()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
