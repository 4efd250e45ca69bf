package forward_test

import (
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func good() forward.Config {
	return forward.Config{Kind: forward.RemoteWrite, URL: "https://prometheus.example.com/api/v1/write", Interval: time.Minute}
}

func TestWhatIsRightIsTaken(t *testing.T) {
	dd := forward.Config{Kind: forward.Datadog}
	for name, c := range map[string]struct {
		config forward.Config
		secret forward.Secret
	}{
		"plain":         {config: good()},
		"a query":       {config: forward.Config{Kind: forward.RemoteWrite, URL: "http://mimir:9009/api/v1/push?tenant=7"}},
		"basic":         {config: good(), secret: forward.Secret{Username: "me", Password: "p:w"}},
		"bearer":        {config: good(), secret: forward.Secret{Bearer: "x", Headers: map[string]string{"X-Scope-OrgID": "7"}}},
		"authorization": {config: good(), secret: forward.Secret{Headers: map[string]string{"Authorization": "Api-Token x"}}},
		"datadog":       {config: dd, secret: forward.Secret{APIKey: "k"}},
		"datadog at":    {config: forward.Config{Kind: forward.Datadog, URL: "https://vector.example.com"}, secret: forward.Secret{APIKey: "k"}},
	} {
		if v := forward.Validate(c.config.Normalise(), c.secret); len(v) > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
	if got := dd.Normalise().Endpoint(); got != "https://api.datadoghq.com/api/v2/series" {
		t.Errorf("endpoint %q", got)
	}
	if got := good().Endpoint(); got != good().URL {
		t.Errorf("endpoint %q", got)
	}
	if got := (forward.Config{}).Normalise().Interval; got != time.Minute {
		t.Errorf("interval %v", got)
	}
}

func TestWhatIsWrongIsSaidWhere(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		change func(c *forward.Config, s *forward.Secret)
		field  string
	}{
		"no kind":            {func(c *forward.Config, _ *forward.Secret) { c.Kind = "kafka" }, "kind"},
		"no url":             {func(c *forward.Config, _ *forward.Secret) { c.URL = "" }, "url"},
		"a path only":        {func(c *forward.Config, _ *forward.Secret) { c.URL = "/api/v1/write" }, "url"},
		"a port only":        {func(c *forward.Config, _ *forward.Secret) { c.URL = "http://:80/" }, "url"},
		"another scheme":     {func(c *forward.Config, _ *forward.Secret) { c.URL = "file:///etc/passwd" }, "url"},
		"a password":         {func(c *forward.Config, _ *forward.Secret) { c.URL = "https://me:pw@example.com/" }, "url"},
		"a key in the query": {func(c *forward.Config, _ *forward.Secret) { c.URL = "https://example.com/?Api-Key=1" }, "url"},
		"a fragment":         {func(c *forward.Config, _ *forward.Secret) { c.URL = "https://example.com/#x" }, "url"},
		"a long url":         {func(c *forward.Config, _ *forward.Secret) { c.URL = "https://example.com/" + long }, "url"},
		"datadog's site":     {func(c *forward.Config, _ *forward.Secret) { c.Site = "datadoghq.eu" }, "site"},
		"a strange site": {func(c *forward.Config, s *forward.Secret) {
			*c, s.APIKey = forward.Config{Kind: forward.Datadog, Site: "x/../y", Interval: time.Minute}, "k"
		}, "site"},
		"site and url": {func(c *forward.Config, s *forward.Secret) {
			c.Kind, c.Site, s.APIKey = forward.Datadog, "datadoghq.eu", "k"
		}, "site"},
		"no key":           {func(c *forward.Config, _ *forward.Secret) { c.Kind = forward.Datadog }, "api_key"},
		"a key":            {func(_ *forward.Config, s *forward.Secret) { s.APIKey = "k" }, "api_key"},
		"too often":        {func(c *forward.Config, _ *forward.Secret) { c.Interval = time.Second }, "interval"},
		"not on the grid":  {func(c *forward.Config, _ *forward.Secret) { c.Interval = 40 * time.Second }, "interval"},
		"not of a day":     {func(c *forward.Config, _ *forward.Secret) { c.Interval = 105 * time.Second }, "interval"},
		"too seldom":       {func(c *forward.Config, _ *forward.Secret) { c.Interval = 10 * time.Minute }, "interval"},
		"a label's name":   {func(c *forward.Config, _ *forward.Secret) { c.ExternalLabels = map[string]string{"a-b": "x"} }, "external_labels"},
		"a reserved label": {func(c *forward.Config, _ *forward.Secret) { c.ExternalLabels = map[string]string{"__name__": "x"} }, "external_labels"},
		"an empty label":   {func(c *forward.Config, _ *forward.Secret) { c.ExternalLabels = map[string]string{"a": ""} }, "external_labels"},
		"NUL":              {func(c *forward.Config, _ *forward.Secret) { c.ExternalLabels = map[string]string{"a": "x\x00"} }, "external_labels"},
		"a metric":         {func(c *forward.Config, _ *forward.Secret) { c.Metrics = []string{"a{b}"} }, "metrics"},
		"too many stars":   {func(c *forward.Config, _ *forward.Secret) { c.Metrics = []string{"*a*a*a*a*"} }, "metrics"},
		"two ways in":      {func(_ *forward.Config, s *forward.Secret) { s.Bearer, s.Username = "x", "y" }, "bearer_token"},
		"a line break":     {func(_ *forward.Config, s *forward.Secret) { s.Bearer = "x\r\nHost: y" }, "bearer_token"},
		"a colon":          {func(_ *forward.Config, s *forward.Secret) { s.Username = "a:b" }, "basic.username"},
		"a long password":  {func(_ *forward.Config, s *forward.Secret) { s.Password = long }, "basic.password"},
		"a header's name":  {func(_ *forward.Config, s *forward.Secret) { s.Headers = map[string]string{"a b": "x"} }, "headers"},
		"a header's value": {func(_ *forward.Config, s *forward.Secret) { s.Headers = map[string]string{"a": "x\r\ny"} }, "headers"},
		"a header of ours": {func(_ *forward.Config, s *forward.Secret) { s.Headers = map[string]string{"HOST": "x"} }, "headers"},
		"authorization twice": {func(_ *forward.Config, s *forward.Secret) {
			s.Bearer, s.Headers = "x", map[string]string{"authorization": "y"}
		}, "headers"},
	} {
		config, secret := good(), forward.Secret{}
		c.change(&config, &secret)
		v := forward.Validate(config, secret)
		found := false
		for _, one := range v {
			found = found || one.Field == c.field
			if !utf8.ValidString(one.Message) || strings.Contains(one.Message, long) {
				t.Errorf("%s: message %q", name, one.Message)
			}
		}
		if !found {
			t.Errorf("%s: nothing of %s in %v", name, c.field, v)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "home": true, "mimir-2": true, "": false, "-a": false, "a-": false, "A": false, "a b": false, "a\x00": false, "a\n": false,
		strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if got := forward.ValidName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestHintsTellNoSecret(t *testing.T) {
	got := forward.Secret{Bearer: "b", Headers: map[string]string{"B": "1", "A": "2"}}.Hints()
	if d := cmp.Diff(forward.Hints{Authentication: "bearer", Headers: []string{"A", "B"}}, got); d != "" {
		t.Error(d)
	}
	for want, s := range map[string]forward.Secret{"none": {}, "basic": {Password: "x"}, "api_key": {APIKey: "x"}} {
		if got := s.Hints().Authentication; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSecretsAreSealedAboutTheirPlace(t *testing.T) {
	a, b := tenant.OrgID{UUID: uuid.New()}, tenant.OrgID{UUID: uuid.New()}
	if string(forward.About(a, "x")) == string(forward.About(b, "x")) || string(forward.About(a, "x")) == string(forward.About(a, "y")) {
		t.Error("two places look the same")
	}
}

// FuzzWants compares with path.Match, which agrees where there are no slashes and no other signs.
func FuzzWants(f *testing.F) {
	for _, p := range []string{"*", "a*", "*a", "a*b", "*_bucket", "a*a", "a**b", "ab", ""} {
		f.Add(p, "ab")
		f.Add(p, "tokiflow_monitor_run_duration_seconds_bucket")
		f.Add(p, "a")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ContainsAny(pattern+name, `/\[]?^-`) || pattern == "" || !utf8.ValidString(pattern+name) {
			t.Skip("path.Match knows signs that a pattern of ours does not")
		}
		want, err := path.Match(pattern, name)
		if err != nil {
			t.Skip("no pattern to path.Match")
		}
		if got := (forward.Config{Metrics: []string{pattern}}).Wants(name); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}
