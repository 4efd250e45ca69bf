package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/rules"
)

// TestAGroupIsBounded: what all rules of a group give is in memory at once, however many there are of them.
func TestAGroupIsBounded(t *testing.T) {
	t.Parallel()
	w, org := newWorld(t), tenant.OrgID{UUID: uuid.New()}
	w.set(org, start, `x{i="1"} 1`, `x{i="2"} 1`)
	g := rule.Group{Name: "g"}
	for i := range 12 {
		g.Rules = append(g.Rules, rule.Definition{Record: fmt.Sprint("r", i), Expr: "x"}, rule.Definition{Alert: fmt.Sprint("A", i), Expr: "x"})
	}
	out := rules.Prepare(g, rules.Surroundings{MaxResults: 2}).Evaluate(t.Context(), w.ask(org), time.Now, nil, start)
	for i, err := range out.Errors {
		if (err != nil) != (i >= 10) || err != nil && !strings.Contains(err.Error(), "limit of 20 of all rules") {
			t.Errorf("rule %d: %v", i, err)
		}
	}
	// 24 alerts of 1 MiB each: 16 at most.
	big := map[string]string{}
	for i := range 16 {
		big[fmt.Sprint("a", i)] = strings.Repeat("x", 64<<10)
	}
	g.Rules = nil
	for i := range 12 {
		g.Rules = append(g.Rules, rule.Definition{Alert: fmt.Sprint("A", i), Expr: "x", Annotations: big})
	}
	out = rules.Prepare(g, rules.Surroundings{}).Evaluate(t.Context(), w.ask(org), time.Now, nil, start)
	failed := 0
	for _, err := range out.Errors {
		if err != nil {
			failed++
		}
	}
	if failed < 4 || failed > 5 {
		t.Errorf("%d of 12 rules failed", failed)
	}
}
