package rules_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/rules/memory"
)

var start = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// world is storages in memory, one an organisation, and the engine over them.
type world struct {
	t       testing.TB
	querier rules.EngineQuerier
	stores  map[tenant.OrgID]*memory.Storage
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, stores: map[tenant.OrgID]*memory.Storage{}}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}), EnableAtModifier: true, EnableNegativeOffset: true,
	})
	t.Cleanup(func() { _ = engine.Close() })
	w.querier = rules.EngineQuerier{Engine: engine, Storage: func(o tenant.OrgID) storage.Queryable { return w.of(o) }}
	return w
}

func (w *world) of(o tenant.OrgID) *memory.Storage {
	if w.stores[o] == nil {
		w.stores[o] = memory.New()
	}
	return w.stores[o]
}

// set appends samples, one a line: `name{labels} value`.
func (w *world) set(o tenant.OrgID, at time.Time, lines ...string) {
	w.t.Helper()
	for _, line := range lines {
		l, v, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.of(o).Append(l, at.UnixMilli(), v[0].Value, v[0].Histogram); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) ask(o tenant.OrgID) rules.Query {
	return func(ctx context.Context, expr string, at time.Time, recorded storage.Queryable) (promql.Vector, error) {
		return w.querier.QueryOver(ctx, o, expr, at, recorded)
	}
}

func parseGroup(t testing.TB, name, text string) rule.Group {
	t.Helper()
	g, errs := rules.NewFormat(false).ParseGroup(name, []byte(text))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return g
}

// lines are samples as text, sorted: a marker is stale.
func lines(samples []series.Series) []string {
	out := []string{}
	for _, s := range samples {
		b := labels.NewScratchBuilder(0)
		for _, l := range s.Labels {
			b.Add(l.Name, l.Value)
		}
		name := promql.Sample{Metric: b.Labels()}.Metric.String()
		for _, f := range s.Floats {
			v := fmt.Sprint(f.Value)
			if value.IsStaleNaN(f.Value) {
				v = "stale"
			}
			out = append(out, fmt.Sprintf("%s %s @%s", name, v, time.UnixMilli(f.At).Sub(start)))
		}
		for range s.Histograms {
			out = append(out, name+" histogram")
		}
	}
	slices.Sort(out)
	return out
}

func diffLines(t *testing.T, samples []series.Series, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(append([]string{}, want...), lines(samples)); diff != "" {
		t.Error(diff)
	}
}

func TestRulesSeeWhatThoseBeforeThemRecorded(t *testing.T) {
	t.Parallel()
	w, org := newWorld(t), tenant.OrgID{UUID: uuid.New()}
	g := rules.Prepare(parseGroup(t, "g", `
labels: {team: db}
rules:
  - {record: "job:up:sum", expr: "sum by (job) (up)"}
  - {record: twice, expr: "2 * job:up:sum", labels: {team: "", a: b}}
  - {alert: Low, expr: "twice < 3", labels: {sev: "{{ if lt $value 1.0 }}page{{ end }}"}, annotations: {v: "{{ $value }} {{ with query \"job:up:sum\" }}{{ len . }}{{ end }}"}}
`), rules.Surroundings{})
	w.set(org, start, `up{job="a",i="1"} 1`, `up{job="a",i="2"} 1`, `up{job="b",i="1"} 0`)
	out := g.Evaluate(t.Context(), w.ask(org), time.Now, nil, start)
	diffLines(t, out.Samples,
		`{__name__="job:up:sum", job="a", team="db"} 2 @0s`, `{__name__="job:up:sum", job="b", team="db"} 0 @0s`,
		`{__name__="twice", a="b", job="a"} 4 @0s`, `{__name__="twice", a="b", job="b"} 0 @0s`,
		`{__name__="ALERTS", a="b", alertname="Low", alertstate="firing", job="b", sev="page", team="db"} 1 @0s`,
		fmt.Sprintf(`{__name__="ALERTS_FOR_STATE", a="b", alertname="Low", job="b", sev="page", team="db"} %v @0s`, float64(start.Unix())),
	)
	if len(out.Changes) != 1 || out.Changes[0].Alert.Annotations[0].Value != "0 2" || out.Changes[0].Expr != "twice < 3" {
		t.Errorf("%+v", out.Changes)
	}
	for i, p := range out.Progress {
		if p.Health != rule.Good || p.Evaluated.IsZero() || out.Errors[i] != nil {
			t.Errorf("%+v", p)
		}
	}
	// A minute later: b is gone, so its series end at once, also for the rules behind.
	next := start.Add(time.Minute)
	w.set(org, next, `up{job="a",i="1"} 1`, `up{job="a",i="2"} 1`, `up{job="b",i="1"} stale`)
	out = g.Evaluate(t.Context(), w.ask(org), time.Now, out.Progress, next)
	diffLines(t, out.Samples,
		`{__name__="job:up:sum", job="a", team="db"} 2 @1m0s`, `{__name__="job:up:sum", job="b", team="db"} stale @1m0s`,
		`{__name__="twice", a="b", job="a"} 4 @1m0s`, `{__name__="twice", a="b", job="b"} stale @1m0s`,
		`{__name__="ALERTS", a="b", alertname="Low", alertstate="firing", job="b", sev="page", team="db"} stale @1m0s`,
		`{__name__="ALERTS_FOR_STATE", a="b", alertname="Low", job="b", sev="page", team="db"} stale @1m0s`,
	)
	if len(out.Changes) != 1 || out.Changes[0].To != rule.Inactive {
		t.Errorf("%+v", out.Changes)
	}
}

func TestARuleThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	w, org := newWorld(t), tenant.OrgID{UUID: uuid.New()}
	g := rules.Prepare(parseGroup(t, "g", `
limit: 2
rules:
  - {record: dup, expr: "label_replace(x, \"b\", \"\", \"\", \"\")", labels: {i: "1"}}
  - {alert: A, expr: "x"}
  - {record: r, expr: "x"}
  - {record: range, expr: "x[5m]"}
  - {record: scalar, expr: "1 + 1"}
  - {alert: Same, expr: "x", labels: {i: same}}
`), rules.Surroundings{})
	w.set(org, start, `x{i="1"} 1`)
	first := g.Evaluate(t.Context(), w.ask(org), time.Now, nil, start)
	for i, want := range []string{"", "", "", "not a vector or scalar", "", ""} {
		text := first.Progress[i].LastError
		if (want == "") != (text == "") || !strings.Contains(text, want) || (first.Progress[i].Health == rule.Good) != (want == "") {
			t.Errorf("rule %d: %q, want %q", i, text, want)
		}
	}
	next := start.Add(time.Minute)
	w.set(org, next, `x{i="1"} 1`, `x{i="2"} 1`, `x{i="3"} 1`)
	out := g.Evaluate(t.Context(), w.ask(org), time.Now, first.Progress, next)
	for i, want := range []string{"limit of 2 with 3 series", "limit of 2 with 3 alerts", "limit of 2 with 3 series", "not a vector", "", "same labelset"} {
		if !strings.Contains(out.Progress[i].LastError, want) {
			t.Errorf("rule %d: %q, want %q", i, out.Progress[i].LastError, want)
		}
		if want != "" && cmp.Diff(first.Progress[i].Alerts, out.Progress[i].Alerts) != "" {
			t.Errorf("rule %d failed and changed its alerts", i)
		}
	}
	diffLines(t, out.Samples, `{__name__="scalar"} 2 @1m0s`)
	if len(out.Changes) != 0 {
		t.Errorf("%+v", out.Changes)
	}
	// Without a limit of its own the dup is told.
	g = rules.Prepare(parseGroup(t, "g", `{rules: [{record: dup, expr: "x", labels: {i: "1"}}]}`), rules.Surroundings{MaxResults: 3})
	if out := g.Evaluate(t.Context(), w.ask(org), time.Now, nil, next); out.Errors[0] == nil || !strings.Contains(out.Errors[0].Error(), "same labelset") {
		t.Error(out.Errors)
	}
	g = rules.Prepare(parseGroup(t, "g", `{limit: 9, rules: [{record: a, expr: x}, {alert: a, expr: x}]}`), rules.Surroundings{MaxResults: 2})
	if out := g.Evaluate(t.Context(), w.ask(org), time.Now, nil, next); out.Errors[0] == nil || out.Errors[1] == nil {
		t.Error("the installation's limit does not hold", out.Errors)
	}
}

