package config_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

// options have a kind of ours that wants a channel.
func options() config.Options {
	return config.Options{
		CheckURL: func(u *url.URL, allow bool) error { return safehttp.CheckURL(u, allow) },
		Kinds: []config.Kind{{
			Name: "chat", Key: "chat_configs", Secrets: []string{"token", "auth.password"},
			Check: func(n *yaml.Node, _ bool) error {
				var c struct {
					Channel      string            `yaml:"channel"`
					Token        string            `yaml:"token"`
					Text         string            `yaml:"text"`
					SendResolved *bool             `yaml:"send_resolved"`
					Auth         map[string]string `yaml:"auth"`
				}
				if err := n.Decode(&c); err != nil {
					return err
				}
				if c.Channel == "" {
					return errors.New("channel is missing")
				}
				if !strings.HasPrefix(c.Channel, "#") {
					return errors.New("channel must begin with #")
				}
				return nil
			},
		}},
	}
}

const good = `
# A team's own file.
global:
  resolve_timeout: 10m
  smtp_smarthost: smtp.example.com:587
  smtp_from: alerts@example.com
  smtp_auth_password: hunter2hunter2 # old: hunter2hunter2
route:
  receiver: team
  group_by: ['project', "alertname"]
  group_wait: 10s
  routes:
  - matchers: [ severity = "critical", 'tags =~ ".*,db,.*"' ]
    receiver: on-call
    continue: true
    mute_time_intervals: [night]
    routes: [{receiver: team, matchers: ['foo="a, b"']}]
  - match: {team: web}
    receiver: chat
receivers:
  - name: team
    email_configs:
      - to: 'team@example.com, {{ .CommonLabels.team }}@example.com'
        html: '{{ template "email.default.html" . }}'
        headers: {subject: "{{ .Status | toUpper }}"}
  - name: on-call
    pagerduty_configs:
      - routing_key: 0123456789abcdef
        details: {n: '{{ len .Alerts }}', x: {y: ["{{ .Status }}", 1, yes]}}
    webhook_configs:
      - url: https://hooks.example.com/s3cr3tpath
        http_config:
          basic_auth: {username: u, password: |
            multiline-password
            goes on }
        send_resolved: no
  - name: chat
    chat_configs:
      - channel: '#alerts'
        token: xoxb-123456
        text: '{{ range .Alerts }}{{ .Labels.monitor }} {{ end }}'
        send_resolved: false
      - {channel: "#two", token: "xoxb-\"654321", auth: {password: abcdefgh}}
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [monitor]
time_intervals:
  - name: night
    time_intervals:
      - times: [{start_time: 22:00, end_time: 24:00}]
        location: Europe/Berlin
templates: ['my/*.tmpl']
`

func goodSource() config.Source {
	y := strings.Replace(good, "{username: u, password: |\n            multiline-password\n            goes on }", "\n            username: u\n            password: |\n              multiline-password\n              goes on", 1)
	return config.Source{YAML: y, Templates: map[string]string{"my/a.tmpl": `{{ define "mine" }}{{ range .Alerts }}{{ .Labels.monitor }}{{ end }}{{ end }}`}}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c, err := config.Load(goodSource(), options())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Alertmanager.Receivers) != 3 || c.Alertmanager.Route.Routes[0].Routes[0].Matchers[0].Value != "a, b" {
		t.Errorf("%+v", c.Alertmanager)
	}
	if got := c.Alertmanager.Receivers[1].WebhookConfigs[0]; got.SendResolved() || got.HTTPConfig.BasicAuth.Password != "multiline-password\ngoes on\n" {
		t.Errorf("%+v", got)
	}
	if len(c.Entries) != 2 || c.Entries[0].Receiver != "chat" || c.Entries[0].SendResolved || !c.Entries[1].SendResolved || c.Entries[1].Index != 1 {
		t.Errorf("%+v", c.Entries)
	}
	if shown := c.Shown.String(); strings.Contains(shown, "__") || strings.Contains(shown, "hunter2") || !strings.Contains(shown, "{{ .Status | toUpper }}") {
		t.Error(shown)
	}
	if running := c.Alertmanager.String(); !strings.Contains(running, "__step") {
		t.Error(running)
	}
}

