package rules

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
)

// asksForWritten reports whether the group may ask for other series than those of monitors: an expression whose selectors do not all
// name one of these does, and so may a template that asks anything.
func asksForWritten(g rule.Group) bool {
	computed := map[string]bool{metric.InfoName: true}
	for _, f := range metric.Families() {
		computed[f.Name] = true
		for _, s := range f.Series {
			computed[f.Name+s.Suffix] = true
		}
	}
	p := newParser(true)
	for _, r := range g.Rules {
		for _, text := range valuesOf(g.Labels, r.Labels, r.Annotations) {
			if strings.Contains(text, "{{") && strings.Contains(text, "query") {
				return true
			}
		}
		expr, err := p.ParseExpr(r.Expr)
		if err != nil {
			return true
		}
		for _, selectors := range parser.ExtractSelectors(expr) {
			if !namesOne(selectors, computed) {
				return true
			}
		}
	}
	return false
}

// namesOne reports whether the selector lets only series of one of these names pass.
func namesOne(selector []*labels.Matcher, names map[string]bool) bool {
	for _, m := range selector {
		if m.Name == series.NameLabel && m.Type == labels.MatchEqual && names[m.Value] {
			return true
		}
	}
	return false
}