func TestWhatIsTakenOutOfAGroupEnds(t *testing.T) {
	t.Parallel()
	w, org := newWorld(t), tenant.OrgID{UUID: uuid.New()}
	w.set(org, start, `x 1`)
	old := rules.Prepare(parseGroup(t, "g", `{rules: [{record: r, expr: x}, {alert: A, expr: x}, {record: s, expr: x}, {alert: B, expr: x}]}`), rules.Surroundings{})
	before := old.Evaluate(t.Context(), w.ask(org), time.Now, nil, start)
	now := rules.Prepare(parseGroup(t, "g", `{rules: [{alert: B, expr: "x > 0"}, {record: s, expr: x}]}`), rules.Surroundings{})
	at := start.Add(time.Minute)
	out := now.Evaluate(t.Context(), w.ask(org), time.Now, before.Progress, at)
	diffLines(t, out.Samples,
		`{__name__="s"} 1 @1m0s`, `{__name__="r"} stale @1m0s`,
		`{__name__="ALERTS", alertname="B", alertstate="firing"} 1 @1m0s`, fmt.Sprintf(`{__name__="ALERTS_FOR_STATE", alertname="B"} %v @1m0s`, float64(start.Unix())),
		`{__name__="ALERTS", alertname="A", alertstate="firing"} stale @1m0s`, `{__name__="ALERTS_FOR_STATE", alertname="A"} stale @1m0s`,
	)
	if len(out.Changes) != 1 || out.Changes[0].Rule != "A" || out.Changes[0].To != rule.Inactive || !out.Changes[0].FiredAt.Equal(start) {
		t.Errorf("%+v", out.Changes)
	}
	// A series that another rule goes on giving does not end.
	moved := rules.Prepare(parseGroup(t, "g", `{rules: [{record: s, expr: "x + 1", labels: {}}, {record: r, expr: x}]}`), rules.Surroundings{})
	other := slices.Clone(before.Progress)
	other[0].Labels = []series.Label{{Name: "was", Value: "labelled"}}
	diffLines(t, moved.Evaluate(t.Context(), w.ask(org), time.Now, other[:1], at).Samples, `{__name__="r"} 1 @1m0s`, `{__name__="s"} 2 @1m0s`)
}