func TestTheDefaultIsGood(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Default(), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"default"}, c.Receivers(map[string]string{"alertname": "x"})); diff != "" {
		t.Error(diff)
	}
}

// minimal has the lines where 3 and 4 are a route's and a receiver's.
func minimal(more string) string {
	return "route:\n  receiver: r\nreceivers:\n- name: r\n" + more
}

func TestWhatIsWrongIsToldWithItsLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                    "the YAML is empty",
		"a":                   "line 1: the YAML is no mapping",
		"a: [":                "line 1: did not find expected node content",
		"a: 1\n---\nb: 2":     "more than one document",
		"receivers: []":       "there is no route",
		"a: \xff":             "not UTF-8",
		"route: {}\nroute: 1": `line 2: the key "route" is there twice: it is in line 1 already`,
		minimal("foo: 1"):     `line 5: unknown key "foo"`,
		minimal("- name: x\n  webhook_configs:\n  - url: https://x.example\n    nope: 1"):                                  `line 8: unknown key "nope"`,
		minimal("- name: x\n  webhook_configs:\n  - url: https://x.example\n    max_alerts: [a]"):                          `line 8: a list cannot stand here: write a number`,
		minimal("- name: x\n  webhook_configs:\n  - url: https://x.example\n    http_config: {basic_auth: hunter2hunter}"): `line 8: this value cannot stand here: write a mapping`,
		minimal("- name: x\n  webhook_configs:\n  - url: https://x.example\n  - {}\n"):                                     `line 8: one of url or url_file must be configured`,
		minimal("- name: x\n  email_configs:\n  - to: x@example.com"):                                                      `line 7: no global SMTP smarthost set`,
		minimal("- name: x\n  email_configs:\n  - {smarthost: 'a:1', from: a@b.c}"):                                        `line 7: missing to address in email config`,
		minimal("- {}"):                       `line 5: missing name in receiver`,
		minimal("- name: r"):                  `line 5: the receiver "r" is there twice: it is in line 4 already`,
		"route: {receiver: r}\nreceivers: []": `line 1: undefined receiver "r" used in route`,
		"route:\n  receiver: r\n  routes:\n  - receiver: x\n  - matchers: ['a=~\"(\"']\n  - group_wait: 5\nreceivers: [{name: r}]": "line 4: undefined receiver \"x\" used in route: add it to receivers, or correct the name\nline 5: ",
		"route:\n  receiver: r\n  group_by: [a, a]\nreceivers: [{name: r}]":                                                        `line 3: duplicated label "a" in group_by`,
		"route:\n  receiver: r\n  continue: true\nreceivers: [{name: r}]":                                                          `line 3: cannot have continue in root route`,
		"route:\n  receiver: r\n  matchers: [a=b]\nreceivers: [{name: r}]":                                                         `line 3: root route must not have any matchers`,
		"route:\n  receiver: r\n  routes: [{mute_time_intervals: [x]}]\nreceivers: [{name: r}]":                                    `line 3: undefined time interval "x" used in route`,
		minimal("time_intervals:\n- name: a\n  time_intervals:\n  - weekdays: [x]"):                                                `line `,
		minimal("inhibit_rules:\n- equal: [a]\n  target_matchers: [b]"):                                                            `line `,
		minimal("global:\n  resolve_timeout: x"):                                                                                   `line `,
		minimal("global:\n  http_config:\n    bearer_token: abcdefgh\n    basic_auth: {username: a}"):                              `line 6: at most one of basic_auth, oauth2, bearer_token & bearer_token_file`,
		minimal("  chat_configs:\n  - channel: x"):                                                                                 `line 6: chat_configs: channel must begin with #`,
		minimal("  chat_configs:\n  - text: x"):                                                                                    `line 6: chat_configs: channel is missing`,
		minimal("  chat_configs:\n  - channel: '#x'\n    token: [a]"):                                                              `line 7: chat_configs: a list cannot stand here: write a text`,
		minimal("  chat_configs: {}"):                                                                                              `line 5: chat_configs must be a list`,
		minimal("  nope_configs: []"):                                                                                              `line 5: unknown key "nope_configs"`,
		minimal("templates: [x.tmpl]"):                                                                                             `line 5: there is no template "x.tmpl": send it along under that name (none was sent)`,
	} {
		_, err := config.Load(config.Source{YAML: text}, options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is told: %v", err)
		}
	}
}

func TestSeveralMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(config.Source{YAML: `route:
  receiver: nobody
receivers:
  - name: a
    webhook_configs:
      - urll: https://x.example
      - url: http://127.0.0.1/
    chat_configs:
      - channel: x
  - name: b
    email_configs:
      - to: x
`}, options())
	var p config.Problems
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	var lines []int
	for _, one := range p {
		lines = append(lines, one.Line)
	}
	if diff := cmp.Diff([]int{2, 6, 7, 9, 12}, lines); diff != "" {
		t.Errorf("%s\n%s", diff, err)
	}
}

// TestRefusedForOrganisations are things that reach for the server itself.
func TestRefusedForOrganisations(t *testing.T) {
	t.Parallel()
	entry := func(kind, s string) string { return minimal("  " + kind + ":\n  - " + s + "\n") }
	webhook := func(s string) string { return entry("webhook_configs", "{url: 'https://x.example', "+s+"}") }
	for text, want := range map[string]string{
		entry("webhook_configs", "url_file: /etc/passwd"):                                                        "line 6: url_file names a file, and the server reads no files for an organisation: write the value itself, under url",
		webhook("http_config: {bearer_token_file: /etc/shadow}"):                                                 "under authorization.credentials",
		webhook("http_config: {authorization: {credentials_file: x}}"):                                           "credentials_file names a file",
		webhook("http_config: {basic_auth: {username_file: x, password_file: y}}"):                               "password_file names a file",
		webhook("http_config: {basic_auth: {password_ref: x}}"):                                                  "password_ref names a secret",
		webhook("http_config: {tls_config: {ca_file: /x, cert_file: y, key_file: z}}"):                           "key_file names a file",
		webhook("http_config: {oauth2: {client_id: a, client_secret_file: b, token_url: 'https://x.example'}}"):  "client_secret_file names a file",
		webhook("http_config: {oauth2: {client_id: a, client_secret: b, token_url: 'http://10.0.0.1/'}}"):        "token_url: forbidden address",
		webhook("http_config: {http_headers: {X: {files: [/etc/passwd]}}}"):                                      "files names a file",
		webhook("http_config: {proxy_from_environment: true}"):                                                   "write proxy_url",
		webhook("http_config: {proxy_url: 'http://192.168.0.1:3128'}"):                                           "proxy_url: forbidden address",
		webhook("http_config: {proxy_url: 'socks5://127.0.0.1:3128'}"):                                           "proxy_url: forbidden address",
		entry("sns_configs", "{topic_arn: x, sigv4: {region: eu}}"):                                              "sigv4 with access_key and secret_key",
		entry("sns_configs", "{topic_arn: x, sigv4: {region: eu, profile: default}}"):                            "profile names credentials",
		entry("sns_configs", "{topic_arn: x, use_aws_http_client: true, sigv4: {access_key: a, secret_key: b}}"): "use_aws_http_client",
		minimal("tracing: {client_type: grpc}"):                                                                  "tracing is a matter of the server",
		minimal("event_recorder: {file_outputs: [{path: /tmp/x}]}"):                                              "event_recorder is a matter of the server",
		minimal("global: {smtp_auth_password_file: x}"):                                                          "smtp_auth_password_file names a file",
		minimal("templates: ['/etc/*']"):                                                                         "there is no template \"/etc/*\"",
		minimal("templates: ['../../secret.key']"):                                                               "there is no template",
		entry("webhook_configs", "url: http://127.0.0.1:9000/x"):                                                 "line 6: url: forbidden address: 127.0.0.1",
		entry("webhook_configs", "url: http://localhost:9000/x"):                                                 "url: forbidden address",
		entry("webhook_configs", "url: http://169.254.169.254/latest"):                                           "url: forbidden address",
		entry("webhook_configs", "url: http://[::1]/"):                                                           "url: forbidden address",
		entry("webhook_configs", "url: http://[::ffff:10.1.2.3]/"):                                               "url: forbidden address",
		entry("email_configs", "{to: a@b.c, from: a@b.c, smarthost: '10.0.0.1:25'}"):                             "smarthost: forbidden address",
		minimal("global: {smtp_smarthost: 'localhost:25'}"):                                                      "smtp_smarthost: forbidden address",
		minimal("global: {opsgenie_api_url: 'http://172.16.0.1/'}"):                                              "opsgenie_api_url: forbidden address",
		entry("discord_configs", "webhook_url: 'http://192.168.1.1/x'"):                                          "webhook_url: forbidden address",
		entry("slack_configs", "{api_url: 'http://192.168.1.1/x', channel: c}"):                                  "api_url: forbidden address",
	} {
		_, err := config.Load(config.Source{YAML: text}, options())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	o := options()
	o.AllowPrivate = true
	if _, err := config.Load(config.Source{YAML: entry("webhook_configs", "url: http://127.0.0.1:9000/x")}, o); err != nil {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	nested := "route:\n  receiver: r\n"
	for i := range 25 {
		nested += strings.Repeat("  ", i+1) + "routes:\n" + strings.Repeat("  ", i+1) + "- group_wait: 1s\n"
	}
	bomb := "route: &a [x, x, x, x, x, x, x, x, x]\n" + repeat(12, func(i int) string {
		return fmt.Sprintf("x%d: &%c [%s]\n", i, 'b'+i, strings.Repeat(fmt.Sprintf("*%c, ", 'a'+i), 9))
	})
	for name, c := range map[string]struct{ text, want string }{
		"long":         {strings.Repeat("#", 1<<20) + "\n", "at most 1048576 are taken"},
		"bomb":         {bomb, "do its aliases repeat each other?"},
		"self":         {"a: &a [*a]", "more than 60 deep"},
		"deep":         {"a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70), "more than 60 deep"},
		"very deep":    {"a: " + strings.Repeat("[", 100_000), "depth"},
		"routes":       {"route:\n  receiver: r\n  routes:\n" + repeat(1000, func(int) string { return "  - {}\n" }) + "receivers: [{name: r}]\n", "line 1003: there are more than 1000 routes"},
		"nested":       {nested + "receivers: [{name: r}]\n", "routes stand more than 20 deep"},
		"receivers":    {minimal(repeat(500, func(i int) string { return fmt.Sprintf("- name: x%d\n", i) })), "line 504: there are 501 receivers"},
		"inhibit":      {minimal("inhibit_rules:\n" + repeat(501, func(int) string { return "- {}\n" })), "there are 501 inhibition rules"},
		"integrations": {minimal("  webhook_configs:\n" + repeat(2001, func(int) string { return "  - {url: 'https://x.example'}\n" })), "line 6: the receivers have more than 2000 entries"},
		"tags":         {minimal("global: !!python/object x"), "tags such as"},
	} {
		_, err := config.Load(config.Source{YAML: c.text}, options())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %.300v\nwant %s", name, err, c.want)
		}
	}
	s := config.Source{YAML: minimal("templates: ['*']\n"), Templates: map[string]string{}}
	for i := range 101 {
		s.Templates[fmt.Sprint(i)] = strings.Repeat("x", 3000)
	}
	_, err := config.Load(s, options())
	if err == nil || !strings.Contains(err.Error(), "there are 101 templates") || !strings.Contains(err.Error(), "at most 262144 are taken") {
		t.Error(err)
	}
	s.Templates = map[string]string{"a/b": "", "c": "", "\x01": ""}
	_, err = config.Load(s, options())
	if err == nil || !strings.Contains(err.Error(), `the template "a/b" is not used`) || !strings.Contains(err.Error(), "control characters") {
		t.Error(err)
	}
}

// TestAsLargeAsAllowed is taken, and soon.
func TestAsLargeAsAllowed(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("route:\n  receiver: r0\n  routes:\n")
	for i := range 999 {
		fmt.Fprintf(&b, "  - {matchers: ['a=\"%d\"'], receiver: r%d}\n", i, i%500)
	}
	b.WriteString("receivers:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "- name: r%d\n  webhook_configs:\n", i)
		for j := range 4 {
			fmt.Fprintf(&b, "  - {url: 'https://x.example/%d?{{ .GroupLabels.x }}', max_alerts: %d}\n", j, i)
		}
	}
	if _, err := config.Load(config.Source{YAML: b.String()}, options()); err != nil {
		t.Error(err)
	}
}

func TestAliasesAndMergedKeys(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Source{YAML: `
route:
  receiver: a
  routes:
  - &crit {matchers: [severity="critical"], receiver: a}
  - <<: *crit
    receiver: b
receivers:
- name: a
  webhook_configs: &hooks
  - &h {url: 'https://x.example/a', http_config: {basic_auth: {username: u, password: &pw s3cr3ts3cr3t}}}
- name: b
  webhook_configs:
  - {<<: [*h, {max_alerts: 5}], url: 'https://x.example/b'}
  chat_configs: [{channel: '#x', token: *pw}]
`}, options())
	if err != nil {
		t.Fatal(err)
	}
	b := c.Alertmanager.Receivers[1].WebhookConfigs[0]
	if b.MaxAlerts != 5 || b.URL != "https://x.example/b" || b.HTTPConfig.BasicAuth.Password != "s3cr3ts3cr3t" || c.Alertmanager.Route.Routes[1].Receiver != "b" {
		t.Errorf("%+v", b)
	}
}

// TestWhatIsMeantToBeSlowIsNot: each of these is small, and would keep a server busy or fill its memory.
func TestWhatIsMeantToBeSlowIsNot(t *testing.T) {
	t.Parallel()
	many := func(n int, s string) string { return strings.Repeat(s, n) }
	wrong := "route: {receiver: r, routes: [" + many(900, "{receiver: x}, ") + "]}\nreceivers:\n- name: r\n  webhook_configs:\n" + many(1900, "  - {urll: x}\n")
	for name, text := range map[string]string{
		"patterns":             minimal("inhibit_rules:\n" + many(400, "- {source_matchers: ['a=~\"("+many(60, `\pL{1000}`)+")\"'], target_matchers: ['b=c']}\n")),
		"pattern of one route": "route:\n  receiver: r\n  routes:\n" + many(200, "  - match_re: {a: '"+many(300, `\w{1000}`)+"'}\n") + "receivers: [{name: r}]",
		"all wrong":            wrong,
		"all wrong, and long":  "global: {http_config: {http_headers: {X: {values: [" + many(40_000, "abcdefgh, ") + "]}}}}\n" + wrong,
		"all wrong, far down":  many(500_000, "\n") + wrong,
		"unknown keys": "route: {receiver: r}\nreceivers: [{name: r}]\n" + func() string {
			var b strings.Builder
			for i := range 60_000 {
				fmt.Fprintf(&b, "k%d: 1\n", i)
			}
			return b.String()
		}(),
		"twice": "{" + many(60_000, "a: 1, ") + "}",
	} {
		began := time.Now()
		_, err := config.Load(config.Source{YAML: text}, options())
		if err == nil {
			t.Errorf("%s is taken", name)
		}
		if took := time.Since(began); took > 60*time.Second { // a second or two when nothing else runs
			t.Errorf("%s took %s", name, took)
		}
		t.Logf("%s: %d bytes, %s", name, len(text), time.Since(began))
	}
	labels := func() string {
		var b strings.Builder
		for i := range 20_000 {
			fmt.Fprintf(&b, "k%d: '{{ .Status }}', ", i)
		}
		return b.String()
	}()
	secrets := many(80_000, "s3cr3t, ")
	for name, text := range map[string]string{
		"many labels":  "route: {receiver: r, labels: {" + labels + "}}\nreceivers: [{name: r}]",
		"many secrets": minimal("  webhook_configs: [{url: https://x.example, http_config: {http_headers: {X: {secrets: [" + secrets + "]}}}}] # s3cr3t"),
		"many entries": minimal("  webhook_configs:\n" + many(1990, "  - {url: https://x.example/s3cr3t}\n")),
	} {
		began := time.Now()
		s := config.Source{YAML: text}
		if _, err := config.Load(s, options()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shown, err := config.Redact(s, nil)
		if err != nil || strings.Contains(shown.YAML, "s3cr3t") {
			t.Errorf("%s: %v", name, err)
		}
		if merged, err := config.Merge(shown, s, nil); err != nil || strings.Count(merged.YAML, "s3cr3t") < strings.Count(text, "s3cr3t")-1 {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 60*time.Second {
			t.Errorf("%s took %s", name, took)
		}
		t.Logf("%s: %d bytes, %s", name, len(text), time.Since(began))
	}
}
