package slack_test

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	slackapi "github.com/slack-go/slack"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/slack"
)

// yamlBlocks are those of the manual, in order.
func yamlBlocks(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../docs/slack.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(b, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// The manifest of the manual is one that Slack's own types read, and what it names is served.
func TestTheManifestOfTheManual(t *testing.T) {
	d := yaml.NewDecoder(strings.NewReader(yamlBlocks(t)[0]))
	d.KnownFields(true)
	var m slackapi.Manifest
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slack.Scopes(), m.OAuthConfig.Scopes.Bot, cmp.Transformer("sorted", func(in []string) []string { return slices.Sorted(slices.Values(in)) })); diff != "" {
		t.Errorf("scopes: %s", diff)
	}
	b := newBundle(t)
	r := chi.NewRouter()
	b.app.Routes(r)
	served := func(method, address string) {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil || u.Host != "tokiflow.example.com" || !r.Match(chi.NewRouteContext(), method, u.Path) {
			t.Errorf("%s %s is not served: %v", method, address, err)
		}
	}
	if len(m.Features.SlashCommands) != 1 || m.Features.SlashCommands[0].Command != "/pulse" || len(m.OAuthConfig.RedirectUrls) != 1 {
		t.Fatalf("%+v", m)
	}
	served(http.MethodPost, m.Features.SlashCommands[0].Url)
	served(http.MethodGet, m.OAuthConfig.RedirectUrls[0])
	served(http.MethodPost, m.Settings.EventSubscriptions.RequestUrl)
	served(http.MethodPost, m.Settings.Interactivity.RequestUrl)
	if m.Settings.TokenRotationEnabled || m.Settings.SocketModeEnabled || !m.Settings.Interactivity.IsEnabled {
		t.Errorf("%+v", m.Settings)
	}
}

// The configuration of the manual is good.
func TestTheConfigurationOfTheManual(t *testing.T) {
	c, err := config.Load(config.Source{YAML: yamlBlocks(t)[1]}, config.Options{Kinds: []config.Kind{slack.Kind()}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Entries) != 1 || c.Entries[0].Kind != slack.KindName || c.Entries[0].Receiver != "ops" || !c.Entries[0].SendResolved {
		t.Fatalf("%+v", c.Entries)
	}
	b := newBundle(t)
	if _, err := b.app.Factory(b.a)(c.Entries[0], nil); err != nil {
		t.Error(err)
	}
}
