package config_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func redacted(t *testing.T, text string) string {
	t.Helper()
	s, err := config.Redact(config.Source{YAML: text}, options().Kinds)
	if err != nil {
		t.Fatal(err)
	}
	return s.YAML
}

func TestRedactLeavesAllElseAsItWasWritten(t *testing.T) {
	t.Parallel()
	s := goodSource()
	want := s.YAML
	for _, one := range []string{
		"hunter2hunter2", "0123456789abcdef", "https://hooks.example.com/s3cr3tpath", "xoxb-123456", `"xoxb-\"654321"`, "abcdefgh",
		"|\n              multiline-password\n              goes on",
	} {
		if !strings.Contains(want, one) {
			t.Fatalf("%q is not there", one)
		}
		want = strings.ReplaceAll(want, one, "<secret>")
	}
	got := redacted(t, s.YAML)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := redacted(t, got); again != got {
		t.Error(cmp.Diff(got, again))
	}
	merged, err := config.Merge(config.Source{YAML: got}, s, options().Kinds)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values(t, s.YAML), values(t, merged.YAML)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(merged.YAML, "# A team's own file.") {
		t.Error("the comments are gone")
	}
}

// values is what a YAML says.
func values(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

func TestRedactInEveryStyle(t *testing.T) {
	t.Parallel()
	before, after := "route: {receiver: r}\nreceivers:\n- name: r\n  webhook_configs:\n  - url: ", "\n    max_alerts: 3 # c\n"
	for name, scalar := range map[string]string{
		"plain": "https://s3cr3t.example/x#y", "single": "'https://s3cr3t.example/''x'''", "double": `"https://s3cr3t.example/\"x\\"`, "anchor": "&a https://s3cr3t.example/",
		"tag": "!!str https://s3cr3t.example", "anchor and tag": "&a !!str 'https://s3cr3t.example'", "literal": "|\n      https://s3cr3t.example/\n\n      s3cr3t", "folded": ">-\n      https://s3cr3t.example/\n      s3cr3t\n",
		"kept": "|+\n      https://s3cr3t.example/\n\n", "indented": "|2-\n        https://s3cr3t.example/\n        s3cr3t", "plain over lines": "https://s3cr3t.example/\n      s3cr3t", "double over lines": "\"https://s3cr3t.example/\\\n      s3cr3t\n      s3cr3t\"",
		"wide before": "https://s3cr3t.example/ä😀", "comment": "https://s3cr3t.example/ # was https://s3cr3t.example/",
	} {
		got := redacted(t, "# ä😀\n"+before+scalar+after)
		if strings.Contains(got, "s3cr3t") || !strings.Contains(got, "<secret>") || !strings.Contains(got, "max_alerts: 3 # c") || !strings.Contains(got, "# ä😀") {
			t.Errorf("%s: %s", name, got)
		}
	}
	flow := redacted(t, "{route: {receiver: r}, receivers: [{name: r, webhook_configs: [{url: https://s3cr3t.example/x, max_alerts: 1}, {url: \"s3cr3t\"}]}]} # s3cr3t")
	if flow != "{route: {receiver: r}, receivers: [{name: r, webhook_configs: [{url: <secret>, max_alerts: 1}, {url: <secret>}]}]} # <secret>" && strings.Contains(flow, "s3cr3t.") {
		t.Error(flow)
	}
	crlf := redacted(t, strings.ReplaceAll(before+"https://s3cr3t.example/"+after, "\n", "\r\n"))
	if strings.Contains(crlf, "s3cr3t") || !strings.Contains(crlf, "max_alerts: 3 # c\r\n") {
		t.Errorf("%q", crlf)
	}
}

// TestSecretsOfEveryKind are those that Alertmanager's types say are secret, and passwords in URLs.
func TestSecretsOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		"webhook_configs: [{url: S, http_config: {authorization: {credentials: S}, oauth2: {client_secret: S}, tls_config: {key: S}, proxy_url: 'http://u:S@p.example', proxy_connect_header: {X: [S, S]}, http_headers: {X: {secrets: [S]}}, bearer_token: S, basic_auth: {password: S}}}]",
		"discord_configs: [{webhook_url: S}]", "email_configs: [{auth_password: S, auth_secret: S, tls_config: {key: S}}]", "pagerduty_configs: [{routing_key: S, service_key: S, url: 'https://u:S@p.example'}]",
		"slack_configs: [{api_url: S, app_token: S}]", "opsgenie_configs: [{api_key: S}]", "wechat_configs: [{api_secret: S}]", "pushover_configs: [{user_key: S, token: S}]", "victorops_configs: [{api_key: S}]",
		"sns_configs: [{api_url: 'https://u:S@x.example', sigv4: {secret_key: S}}]", "telegram_configs: [{bot_token: S}]", "msteams_configs: [{webhook_url: S}]", "msteamsv2_configs: [{webhook_url: S}]",
		"rocketchat_configs: [{token: S, token_id: S}]", "mattermost_configs: [{webhook_url: S}]", "incidentio_configs: [{alert_source_token: S}]", "chat_configs: [{token: S, auth: {password: S}}, {token: [S, {a: S}]}, {server: 'https://u:S@x.example'}]",
	} {
		got := redacted(t, minimal("  "+strings.ReplaceAll(entry, "S", "s3cr3ts3cr3t")))
		if strings.Contains(got, "s3cr3t") || !strings.Contains(got, "<secret>") {
			t.Errorf("%s: %s", entry, got)
		}
	}
	global := []string{
		"smtp_auth_password", "smtp_auth_secret", "slack_api_url", "slack_app_token", "opsgenie_api_key", "wechat_api_secret", "victorops_api_key",
		"telegram_bot_token", "rocketchat_token", "rocketchat_token_id", "mattermost_webhook_url",
	}
	for _, key := range global {
		if got := redacted(t, minimal("global: {"+key+": s3cr3ts3cr3t}")); strings.Contains(got, "s3cr3t") {
			t.Error(got)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	receivers := func(entries ...string) string {
		return "route: {receiver: r}\nreceivers:\n- name: r\n  webhook_configs:\n" + strings.Join(entries, "")
	}
	a, b := "  - {url: https://a.example/A1, max_alerts: 1}\n", "  - {url: https://b.example/B2, max_alerts: 2}\n"
	sa, sb := "  - {url: <secret>, max_alerts: 1}\n", "  - {url: <secret>, max_alerts: 2}\n"
	twin := "  - url: https://t.example/T%d\n"
	twins := receivers(fmt.Sprintf(twin, 1), fmt.Sprintf(twin, 2))
	for name, c := range map[string]struct{ fresh, old, want string }{
		"same":          {receivers(sa, sb), receivers(a, b), `A1.*B2`},
		"swapped":       {receivers(sb, sa), receivers(a, b), `B2.*A1`},
		"first gone":    {receivers(sb), receivers(a, b), `B2`},
		"one new":       {receivers("  - {url: https://n.example/N, max_alerts: 2}\n", sa), receivers(a), `N.*A1`},
		"changed":       {receivers("  - {url: <secret>, max_alerts: 9}\n", sb), receivers(a, b), `A1.*B2`},
		"only one left": {receivers(sb, "  - {url: <secret>, max_alerts: 9}\n"), receivers(a, b), `B2.*A1`},
		"twins":         {receivers("  - url: <secret>\n", "  - url: <secret>\n"), twins, `T1.*T2`},
		"a twin gone":   {receivers("  - url: <secret>\n"), twins, "line 5: url: which of the stored entries"},
		"a third":       {receivers(sa, sb, "  - {url: <secret>}\n"), receivers(a, b), "line 7: url: <secret> stands for what is stored, and there is nothing"},
		"renamed":       {strings.ReplaceAll(receivers(sa), "name: r", "name: q"), receivers(a), "nothing stored here"},
		"nothing old":   {receivers(sa), "", "cannot be read"},
		"default":       {receivers(sa), config.Default().YAML, "nothing stored here"},
		"not a secret":  {strings.Replace(receivers(a), "receiver: r", "receiver: <secret>", 1), receivers(b), "receiver: <secret>"},
		"global":        {"global: {smtp_auth_password: <secret>, smtp_smarthost: 's.example:25'}\n" + receivers(a), "global: {smtp_smarthost: 's.example:25', smtp_auth_password: PW}\n" + receivers(a), `PW`},
	} {
		got, err := config.Merge(config.Source{YAML: c.fresh}, config.Source{YAML: c.old}, options().Kinds)
		text := got.YAML
		if err != nil {
			text = err.Error()
		}
		parts := strings.Split(c.want, ".*")
		at := 0
		for _, p := range parts {
			i := strings.Index(text[at:], p)
			if i < 0 {
				t.Errorf("%s: %q is not in %s", name, c.want, text)
				break
			}
			at += i
		}
	}
}

// TestASecretIsNotSentToAStranger: who may write the configuration must not read a stored secret by having it sent to him.
func TestASecretIsNotSentToAStranger(t *testing.T) {
	t.Parallel()
	webhook := func(url, password string) string {
		return minimal("  webhook_configs:\n  - url: " + url + "\n    http_config: {basic_auth: {username: u, password: " + password + "}}\n")
	}
	for name, c := range map[string]struct{ fresh, old string }{
		"url":      {webhook("https://evil.example/", "<secret>"), webhook("https://good.example/", "PASSWORD")},
		"template": {webhook("'https://{{ print `evil.example` }}/'", "<secret>"), webhook("https://good.example/", "PASSWORD")},
		"proxy": {
			minimal("  webhook_configs:\n  - {url: <secret>, http_config: {proxy_url: 'http://evil.example'}}\n"), minimal("  webhook_configs:\n  - {url: 'http://good.example/x'}\n"),
		},
		"token": {
			minimal("  webhook_configs:\n  - {url: 'https://good.example', http_config: {oauth2: {client_id: a, client_secret: <secret>, token_url: 'https://evil.example'}}}\n"),
			minimal("  webhook_configs:\n  - {url: 'https://good.example', http_config: {oauth2: {client_id: a, client_secret: PASSWORD, token_url: 'https://good.example'}}}\n"),
		},
		"smarthost": {
			"global: {smtp_smarthost: 'good.example:25', smtp_auth_password: <secret>}\n" + minimal("  email_configs: [{to: a@b.c, smarthost: 'evil.example:25'}]"),
			"global: {smtp_smarthost: 'good.example:25', smtp_auth_password: PASSWORD}\n" + minimal("  email_configs: [{to: a@b.c}]"),
		},
		"global": {
			"global: {opsgenie_api_url: 'https://evil.example'}\n" + minimal("  opsgenie_configs: [{api_key: <secret>}]"), minimal("  opsgenie_configs: [{api_key: PASSWORD}]"),
		},
		"ours": {minimal("  chat_configs: [{channel: '#a', token: <secret>, server: 'https://evil.example'}]"), minimal("  chat_configs: [{channel: '#a', token: PASSWORD}]")},
	} {
		got, err := config.Merge(config.Source{YAML: c.fresh}, config.Source{YAML: c.old}, options().Kinds)
		if err == nil || !strings.Contains(err.Error(), "write the secret anew") || !strings.Contains(err.Error(), "evil.example") {
			t.Errorf("%s: %v\n%s", name, err, got.YAML)
		}
	}
	if _, err := config.Merge(config.Source{YAML: webhook("https://good.example/other", "<secret>")}, config.Source{YAML: webhook("https://good.example/", "PASSWORD")}, nil); err != nil {
		t.Error(err)
	}
}

// TestWhatIsShownCanBeRead: routes are looked at without secrets.
func TestWhatIsShownCanBeRead(t *testing.T) {
	t.Parallel()
	text := goodSource().YAML + "# x"
	text = strings.Replace(text, "routing_key: 0123456789abcdef", "routing_key: 0123456789abcdef\n        url: https://u:passw0rd@pd.example", 1)
	shown := redacted(t, text)
	if strings.Contains(shown, "passw0rd") {
		t.Error(shown)
	}
	c, err := config.Read(config.Source{YAML: shown, Templates: goodSource().Templates}, options())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Receivers(map[string]string{"severity": "critical", "tags": ",db,"}); len(got) != 1 || got[0] != "on-call" {
		t.Error(got)
	}
}

func TestLeftOverPlaceholdersAreRefusedByMerge(t *testing.T) {
	t.Parallel()
	_, err := config.Merge(config.Source{YAML: minimal("  webhook_configs: [{url: <secret>}]")}, config.Default(), nil)
	var p config.Problems
	if !errors.As(err, &p) || p[0].Line != 5 {
		t.Error(err)
	}
}

// generated is a configuration with secrets that are nowhere else, in many styles.
func generated(seed uint64) (text string, secrets []string) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
	secret := func() string {
		s := fmt.Sprintf("s3cr3t%d%s", r.Uint64(), []string{"", "'", `"`, " x", ": y", " # z", "ä😀", `\n`, "\n", "{{", "<", "&a", "*"}[r.IntN(13)])
		secrets = append(secrets, s)
		return s
	}
	scalar := func(indent string) string {
		s := secret()
		n := yaml.Node{Kind: yaml.ScalarNode, Value: s, Style: []yaml.Style{0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle, yaml.LiteralStyle, yaml.FoldedStyle}[r.IntN(5)]}
		b, err := yaml.Marshal(&n)
		if err != nil {
			panic(err)
		}
		out := strings.TrimSuffix(string(b), "\n")
		if r.IntN(4) == 0 {
			out = fmt.Sprintf("&a%d %s", r.IntN(1000), out)
		}
		out = strings.ReplaceAll(out, "\n", "\n"+indent)
		if r.IntN(3) == 0 && !strings.Contains(out, "\n") {
			out += " # was " + strings.ReplaceAll(s, "\n", " ")
		}
		return out
	}
	var b strings.Builder
	b.WriteString("route: {receiver: r0}\nglobal:\n  smtp_auth_password: " + scalar("  ") + "\n  slack_app_token: " + scalar("  ") + "\nreceivers:\n")
	for i := range 1 + r.IntN(3) {
		fmt.Fprintf(&b, "- name: r%d\n  webhook_configs:\n", i)
		for range r.IntN(3) + 1 {
			fmt.Fprintf(&b, "  # ä😀\n  - url: %s\n    max_alerts: %d\n", scalar("    "), r.IntN(9))
			if r.IntN(2) == 0 {
				fmt.Fprintf(&b, "    http_config:\n      basic_auth:\n        username: u\n        password: %s\n", scalar("        "))
			}
		}
		fmt.Fprintf(&b, "  chat_configs:\n  - channel: '#x'\n    token: %s\n    auth: {password: %q}\n", scalar("    "), secret())
	}
	return b.String(), secrets
}

