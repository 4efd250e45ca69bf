package config_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

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
		minimal("- name: x\n  email_configs:\n  - {to: x@example.com, auth_username: u}"):                                  `line 7: no global SMTP smarthost set`,
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
      - from: x@example.com
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

// TestNothingIsNoEntry: Alertmanager fails at some of these when it loads them, at others when it sends.
func TestNothingIsNoEntry(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"route: {receiver: r, routes: [null]}\nreceivers: [{name: r}]", "route: {receiver: r, routes: [~]}\nreceivers: [{name: r}]", minimal("- "), minimal("  slack_configs: [null]"),
		minimal("  opsgenie_configs: [null]"), minimal("  webhook_configs: [null]"), minimal("  webhook_configs: [&x null, *x]"),
		minimal("  slack_configs: [{api_url: 'https://x.example', fields: [null], actions: [null]}]"), minimal("  rocketchat_configs: [null]"), minimal("time_intervals: [null]"),
	} {
		if _, err := config.Load(config.Source{YAML: text}, options()); err == nil || !strings.Contains(err.Error(), "there is an empty entry in ") {
			t.Errorf("%s: %v", text, err)
		}
	}
	// An empty inhibition rule inhibits nothing, as with Alertmanager.
	if _, err := config.Load(config.Source{YAML: minimal("inhibit_rules: [null]")}, options()); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"route: null\nreceivers: [{name: r}]", "route: {receiver: r, routes: null}\nreceivers: null", minimal("global: null\ninhibit_rules: null\ntemplates: null\ntime_intervals: null"), minimal("  webhook_configs: null\n  chat_configs: null"),
		minimal("  webhook_configs: [{url: null}]"), minimal("  chat_configs: [null]"), "route: {receiver: null}\nreceivers: [{name: null}]", minimal("  webhook_configs: [{url: 'https://x.example', http_config: null}]"), "null: null",
		"route: {receiver: r, routes: [{match_re: {a: null}, matchers: [null], match: null, labels: null, group_by: [null]}]}\nreceivers: [{name: r}]", minimal("inhibit_rules: [{source_matchers: [null], equal: [null]}]"),
	} {
		c, err := config.Load(config.Source{YAML: text}, options()) // whatever it says, it must say it
		if err == nil {
			c.Receivers(map[string]string{"a": "b"})
		}
	}
}
