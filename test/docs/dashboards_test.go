package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/test/services"
)

// dashboard is what is read of Grafana's model.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ RefID, Expr string }
	}
}

// selectors parses the expression, with Grafana's variables put in, and returns its selectors.
func selectors(t *testing.T, expr string, variables []string) []*parser.VectorSelector {
	t.Helper()
	known := strings.NewReplacer("$__rate_interval", "5m", "$window", "1d").Replace(expr)
	known = regexp.MustCompile(`\$[a-z_]+`).ReplaceAllStringFunc(known, func(v string) string {
		if !slices.Contains(variables, v[1:]) {
			t.Errorf("%s: there is no variable %s", expr, v)
		}
		return ".*"
	})
	e, err := parser.NewParser(parser.Options{}).ParseExpr(known)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	var out []*parser.VectorSelector
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			out = append(out, s)
		}
		return nil
	})
	return out
}

// ofMonitors are the metrics of monitors, each with the labels that may be asked of it.
func ofMonitors() map[string][]string {
	known := map[string][]string{}
	for _, f := range metric.Families() {
		known[f.Name] = []string{"id"}
		if f.Name == metric.InfoName {
			known[f.Name] = []string{"id", "monitor", "project", "schedule", "slug", "tags"}
		}
		for _, s := range f.Series {
			known[f.Name+s.Suffix] = append(known[f.Name+s.Suffix], "id", s.Label)
		}
	}
	return known
}

// ofTheProcess are the metrics of Tokiflow itself. Their labels are not looked at.
func ofTheProcess(t *testing.T) map[string][]string {
	t.Helper()
	known := map[string][]string{}
	for name := range made(t) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			known[name+suffix] = nil
		}
	}
	return known
}

// exists reports what a selector asks for that there is not.
func exists(known map[string][]string, s *parser.VectorSelector) error {
	has, ok := known[s.Name]
	if !ok {
		return fmt.Errorf("there is no metric %q", s.Name)
	}
	for _, m := range s.LabelMatchers {
		if has != nil && m.Name != series.NameLabel && !slices.Contains(has, m.Name) {
			return fmt.Errorf("%s has no label %s", s.Name, m.Name)
		}
	}
	return nil
}

// TestExpressionsOfTheDashboards parses every expression and looks up every metric.
func TestExpressionsOfTheDashboards(t *testing.T) {
	t.Parallel()
	for file, known := range map[string]map[string][]string{"tokiflow-monitors.json": ofMonitors(), "tokiflow-process.json": ofTheProcess(t)} {
		text, err := os.ReadFile(filepath.Join(root, "dashboards", file))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var variables []string
		inQuery := regexp.MustCompile(`^label_values\((.+), [a-z]+\)$`)
		check := func(where, expr string) {
			for _, s := range selectors(t, expr, variables) {
				if err := exists(known, s); err != nil {
					t.Errorf("%s, %s: %s: %v", file, where, expr, err)
				}
			}
		}
		for _, v := range d.Templating.List {
			if m := inQuery.FindStringSubmatch(v.Query); v.Type == "query" && m == nil {
				t.Errorf("%s: variable %s: %s", file, v.Name, v.Query)
			} else if v.Type == "query" {
				check(v.Name, m[1])
			}
			variables = append(variables, v.Name)
		}
		seen := map[int]bool{}
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			if seen[p.ID] || len(p.Targets) == 0 || p.Title == "" {
				t.Errorf("%s: panel %d %q: its id is another's, or it has no title or nothing to show", file, p.ID, p.Title)
			}
			seen[p.ID] = true
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if taken[at] != "" || at[0] >= 24 {
						t.Fatalf("%s: %q lies on %q, or beyond the edge", file, p.Title, taken[at])
					}
					taken[at] = p.Title
				}
			}
			for _, target := range p.Targets {
				check(p.Title, target.Expr)
			}
		}
	}
}

// TestTheCheckOfExpressionsFindsMistakes, else it would be worth nothing.
func TestTheCheckOfExpressionsFindsMistakes(t *testing.T) {
	t.Parallel()
	for expr, right := range map[string]bool{
		`tokiflow_monitor_up{id=~"$monitor"}`:                              true,
		`tokiflow_monitor_run_duration_seconds_bucket{le="1.0"}`:           true,
		`rate(tokiflow_monitor_runs_total{outcome="fail"}[$window])`:       true,
		`tokiflow_monitor_up{project="shop"}`:                              false,
		`tokiflow_monitor_runs{outcome="fail"}`:                            false,
		`sum(tokiflow_monitor_open_runs) / sum(tokiflow_monitors_up)`:      false,
		`tokiflow_monitor_incidents_open * on (id) tokiflow_monitor_inf`:   false,
		`tokiflow_monitor_info{label_team="a"} or tokiflow_monitor_status`: false,
	} {
		found := true
		for _, s := range selectors(t, expr, []string{"monitor"}) {
			found = found && exists(ofMonitors(), s) == nil
		}
		if found != right {
			t.Errorf("%s: right is %v", expr, found)
		}
	}
}

// TestExamplesOfRulesWithPromtool checks and tests the example rules as somebody does who has Prometheus alone. The page
// about rules does the same with tokiflow.
func TestExamplesOfRulesWithPromtool(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(root, "docs", "examples")
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "monitors.rules.yml")},
		{"test", "rules", filepath.Join(dir, "monitors.test.yml")},
	} {
		if said, err := services.Promtool(t, nil, args...); err != nil || !strings.Contains(said, "SUCCESS") {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, said)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "monitors.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\btokiflow_monitor_[a-z_]+`).FindAllString(string(text), -1) {
		if _, ok := ofMonitors()[name]; !ok {
			t.Errorf("monitors.rules.yml: there is no metric %s", name)
		}
	}
}