func checkSecrets(t *testing.T, text string, secrets []string) {
	t.Helper()
	got, err := config.Redact(config.Source{YAML: text}, options().Kinds)
	if err != nil {
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%v tells a secret", err)
		}
		return
	}
	if strings.Contains(got.YAML, "s3cr3t") {
		t.Fatalf("a secret survives in\n%s\nof\n%s", got.YAML, text)
	}
	for _, s := range secrets {
		if strings.Contains(got.YAML, s) {
			t.Fatalf("%q survives", s)
		}
	}
	merged, err := config.Merge(got, config.Source{YAML: text}, options().Kinds)
	if err != nil {
		t.Fatalf("%v\n%s", err, got.YAML)
	}
	if diff := cmp.Diff(values(t, text), values(t, merged.YAML)); diff != "" {
		t.Fatalf("%s\n%s\nof\n%s", diff, merged.YAML, text)
	}
}

func TestNoGeneratedSecretSurvives(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		text, secrets := generated(seed)
		checkSecrets(t, text, secrets)
	}
}

func FuzzRedact(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		text, secrets := generated(seed)
		checkSecrets(t, text, secrets)
	})
}

// FuzzLoad wants an answer, without a panic and without a secret in it, to whatever is put.
func FuzzLoad(f *testing.F) {
	f.Add(goodSource().YAML, `{{ define "x" }}{{ .Status }}{{ end }}`)
	f.Add(config.Default().YAML, "")
	f.Add(minimal("  webhook_configs: [{url: https://x.example}]"), "{{")
	f.Add("a: &a [*a]", "")
	o := options()
	f.Fuzz(func(t *testing.T, text, tmpl string) {
		s := config.Source{YAML: text}
		if tmpl != "" {
			s.Templates = map[string]string{"my/a.tmpl": tmpl}
		}
		c, err := config.Load(s, o)
		var p config.Problems
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("%T: %v", err, err)
		}
		shown, redactErr := config.Redact(s, o.Kinds)
		if err != nil {
			return
		}
		if redactErr != nil {
			t.Fatalf("what is loaded cannot be shown: %v", redactErr)
		}
		if _, err := config.Merge(shown, s, o.Kinds); err != nil {
			t.Fatalf("what is shown cannot be put back: %v", err)
		}
		c.Receivers(map[string]string{"severity": "critical"})
	})
}
