package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func TestBounds(t *testing.T) {
	t.Parallel()
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	nested := "route:\n  receiver: r\n" + repeat(25, func(i int) string {
		return strings.Repeat("  ", i+1) + "routes:\n" + strings.Repeat("  ", i+1) + "- group_wait: 1s\n"
	})
	bomb := "route: &a [x, x, x, x, x, x, x, x, x]\n" + repeat(12, func(i int) string {
		return fmt.Sprintf("x%d: &%c [%s]\n", i, 'b'+i, strings.Repeat(fmt.Sprintf("*%c, ", 'a'+i), 9))
	})
	for name, c := range map[string]struct{ text, want string }{
		"long":      {strings.Repeat("#", 1<<20) + "\n", "at most 1048576 are taken"},
		"bomb":      {bomb, "do its aliases repeat each other?"},
		"self":      {"a: &a [*a]", "more than 60 deep"},
		"deep":      {"a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70), "more than 60 deep"},
		"very deep": {"a: " + strings.Repeat("[", 100_000), "depth"},
		"routes":    {"route:\n  receiver: r\n  routes:\n" + repeat(1000, func(int) string { return "  - {}\n" }) + "receivers: [{name: r}]\n", "line 1003: there are more than 1000 routes"},
		"nested":    {nested + "receivers: [{name: r}]\n", "routes stand more than 20 deep"},
		"receivers": {minimal(repeat(500, func(i int) string { return fmt.Sprintf("- name: x%d\n", i) })), "line 504: there are 501 receivers"},
		"inhibit":   {minimal("inhibit_rules:\n" + repeat(501, func(int) string { return "- {}\n" })), "there are 501 inhibition rules"},
		"integrations": {minimal(repeat(11, func(i int) string {
			return fmt.Sprintf("- name: x%d\n  webhook_configs:\n", i) + strings.Repeat("  - {url: 'https://x.example'}\n", 50)
		})), "line 527: the receivers have more than 500 entries"},
		"of a receiver": {
			minimal("  webhook_configs:\n" + strings.Repeat("  - {url: 'https://x.example'}\n", 49) + "  pushover_configs:\n" +
				strings.Repeat("  - {user_key: a, token: b}\n", 10)), "line 57: the receiver has more than 50 entries",
		},
		"name": {minimal("- name: " + strings.Repeat("ä", 101) + "\n"), "line 5: the name of a receiver has 202 bytes: at most 200 are taken"},
		"tags": {minimal("global: !!python/object x"), "tags such as"},
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
		fmt.Fprintf(&b, "  - {url: 'https://x.example/?{{ .GroupLabels.x }}', max_alerts: %d}\n", i)
	}
	one := minimal("- name: " + strings.Repeat("x", 200) + "\n  webhook_configs:\n" + strings.Repeat("  - {url: 'https://x.example'}\n", 50))
	for _, text := range []string{b.String(), one} {
		if _, err := config.Load(config.Source{YAML: text}, options()); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatIsMeantToBeSlowIsNot: each of these is small, and would keep a server busy or fill its memory.
func TestWhatIsMeantToBeSlowIsNot(t *testing.T) {
	t.Parallel()
	many := func(n int, s string) string { return strings.Repeat(s, n) }
	wrong := "route: {receiver: r, routes: [" + many(200, "{receiver: x}, ") + "]}\nreceivers:\n- name: r\n  webhook_configs:\n" + many(200, "  - {urll: x}\n")
	for name, text := range map[string]string{
		"patterns":             minimal("inhibit_rules:\n" + many(400, "- {source_matchers: ['a=~\"("+many(60, `\pL{1000}`)+")\"'], target_matchers: ['b=c']}\n")),
		"pattern of one route": "route:\n  receiver: r\n  routes:\n" + many(200, "  - match_re: {a: '"+many(300, `\w{1000}`)+"'}\n") + "receivers: [{name: r}]",
		"all wrong":            wrong,
		"all wrong, and long":  "global: {http_config: {http_headers: {X: {values: [" + many(3_000, "abcdefgh, ") + "]}}}}\n" + wrong,
		"all wrong, far down":  many(20_000, "\n") + wrong,
		"unknown keys": "route: {receiver: r}\nreceivers: [{name: r}]\n" + func() string {
			var b strings.Builder
			for i := range 10_000 {
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
		for i := range 2_000 {
			fmt.Fprintf(&b, "k%d: '{{ .Status }}', ", i)
		}
		return b.String()
	}()
	secrets := many(3_000, "s3cr3t, ")
	for name, text := range map[string]string{
		"many labels":  "route: {receiver: r, labels: {" + labels + "}}\nreceivers: [{name: r}]",
		"many secrets": minimal("  webhook_configs: [{url: https://x.example, http_config: {http_headers: {X: {secrets: [" + secrets + "]}}}}] # s3cr3t"),
		"many entries": minimal("  webhook_configs:\n" + many(50, "  - {url: https://x.example/s3cr3t}\n")),
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