func TestHistogramsAndOffsets(t *testing.T) {
	t.Parallel()
	w, org := newWorld(t), tenant.OrgID{UUID: uuid.New()}
	w.set(org, start, `h {{schema:0 count:3 sum:4 buckets:[1 2]}}`, `x 1`)
	w.set(org, start.Add(time.Minute), `x 2`)
	g := rules.Prepare(parseGroup(t, "g", `{query_offset: 1m, rules: [{record: a, expr: h}, {record: b, expr: "histogram_count(a)"}, {alert: X, expr: x, annotations: {now: '{{ query "x" | first | value }}'}}]}`), rules.Surroundings{})
	out := g.Evaluate(t.Context(), w.ask(org), time.Now, nil, start.Add(time.Minute))
	diffLines(t, out.Samples,
		`{__name__="a"} histogram`, `{__name__="b"} 3 @0s`,
		`{__name__="ALERTS", alertname="X", alertstate="firing"} 1 @0s`,
		fmt.Sprintf(`{__name__="ALERTS_FOR_STATE", alertname="X"} %v @0s`, float64(start.Add(time.Minute).Unix())),
	)
	if a := out.Changes[0].Alert; a.Value != 1 || a.Annotations[0].Value != "2" {
		t.Errorf("%+v", a)
	}
}

func TestTheEvaluationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var many promql.Vector
	for i := range 1000 {
		many = append(many, promql.Sample{F: 1, Metric: labels.FromStrings("i", fmt.Sprint(i))})
	}
	asked := 0
	ask := func(ctx context.Context, expr string, _ time.Time, _ storage.Queryable) (promql.Vector, error) {
		if asked++; asked == 5 {
			cancel()
		}
		return many, ctx.Err()
	}
	g := rules.Prepare(parseGroup(t, "g", `{rules: [{alert: A, expr: x, annotations: {a: '{{ query "x" }}'}}, {record: r, expr: x}]}`), rules.Surroundings{})
	out := g.Evaluate(ctx, ask, time.Now, nil, start)
	if asked > 10 || !errors.Is(out.Errors[0], context.Canceled) || out.Errors[1] == nil || len(out.Samples) != 0 || len(out.Changes) != 0 {
		t.Errorf("asked %d times: %v", asked, out.Errors)
	}
}

func TestAlertsMayHaveSoMuchText(t *testing.T) {
	t.Parallel()
	var v promql.Vector
	for i := range 1000 {
		v = append(v, promql.Sample{F: 1, Metric: labels.FromStrings("i", fmt.Sprint(i), "nul\x00", "a\x00b")})
	}
	ask := func(context.Context, string, time.Time, storage.Queryable) (promql.Vector, error) { return v, nil }
	g := rules.Prepare(parseGroup(t, "g", `{rules: [{alert: A, expr: x, annotations: {a: '{{ range 60 }}{{ printf "%0999d" 1 }}{{ end }}'}}]}`), rules.Surroundings{})
	if out := g.Evaluate(t.Context(), ask, time.Now, nil, start); out.Errors[0] == nil || !strings.Contains(out.Errors[0].Error(), "16 MiB") || len(out.Changes) > 0 {
		t.Error(out.Errors)
	}
	v = v[:1]
	out := g.Evaluate(t.Context(), ask, time.Now, nil, start)
	if out.Errors[0] != nil || len(out.Changes) != 1 || out.Changes[0].Alert.Labels[2] != (series.Label{Name: "nul\uFFFD", Value: "a\uFFFDb"}) {
		t.Errorf("%v %+v", out.Errors, out.Changes[0].Alert.Labels)
	}
}
