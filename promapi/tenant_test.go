package promapi_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
)

// two is a bench of two organisations. Everything of the second has the word secret in it, its monitor's id ends in 66.
func two(t testing.TB) *bench {
	ours := born(1, "ours", ago("1h")).run(ago("30m"), monitor.Succeeded, time.Second)
	theirs := born(0x66, "secret", ago("1h")).run(ago("30m"), monitor.Failed, 123*time.Second)
	b := newBench(t, lives(ours), func(o *promapi.Options) {
		o.Stored = func(id tenant.OrgID) storage.Queryable {
			if id == org(2) {
				return (&stored{list: []storage.Series{written(66, "secret_series", "secret_label", "secret_value")}}).queryable()
			}
			return (&stored{list: []storage.Series{written(1, "load", "job", "node")}}).queryable()
		}
		o.Metadata = metadata{org(2): {"secret_series": {series.Metadata{Name: "secret_series", Help: "secret"}}}}
		o.Rules = groups{org(2): {{Group: rule.Group{Name: "secret_group"}, Rules: []rule.Standing{{
			Definition: rule.Definition{Alert: "secret_rule"}, Progress: rule.Progress{Alerts: []rule.Alert{{State: rule.Firing}}},
		}}}}}
	})
	b.history.of[org(2)] = lives(theirs)
	return b
}

// hostile are selectors that try to reach what belongs to organisation 2.
func hostile() []string {
	other := born(0x66, "secret", ago("1h")).id()
	return []string{
		`{__name__=~".+"}`, `{__name__!=""}`, `{id=~".+"}`, `{id!="x", __name__!=""}`, `{id="` + other + `"}`, `{id=~"` + other + `|` + other + `"}`,
		`{__name__=~".+", org_id="` + org(2).String() + `"}`, `{__name__=~".+", __tenant__="` + org(2).String() + `"}`,
		`{__name__=~".+", __tenant_id__=~".*"}`, `{__name__=~".+", organisation!="` + org(1).String() + `"}`,
		`tokiflow_monitor_info{monitor="secret"}`, `tokiflow_monitor_info{monitor=~".*"}`, `{monitor=~"sec.*"}`,
		`secret_series`, `{secret_label=~".+"}`, `{__name__=~"secret.*"}`, `tokiflow_monitor_up{id!~"aa000000-0000-0000-0000-000000000001"}`,
		`{"secret_series"}`, `{"__name__"=~".*", "id"=~".*66"}`,
	}
}

// leaks reports whether an answer shows anything of organisation 2.
func leaks(answer string) bool {
	return strings.Contains(answer, "secret") || strings.Contains(answer, "000000000066") || strings.Contains(answer, `"123"`)
}

func TestAnotherOrganisationIsNeverSeen(t *testing.T) {
	b := two(t)
	range_ := []string{"start", "1795431600", "end", "1795435200", "step", "15"}
	var asked int
	for _, sel := range hostile() {
		for _, c := range []struct {
			path string
			form url.Values
		}{
			{"/query", form("query", sel)},
			{"/query", form("query", "count("+sel+")")},
			{"/query", form("query", `max(`+sel+` or last_over_time(`+sel+`[1h]))`)},
			{"/query", form("query", `count by (__name__, id, monitor, secret_label) (`+sel+`)`)},
			{"/query", form("query", sel+"[1h]")},
			{"/query_range", form(append([]string{"query", sel}, range_...)...)},
			{"/query_range", form(append([]string{"query", `count_over_time(` + sel + `[5m:15s])`}, range_...)...)},
			{"/series", form("match[]", sel)},
			{"/series", form("match[]", sel, "match[]", "load")},
			{"/labels", form("match[]", sel)},
			{"/label/__name__/values", form("match[]", sel)},
			{"/label/id/values", form("match[]", sel)},
			{"/label/monitor/values", form("match[]", sel)},
			{"/label/secret_label/values", form("match[]", sel)},
			{"/query_exemplars", form("query", sel)},
			{"/rules", form("match[]", sel)},
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				// What the client says of organisations means nothing.
				c.form.Set("org", org(2).String())
				c.form.Set("org_id", org(2).String())
				status, got := b.send(method, "key-1", c.path, c.form)
				if method == http.MethodPost && status == http.StatusMethodNotAllowed {
					continue
				}
				asked++
				if leaks(withoutEcho(got)) {
					t.Errorf("%s %s %v: %s", method, c.path, c.form, got)
				}
			}
		}
	}
	for _, path := range []string{
		"/labels", "/label/__name__/values", "/label/id/values", "/label/monitor/values", "/label/secret_label/values", "/metadata",
		"/metadata?metric=secret_series", "/rules", "/alerts", "/targets",
	} {
		asked++
		if _, got := b.get("key-1", path, nil); leaks(got) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if asked < 400 {
		t.Errorf("only %d requests were made", asked)
	}
	// The test would see a leak: organisation 2 sees what is its own.
	for _, path := range []string{
		"/query?query=secret_series", "/series?match[]=tokiflow_monitor_info", "/labels", "/label/id/values", "/label/__name__/values", "/metadata",
		"/rules", "/alerts",
	} {
		if _, got := b.get("key-2", path, nil); !leaks(got) && path != "/alerts" {
			t.Errorf("organisation 2 does not see its own at %s: %s", path, got)
		}
	}
}

