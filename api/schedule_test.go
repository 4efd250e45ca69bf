package api_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/api"
)

func TestSchedulePreview(t *testing.T) {
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	s := newBundle(t, func(o *api.Options) { o.Clock = func() time.Time { return now } })
	next := func(q url.Values) *answer {
		return s.do(s.a.read, http.MethodGet, "/api/v1/schedule/next?"+q.Encode(), nil)
	}
	for _, c := range []struct {
		q    url.Values
		want []any
	}{
		{url.Values{"cron": {"30 2 * * *"}, "timezone": {"Europe/Berlin"}, "n": {"3"}}, []any{ // the clocks go forward on the 29th
			"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z",
		}},
		{url.Values{"cron": {"@daily"}, "from": {"2026-01-01T00:00:00+01:00"}, "n": {"2"}}, []any{"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"}},
		{url.Values{"interval": {"90s"}, "n": {"2"}}, []any{"2026-03-28T12:01:30Z", "2026-03-28T12:03:00Z"}},
		{url.Values{"cron": {"0 0 30 2 *"}}, []any{}},
	} {
		if d := cmp.Diff(c.want, next(c.q).want(http.StatusOK).body["items"]); d != "" {
			t.Errorf("%v: %s", c.q, d)
		}
	}
	if n := len(next(url.Values{"interval": {"1h"}}).want(http.StatusOK).body["items"].([]any)); n != 5 {
		t.Errorf("%d instants, want 5", n)
	}
	next(url.Values{"cron": {"0 25 * * *"}}).problem("query.cron", "character")
	next(url.Values{"cron": {"* * * * *"}, "timezone": {"Nowhere"}}).problem("query.timezone")
	next(url.Values{"interval": {"x"}}).problem("query.interval")
	next(url.Values{"interval": {"1ms"}}).problem("query.interval")
	next(url.Values{"interval": {"1h"}, "cron": {"* * * * *"}}).problem("query")
	next(url.Values{}).problem("query")
	next(url.Values{"interval": {"1h"}, "n": {"1001"}}).problem("query.n")
}

func TestOrganisation(t *testing.T) {
	s := newBundle(t)
	got := s.do(s.a.read, http.MethodGet, "/api/v1/organisation", nil).want(http.StatusOK)
	if got.text("id") != s.a.org.String() || got.text("name") != "one" {
		t.Errorf("%s", got.raw)
	}
	p := got.body["projects"].([]any)[0].(map[string]any)
	want := map[string]any{"id": s.a.project.String(), "name": "one", "slug": "one", "ping_key": "key-of-one", "ping_url": baseURL + "/ping/key-of-one"}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"read"}, got.body["api_key"].(map[string]any)["scopes"]); d != "" {
		t.Error(d)
	}
}
