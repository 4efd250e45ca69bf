package rules_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/rules"
)

// TestSamplesThatAreBehindMakeNoAlarm: what others have written is taken and not yet stored. A rule that says absent must wait for
// it; one of monitors needs not.
func TestSamplesThatAreBehindMakeNoAlarm(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", "rules: [{alert: Gone, expr: absent(x)}]")
	h.put(h.b, "g", "rules: [{alert: None, expr: absent(tokiflow_monitor_up)}]")
	written, failing := start, error(nil)
	e := h.evaluator(func(o *rules.Options) {
		o.Written = func(context.Context) (time.Time, error) { return written, failing }
	})
	at := start.Add(2 * time.Minute)
	h.until(e, at)
	h.wantSaid(h.a)
	if said := h.said(h.b); len(said) != 1 || !strings.HasPrefix(said[0], "alert.firing") {
		t.Error(said)
	}
	h.again()
	failing = errors.New("the database is away")
	h.until(e, at)
	h.wantSaid(h.a)
	// It is stored, until between two instants: the first of them counts, however far the monitors are.
	h.again()
	due := h.slot(h.a, "g", 0)
	written, failing = due.Add(time.Second), nil
	h.set(h.a, due, `x{i="1"} 0`)
	h.until(e, at)
	h.wantSaid(h.a)
	if s := h.status(h.a); !s.Evaluated.Equal(due) || s.Rules[0].Progress.Health != rule.Good {
		t.Errorf("%+v", s)
	}
}

// again ends every pause.
func (h *house) again() {
	h.t.Helper()
	if _, err := h.pool.Exec(h.ctx, `update rule_groups set claimed_until = null`); err != nil {
		h.t.Fatal(err)
	}
}

// TestAPanicHoldsUpOneGroup: whatever customers write, the process goes on, and so do the others.
func TestAPanicHoldsUpOneGroup(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", "rules: [{alert: A, expr: x}]")
	h.put(h.b, "g", "rules: [{alert: None, expr: absent(x)}]")
	h.asked = func(_ context.Context, org tenant.OrgID, _ string) error {
		if org == h.a {
			panic("hostile")
		}
		return nil
	}
	h.until(h.evaluator(), start.Add(2*time.Minute))
	h.wantSaid(h.a)
	if len(h.said(h.b)) != 1 || !strings.Contains(h.log(), "broke down") {
		t.Error(h.log())
	}
	if s := h.status(h.a); !s.Evaluated.IsZero() {
		t.Errorf("%+v", s)
	}
}