// withoutEcho takes out what the query itself says, which annotations repeat.
func withoutEcho(got string) string {
	if i := strings.Index(got, `,"warnings":`); i > 0 {
		got = got[:i]
	}
	if i := strings.Index(got, `,"infos":`); i > 0 {
		got = got[:i]
	}
	return got
}

func TestExportedReadersAreBoundToo(t *testing.T) {
	b := two(t)
	for _, sel := range hostile() {
		v, err := b.api.Query(t.Context(), org(1), sel, now())
		if err != nil {
			t.Errorf("%s: %v", sel, err)
		}
		for _, s := range v {
			if leaks(s.Metric.String()) {
				t.Errorf("%s: %s", sel, s.Metric)
			}
		}
	}
	err := b.api.Samples(t.Context(), org(1), ago("1m"), now(), 15*time.Second, func(list []series.Series) error {
		for _, s := range list {
			for _, l := range s.Labels {
				if leaks(l.Value) {
					t.Errorf("samples: %v", s.Labels)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	v, err := b.api.Query(t.Context(), tenant.OrgID{}, `{__name__=~"tokiflow.+"}`, now())
	if err != nil || len(v) > 0 {
		t.Errorf("no organisation: %v %v", v, err)
	}
}

func TestRemoteReadIsBoundToo(t *testing.T) {
	b := two(t)
	for _, kind := range []prompb.ReadRequest_ResponseType{prompb.ReadRequest_SAMPLES, prompb.ReadRequest_STREAMED_XOR_CHUNKS} {
		for _, m := range [][]*prompb.LabelMatcher{
			{{Type: prompb.LabelMatcher_RE, Name: "__name__", Value: ".*"}},
			{{Type: prompb.LabelMatcher_EQ, Name: "__name__", Value: "secret_series"}},
			{{Type: prompb.LabelMatcher_NEQ, Name: "id", Value: "x"}},
			{{Type: prompb.LabelMatcher_EQ, Name: "org_id", Value: org(2).String()}, {Type: prompb.LabelMatcher_RE, Name: "__name__", Value: ".*"}},
			nil,
		} {
			req := &prompb.ReadRequest{AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{kind}, Queries: []*prompb.Query{{
				StartTimestampMs: ago("1h").UnixMilli(), EndTimestampMs: now().UnixMilli(), Matchers: m,
			}}}
			_, got := b.read(req)
			if plain, err := snappy.Decode(nil, got); err == nil {
				got = plain
			}
			if bytes.Contains(got, []byte("secret")) || bytes.Contains(got, []byte("000000000066")) {
				t.Errorf("%v %v: another organisation's series", kind, m)
			}
		}
	}
}

// FuzzQuery evaluates whatever it is given: no panic, and nothing of another organisation.
func FuzzQuery(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s)
		f.Add("sum(rate(" + s + "[5m]))")
	}
	f.Add(`tokiflow_monitor_up * on (id) group_left (monitor) tokiflow_monitor_info`)
	f.Add(`histogram_quantile(0.9, sum(rate(tokiflow_monitor_run_duration_seconds[30m])))`)
	f.Add(`absent_over_time(tokiflow_monitor_due_timestamp_seconds[1h:1m] @ start() offset -5m)`)
	b := two(f)
	f.Fuzz(func(t *testing.T, expr string) {
		v, err := b.api.Query(t.Context(), org(1), expr, now())
		if err != nil {
			return
		}
		if strings.Contains(expr, "secret") || strings.Contains(expr, "66") {
			return // label_replace may write these words itself
		}
		for _, s := range v {
			s.Metric.Range(func(l labels.Label) {
				if leaks(l.Name) || leaks(l.Value) {
					t.Errorf("%s: %s", expr, s.Metric)
				}
			})
		}
	})
}
