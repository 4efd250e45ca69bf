package receivers_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/discord"
	"github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/alerting/slack"
	"github.com/tokiflow/tokiflow/alerting/texts"
)

// Every example of the manual is a configuration that loads and builds, and every kind has one.
func TestTheExamplesOfTheManual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "receivers.md"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := append(receivers.Kinds(), discord.Kind(), slack.Kind(), mail.Kind())
	blank := func(config.Entry, *template.Template) (notify.Notifier, error) { return &scriptedNotifier{}, nil }
	b := newBundle(t, func(o *receivers.Options) {
		o.Factories = map[string]receivers.Factory{discord.Name: blank, slack.KindName: blank, mail.Name: blank}
		o.Email = func(*amconfig.EmailConfig, *template.Template) (notify.Notifier, error) {
			return &scriptedNotifier{}, nil
		}
		o.Kinds = kinds
	})
	var seen []string
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(text, -1) {
		example := string(block[1])
		name, _, _ := strings.Cut(strings.TrimPrefix(example, "- name: "), "\n")
		c, err := config.Load(config.Source{YAML: "route: {receiver: " + name + "}\nreceivers:\n" + example}, config.Options{Kinds: kinds, DefaultTemplates: texts.All()})
		if err != nil {
			t.Errorf("%v:\n%s", err, example)
			continue
		}
		tmpl, err := c.NewTemplate(b.tmpl.ExternalURL)
		if err != nil {
			t.Fatal(err)
		}
		built, err := b.receivers.Build(c, tmpl)
		if err != nil {
			t.Errorf("%v:\n%s", err, example)
			continue
		}
		for i, one := range receivers.List(c)[0].Integrations {
			if built[name][i].Name() != one.Kind && len(receivers.List(c)[0].Integrations) == 1 {
				t.Errorf("%s was built as %s", one.Kind, built[name][i].Name())
			}
			seen = append(seen, one.Kind)
		}
		if len(built[name]) != len(receivers.List(c)[0].Integrations) {
			t.Errorf("%s: %d were built", name, len(built[name]))
		}
	}
	for field := range reflect.TypeFor[amconfig.Receiver]().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if kind, ok := strings.CutSuffix(key, "_configs"); ok && !slices.Contains(seen, kind) {
			t.Errorf("the manual has no example of %s", kind)
		}
	}
	for _, k := range kinds {
		if !slices.Contains(seen, k.Name) {
			t.Errorf("the manual has no example of %s", k.Name)
		}
	}
}
