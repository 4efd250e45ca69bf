package config_test

import (
	"strings"
	"testing"

	amconfig "github.com/prometheus/alertmanager/config"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// TestTheInstallationSends for entries of email_configs that name no server: what was written stays as it is, and what is shown can be
// read by Alertmanager's own tools.
func TestTheInstallationSends(t *testing.T) {
	t.Parallel()
	const host, from = config.InstallationHost + ":25", config.InstallationFrom
	for text, want := range map[string][2]string{
		minimal("  email_configs: [{to: a@b.example}]"):                                                                                   {host, from},
		minimal("  email_configs:\n  - to: a@b.example\n    smarthost:\n    from: ''\n  chat_configs: [{channel: '#a'}]"):                 {host, from},
		minimal("  email_configs: [{to: a@b.example, from: c@d.example}]"):                                                                {host, "c@d.example"},
		minimal("  email_configs: [{to: a@b.example}]\nglobal: {smtp_from: c@d.example}"):                                                 {host, "c@d.example"},
		"global: {resolve_timeout: 1m, smtp_smarthost: null, smtp_auth_username: ''}\n" + minimal("  email_configs: [{to: a@b.example}]"): {host, from},
		minimal("  email_configs: [{to: a@b.example}]\nglobal: {smtp_smarthost: 'smtp.d.example:25', smtp_from: c@d.example}"):            {"smtp.d.example:25", "c@d.example"},
		minimal("  email_configs: [{to: a@b.example, smarthost: 'smtp.d.example:25', from: c@d.example}]"):                                {"smtp.d.example:25", "c@d.example"},
		minimal("  email_configs: [{to: a@b.example, smarthost: 'installation.invalid:25'}]"):                                             {host, from},
		minimal("  email_configs: &m\n  - {to: a@b.example}\n- name: x\n  email_configs: *m"):                                             {host, from},
	} {
		c, err := config.Load(config.Source{YAML: text}, options())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		shown, err := amconfig.Load(c.Shown.String())
		if err != nil {
			t.Errorf("%s: what is shown cannot be read: %v\n%s", text, err, c.Shown)
			continue
		}
		for _, one := range []*amconfig.Config{c.Alertmanager, c.Shown, shown} {
			for _, r := range one.Receivers {
				if e := r.EmailConfigs[0]; e.Smarthost.String() != want[0] || e.From != want[1] || e.To != "a@b.example" {
					t.Errorf("%s: %+v", text, e)
				}
			}
		}
		if redacted := redacted(t, text); redacted != text || c.Source.YAML != text {
			t.Errorf("%s was changed: %s", text, redacted)
		}
		if _, err := config.Read(config.Source{YAML: text}, options()); err != nil {
			t.Errorf("%s, stored: %v", text, err)
		}
	}
}

// TestAServerThatWasForgotten: who wrote a login meant a server of its own, and a server has no address of the installation's.
func TestAServerThatWasForgotten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		minimal("  email_configs:\n  - {to: a@b.example, auth_username: u, auth_password: hunter2hunter}"):          "line 6: no global SMTP smarthost set",
		minimal("  email_configs:\n  - {to: a@b.example}\nglobal: {smtp_auth_username: u, smtp_from: c@d.example}"): "line 6: no global SMTP smarthost set",
		minimal("  email_configs:\n  - {to: a@b.example, smarthost: 'smtp.d.example:25'}"):                          "line 6: no global SMTP from set",
		minimal("  email_configs:\n  - {to: a@b.example, smarthost: [a]}"):                                          "line 6: ",
		minimal("  email_configs: {to: a@b.example}"):                                                               "line 5: ",
		minimal("  email_configs: [a@b.example]"):                                                                   "line 5: ",
		minimal("  email_configs:\n  - to: a@b.example\n    nope: 1"):                                               `line 7: unknown key "nope"`,
	} {
		if _, err := config.Load(config.Source{YAML: text}, options()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
