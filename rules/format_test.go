package rules_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/rules"
)

const whole = `name: all
interval: 30s
query_offset: 1m
limit: 5
labels: {team: db}
rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {a: "1"}
  - alert: Down
    expr: |
      up
        == 0
    for: 5m
    keep_firing_for: 1h
    labels: {severity: page}
    annotations: {summary: "{{ $labels.job }}: down"}
`

func wholeGroup() rule.Group {
	offset := time.Minute
	return rule.Group{
		Name: "all", Interval: 30 * time.Second, QueryOffset: &offset, Limit: 5, Labels: map[string]string{"team": "db"},
		Rules: []rule.Definition{
			{Record: "job:up:sum", Expr: "sum by (job) (up)", Labels: map[string]string{"a": "1"}},
			{
				Alert: "Down", Expr: "up\n  == 0\n", For: 5 * time.Minute, KeepFiringFor: time.Hour,
				Labels: map[string]string{"severity": "page"}, Annotations: map[string]string{"summary": "{{ $labels.job }}: down"},
			},
		},
	}
}

func TestAGroupIsReadAndWritten(t *testing.T) {
	t.Parallel()
	f := rules.NewFormat(false)
	g, errs := f.ParseGroup("all", []byte(whole))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(wholeGroup(), g); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		b, err := f.MarshalGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		again, errs := f.ParseGroup("all", b)
		if diff := cmp.Diff(g, again); len(errs) > 0 || diff != "" {
			t.Errorf("%v\n%s\n%s", errs, b, diff)
		}
		g = again
	}
	file, err := f.MarshalFile([]rule.Group{g, {Name: "empty"}})
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := f.ParseFile(file)
	if len(errs) > 0 || len(groups) != 2 || cmp.Diff(g, groups[0]) != "" {
		t.Errorf("%v %v", groups, errs)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	f := rules.NewFormat(false)
	for _, c := range []struct{ content, want string }{
		{"rules:\n  - record: a\n    expr: sum(\n", `3:11: group "g", rule 1, "a": could not parse expression`},
		{"rules:\n  - record: a\n    exprs: x\n", "line 3: field exprs not found"},
		{"rules:\n  - alert: a\n    record: b\n    expr: x\n", "only one of 'record' and 'alert' must be set"},
		{"rules:\n  - expr: x\n", "one of 'record' or 'alert' must be set"},
		{"rules:\n  - record: a\n    expr: ''\n", "field 'expr' must be set"},
		{"rules:\n  - record: a\n    expr: x\n    for: 5m\n", "invalid field 'for' in recording rule"},
		{"rules:\n  - record: 'a{b}'\n    expr: x\n", "braces present in the recording rule name"},
		{"rules:\n  - alert: a\n    expr: x\n    labels: {__name__: x}\n", "invalid label name: __name__"},
		{"rules:\n  - alert: a\n    expr: x\n    annotations: {x: '{{ nope }}'}\n", "function \"nope\" not defined"},
		{"rules:\n  - alert: a\n    expr: x\n    for: soon\n", "not a valid duration"},
		{"labels: {__name__: x}\nrules: []\n", "invalid label name: __name__"},
		{"labels: {x: \"\\xff\"}\nrules: [{record: a, expr: x}]\n", ""}, // U+00FF: YAML's escapes are characters
		{"interval: 999ms\nrules: []\n", "1s is the least"},
		{"rules:\n  - alert: a\n    expr: x\n    annotations: {x: \"\\0\"}\n", "without NUL"},
		{"name: other\nrules: []\n", `is named "other"`},
		{"", "empty"},
		{"{", "yaml"},
		{"- a", "cannot unmarshal"},
		{"rules:\n  - &a {record: a, expr: x}\n  - *a\n", ""},
		{"rules: null\n", ""},
		{"rules:\n  -\n", ""}, // YAML drops it, for Prometheus too
	} {
		_, errs := f.ParseGroup("g", []byte(c.content))
		text := ""
		if err := errors.Join(errs...); err != nil {
			text = err.Error()
		}
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%q\n got %q\nwant %q", c.content, text, c.want)
		}
	}
}

// TestAMistakeIsSaidOnce: rulefmt says some twice.
func TestAMistakeIsSaidOnce(t *testing.T) {
	t.Parallel()
	_, errs := rules.NewFormat(false).ParseFile([]byte(`groups: [{name: a, rules: [{alert: x, expr: up, for: 3}]}]`))
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "not a valid duration") {
		t.Errorf("%v", errs)
	}
}

func TestExperimentalFunctionsAreAsked(t *testing.T) {
	t.Parallel()
	group := []byte("rules: [{record: a, expr: 'sort_by_label(up, \"a\")'}]")
	if _, errs := rules.NewFormat(false).ParseGroup("g", group); len(errs) == 0 {
		t.Error("taken by default")
	}
	if _, errs := rules.NewFormat(true).ParseGroup("g", group); len(errs) > 0 {
		t.Error(errs)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("groups:\n  - " + strings.ReplaceAll(whole, "\n", "\n    ")))
	f.Add([]byte(`{"rules":[{"record":"a","expr":"1"}]}`))
	f.Add([]byte("groups: [null]"))
	f.Add([]byte("rules: [null, {}]\nlabels: null"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("x: &x {record: a, expr: b}\nrules: [{<<: *x}]"))
	for _, file := range []string{"testdata/lint.yml"} {
		if b, err := os.ReadFile(file); err == nil {
			f.Add(b)
		}
	}
	format := rules.NewFormat(false)
	f.Fuzz(func(t *testing.T, content []byte) {
		_, _ = format.ParseFile(content)
		_, _ = format.ParseFileLoosely(content)
		g, errs := format.ParseGroup("g", content)
		if len(errs) > 0 {
			return
		}
		b, err := format.MarshalGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		again, errs := format.ParseGroup("g", b)
		if len(errs) > 0 {
			t.Fatalf("it does not read what it wrote: %v\n%q\n%q", errs, content, b)
		}
		b2, err := format.MarshalGroup(again)
		if err != nil || string(b2) != string(b) {
			t.Errorf("what it reads of what it wrote is something else: %v\n%q\n%q", err, b, b2)
		}
		rules.Prepare(g, rules.Surroundings{})
	})
}
