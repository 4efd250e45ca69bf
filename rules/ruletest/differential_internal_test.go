package ruletest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// TestTheSameAsPromtool makes rules and input at random, evaluates them for 40 minutes, and has promtool confirm every alert that
// fired at every minute, and every sample of ALERTS, ALERTS_FOR_STATE and the recorded series; or that a rule failed.
func TestTheSameAsPromtool(t *testing.T) {
	t.Parallel()
	promtool := os.Getenv("TOKIFLOW_TEST_PROMTOOL")
	if promtool == "" {
		var err error
		if promtool, err = exec.LookPath("promtool"); err != nil {
			t.Skip("SKIPPED: promtool is not there (TOKIFLOW_TEST_PROMTOOL), so nothing was compared to it")
		}
	}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := scenario{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 7))}
			s.write("rules.yml", map[string]any{"groups": s.groups()})
			failed := s.predict()
			out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", filepath.Join(s.dir, "test.yml")).CombinedOutput()
			if (err != nil) != failed {
				t.Errorf("a rule failed here: %v; promtool: %v\n%.3000s", failed, err, out)
			}
			if r := File(t.Context(), filepath.Join(s.dir, "test.yml"), Options{}); (len(r.Errors) > 0) != failed {
				t.Error(r.Errors)
			}
		})
	}
}

type scenario struct {
	t       *testing.T
	dir     string
	random  *rand.Rand
	alerts  []string
	records []string
}

func (s *scenario) one(of ...string) string { return of[s.random.IntN(len(of))] }

func (s *scenario) chance(p float64) bool { return s.random.Float64() < p }

func (s *scenario) write(name string, v any) {
	s.t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, name), b, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scenario) groups() []any {
	var groups []any
	for g := range 1 + s.random.IntN(3) {
		group := map[string]any{"name": fmt.Sprint("g", g)}
		if s.chance(0.3) {
			group["labels"] = map[string]string{"team": "t"}
		}
		if s.chance(0.2) {
			group["query_offset"] = "1m"
		}
		var list []any
		for r := range 1 + s.random.IntN(4) {
			if s.chance(0.35) {
				list = append(list, s.recording(g, r))
			} else {
				list = append(list, s.alerting(g, r))
			}
		}
		group["rules"] = list
		groups = append(groups, group)
	}
	return groups
}

func (s *scenario) recording(g, r int) any {
	name := fmt.Sprintf("rec%d%d", g, r)
	s.records = append(s.records, name)
	return map[string]any{
		"record": name,
		"expr":   s.one("x", "sum by (i)(x)", "count(x)", "x > 1", "-x", fmt.Sprintf("rec%d%d + 1", g, max(r-1, 0)), "max_over_time(x[3m])"),
		"labels": map[string]string{s.one("a", "b"): s.one("1", "")},
	}
}

func (s *scenario) alerting(g, r int) any {
	name := fmt.Sprintf("%s%d%d", s.one("A", "B"), g, r)
	s.alerts = append(s.alerts, name)
	out := map[string]any{
		"alert": name,
		"expr":  s.one("x > 1", "x == 1", "absent(x)", "sum by (i)(x) > 0", fmt.Sprintf("rec%d0 > 1", g), "changes(x[5m]) > 1", "x"),
		"for":   s.one("0s", "1m", "2m", "5m", "10m"),
	}
	if s.chance(0.5) {
		out["keep_firing_for"] = s.one("1m", "3m", "10m")
	}
	if s.chance(0.6) {
		out["labels"] = map[string]string{
			"sev": `{{ if gt $value 2.0 }}page{{ else }}warn{{ end }}`, s.one("t", "gone"): s.one("x", "{{ $labels.nope }}", "{{ $value }}"),
		}
	}
	if s.chance(0.5) {
		out["annotations"] = map[string]string{"s": `{{ $labels.i }} is {{ $value | humanize }} of {{ with query "x" }}{{ len . }}{{ end }}`}
	}
	return out
}

func (s *scenario) input() []inputSeries {
	var out []inputSeries
	for i := range 1 + s.random.IntN(4) {
		var values []string
		for len(values) < 40 {
			values = append(values, slices.Repeat([]string{s.one("0", "1", "1", "2", "3", "_", "stale")}, 1+s.random.IntN(4))...)
		}
		out = append(out, inputSeries{Series: fmt.Sprintf(`x{i="%d"}`, i), Values: strings.Join(values[:40], " ")})
	}
	return out
}

// predict writes test.yml, which expects all that our evaluation gives, and reports whether a rule failed.
func (s *scenario) predict() (failed bool) {
	s.t.Helper()
	const minutes = 40
	in := test{Interval: 60e9, InputSeries: s.input()}
	groups, errs := load([]string{filepath.Join(s.dir, "rules.yml")}, Options{})
	if len(errs) > 0 {
		s.t.Fatal(errs)
	}
	b := newBench(&in, groups, map[string]int{}, time.Minute, false, parser.NewParser(parser.Options{}))
	if err := b.read(); err != nil {
		s.t.Fatal(err)
	}
	exprs := []any{map[string]any{"expr": "1", "eval_time": fmt.Sprint(minutes, "m"), "exp_samples": []any{map[string]any{"labels": "{}", "value": 1}}}}
	var alerts []any
	for m := range minutes + 1 {
		at := b.from.Add(time.Duration(m) * time.Minute)
		if err := b.feed(at); err != nil {
			s.t.Fatal(err)
		}
		if errs := b.evaluate(s.t.Context(), at); len(errs) > 0 {
			failed, alerts = true, nil
			break
		}
		for _, name := range s.alerts {
			alerts = append(alerts, map[string]any{"eval_time": fmt.Sprint(m, "m"), "alertname": name, "exp_alerts": s.firing(b, name)})
		}
	}
	for m := range minutes + 1 {
		for _, expr := range append([]string{"ALERTS", "ALERTS_FOR_STATE"}, s.records...) {
			if !failed {
				exprs = append(exprs, map[string]any{"expr": expr, "eval_time": fmt.Sprint(m, "m"), "exp_samples": s.samples(b, expr, m)})
			}
		}
	}
	var series []any
	for _, i := range in.InputSeries {
		series = append(series, map[string]string{"series": i.Series, "values": i.Values})
	}
	s.write("test.yml", map[string]any{"rule_files": []string{"rules.yml"}, "tests": []any{
		map[string]any{"interval": "1m", "input_series": series, "alert_rule_test": alerts, "promql_expr_test": exprs},
	}})
	return failed
}

func (s *scenario) firing(b *bench, name string) []any {
	out := []any{}
	for _, progress := range b.progress {
		for _, p := range progress {
			for _, a := range p.Alerts {
				if p.Kind == rule.Alerting && p.Name == name && a.State == rule.Firing {
					out = append(out, map[string]any{"exp_labels": toLabels(a.Labels).Map(), "exp_annotations": toLabels(a.Annotations).Map()})
				}
			}
		}
	}
	return out
}

func (s *scenario) samples(b *bench, expr string, minute int) []any {
	s.t.Helper()
	v, err := b.querier.Query(s.t.Context(), tenant.OrgID{}, expr, b.from.Add(time.Duration(minute)*time.Minute))
	if err != nil {
		s.t.Fatal(err)
	}
	out := []any{}
	for _, one := range v {
		out = append(out, map[string]any{"labels": one.Metric.String(), "value": one.F})
	}
	return out
}
