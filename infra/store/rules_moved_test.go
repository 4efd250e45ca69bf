package store_test

import (
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
)

// alertStep stores an evaluation of the group after which its rule's alert is in that state, and says so.
func (s *bundle) alertStep(o owner, group string, from, to rule.State) {
	s.t.Helper()
	labels := []series.Label{{Name: "alertname", Value: "A"}, {Name: "x", Value: "ü"}}
	a := rule.Alert{State: to, Labels: labels, ActiveAt: ruleNow, FiredAt: ruleNow}
	m, _ := rule.MessageOf(rule.Change{Alert: a, From: from, To: to, FiredAt: ruleNow}, ruleNow, "")
	for _, c := range s.claimRules(ruleNow.Add(time.Hour)) {
		if c.Group.Name != group || c.Org != o.org {
			s.must(s.store.ReleaseRuleGroup(s.ctx, c.Org, c, 0))
			continue
		}
		stored, err := s.store.CommitRuleGroup(s.ctx, o.org, rule.Evaluated{
			Claim: c, At: c.Due, Next: c.Due, GroupIsGone: c.Deleted,
			Progress:   []rule.Progress{{Kind: rule.Alerting, Name: "A", Alerts: []rule.Alert{a}}},
			MustBeSaid: []rule.Said{{ID: rule.ID(o.org, labels), Labels: labels, Message: m}},
		})
		if !stored || err != nil {
			s.t.Fatal(stored, err)
		}
	}
}

// TestAnAlertThatFiresElsewhereIsNotOver: a group gets another name while its alert fires. The new one fires first, then the old one
// ends; the last that is said must be what is so.
func TestAnAlertThatFiresElsewhereIsNotOver(t *testing.T) {
	s := newBundle(t)
	resolved := func(want int) {
		t.Helper()
		if n := s.count(`select count(*) from outbox where type = 'alert.resolved'`); n != want {
			t.Errorf("%d times said to be over, want %d", n, want)
		}
	}
	s.putRules(s.a, groupOf("old", "x"))
	s.putRules(s.b, groupOf("theirs", "x"))
	s.exec(`insert into rule_groups (org_id, name, definition, next_eval_at, progress) values ($1, 'broken', '{}', 'infinity', '{"a": 1}')`, s.a.org)
	s.alertStep(s.a, "old", rule.Pending, rule.Firing)
	s.alertStep(s.b, "theirs", rule.Pending, rule.Firing)
	s.putRules(s.a, groupOf("new", "x"))
	s.must(s.store.DeleteRuleGroup(s.ctx, s.a.org, "old"))
	s.alertStep(s.a, "new", rule.Pending, rule.Firing)
	s.alertStep(s.a, "old", rule.Firing, rule.Inactive)
	resolved(0)
	s.alertStep(s.b, "theirs", rule.Firing, rule.Inactive) // another organisation's alert of the same labels is another
	resolved(1)
	s.alertStep(s.a, "new", rule.Firing, rule.Inactive)
	resolved(2)
}
