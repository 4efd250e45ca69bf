package rules

import (
	"testing"

	"github.com/tokiflow/tokiflow/core/rule"
)

func TestAsksForWritten(t *testing.T) {
	for expr, want := range map[string]bool{
		"tokiflow_monitor_up == 0": false,
		`sum by (id) (rate(tokiflow_monitor_runs_total{outcome="fail"}[5m]))`: false,
		"tokiflow_monitor_up * on (id) group_left tokiflow_monitor_info":      false,
		"vector(1)":                         false,
		"up":                                true,
		`{__name__=~"tokiflow_.*"}`:         true,
		`{id="x"}`:                          true,
		"tokiflow_monitor_up or on() up":    true,
		"tokiflow_monitor_up:sum":           true,
		`absent({__name__!="tokiflow_up"})`: true,
		"(":                                 true,
	} {
		if got := asksForWritten(rule.Group{Rules: []rule.Definition{{Record: "r", Expr: expr}}}); got != want {
			t.Errorf("%s: %v", expr, got)
		}
	}
	d := rule.Definition{Alert: "A", Expr: "tokiflow_monitor_up", Annotations: map[string]string{"a": `{{ query "up" }}`}}
	if !asksForWritten(rule.Group{Rules: []rule.Definition{d}}) {
		t.Error("a template that asks was passed over")
	}
}
