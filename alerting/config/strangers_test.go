package config_test

import (
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// TestASecretIsNotSentToAnotherEntrysAddress: who may write the configuration could otherwise make his address known first, by an entry of his own.
func TestASecretIsNotSentToAnotherEntrysAddress(t *testing.T) {
	t.Parallel()
	old := minimal("  webhook_configs:\n  - {url: 'https://good.example/', http_config: {basic_auth: {username: u, password: PASSWORD}}}\n" +
		"  - {url: 'https://evil.example/'}\n  pagerduty_configs: [{routing_key: PASSWORD}]\n")
	shown := redacted(t, old)
	for name, change := range map[string][2]string{
		"url":     {"url: <secret>, http_config: {", "url: 'https://evil.example/', http_config: {"},
		"proxy":   {"http_config: {", "http_config: {proxy_url: 'http://evil.example', "},
		"default": {"routing_key: <secret>", "routing_key: <secret>, url: 'https://evil.example'"},
	} {
		fresh := strings.Replace(shown, change[0], change[1], 1)
		if fresh == shown {
			t.Fatal(name, shown)
		}
		_, err := config.Merge(config.Source{YAML: fresh}, config.Source{YAML: old}, options().Kinds)
		if err == nil || !strings.Contains(err.Error(), "it would be sent to evil.example") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := config.Merge(config.Source{YAML: shown}, config.Source{YAML: old}, options().Kinds); err != nil {
		t.Error(err)
	}
}

// TestClassesOfUnicodeAreCounted: each is five kilobytes of memory, of three bytes of text.
func TestClassesOfUnicodeAreCounted(t *testing.T) {
	t.Parallel()
	text := "route:\n  receiver: r\n  routes:\n  - match_re: {a: '" + strings.Repeat(`\pL`, 2000) + "'}\nreceivers: [{name: r}]\n"
	if _, err := config.Load(config.Source{YAML: text}, options()); err == nil || !strings.Contains(err.Error(), "line 4: the regular expressions up to here are too large") {
		t.Error(err)
	}
	if _, err := config.Load(config.Source{YAML: strings.Replace(text, strings.Repeat(`\pL`, 2000), `\pL+`, 1)}, options()); err != nil {
		t.Error(err)
	}
}

// TestNULIsRefused: the notification log could not hold a receiver of that name.
func TestNULIsRefused(t *testing.T) {
	t.Parallel()
	text := "route:\n  receiver: \"a\\0b\"\nreceivers: [{name: \"a\\0b\"}]\n"
	if _, err := config.Load(config.Source{YAML: text}, options()); err == nil || !strings.Contains(err.Error(), "line 2: the value holds a NUL character") {
		t.Error(err)
	}
}
