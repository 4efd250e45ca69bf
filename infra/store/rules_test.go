package store_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/store"
)

var ruleNow = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func groupOf(name, expr string) rule.Group {
	offset := time.Duration(0)
	return rule.Group{
		Name: name, QueryOffset: &offset, Labels: map[string]string{"a": "ü"},
		Rules: []rule.Definition{{Alert: "A", Expr: expr, For: time.Minute, Annotations: map[string]string{"s": "{{ $value }}"}}, {Record: "r", Expr: expr}},
	}
}

func (s *bundle) putRules(o owner, g rule.Group) bool {
	s.t.Helper()
	created, err := s.store.PutRuleGroup(s.ctx, o.org, g, ruleNow)
	s.must(err)
	return created
}

func (s *bundle) claimRules(horizon time.Time) []rule.Claim {
	s.t.Helper()
	c, err := s.store.ClaimRuleGroups(s.ctx, horizon, 100, time.Minute)
	s.must(err)
	return c
}

func (s *bundle) claimOne(horizon time.Time) rule.Claim {
	s.t.Helper()
	c := s.claimRules(horizon)
	if len(c) != 1 {
		s.t.Fatalf("%d claims", len(c))
	}
	return c[0]
}

func TestRuleGroupsAreKept(t *testing.T) {
	s := newBundle(t)
	g := groupOf("b", "x > 1")
	if !s.putRules(s.a, g) || s.putRules(s.a, g) || !s.putRules(s.a, groupOf("a", "y")) || !s.putRules(s.b, groupOf("b", "theirs")) {
		t.Error("created is told wrongly")
	}
	if n := s.count(`select count(*) from rule_groups where revision = 1`); n != 3 {
		t.Errorf("a group that stays the same was touched: %d", n)
	}
	got, err := s.store.RuleDefinition(s.ctx, s.a.org, "b")
	if diff := cmp.Diff(g, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	all, err := s.store.RuleDefinitions(s.ctx, s.a.org)
	if err != nil || len(all) != 2 || all[0].Name != "a" {
		t.Errorf("%v %v", all, err)
	}
	status, err := s.store.RuleGroups(s.ctx, s.a.org)
	if err != nil || len(status) != 2 || status[1].Rules[0].Progress.Health != rule.Unknown || !status[1].Evaluated.IsZero() {
		t.Errorf("%+v %v", status, err)
	}
	for _, name := range []string{"none", ""} {
		if _, err := s.store.RuleDefinition(s.ctx, s.a.org, name); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		if err := s.store.DeleteRuleGroup(s.ctx, s.a.org, name); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	}
	if err := s.store.DeleteRuleGroup(s.ctx, s.b.org, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Error("another's group was deleted", err)
	}
	s.must(s.store.DeleteRuleGroup(s.ctx, s.a.org, "b"))
	if _, err := s.store.RuleDefinition(s.ctx, s.a.org, "b"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if !s.putRules(s.a, g) {
		t.Error("a group that comes back is not new")
	}
	if got, err := s.store.RuleDefinition(s.ctx, s.b.org, "b"); err != nil || got.Rules[0].Expr != "theirs" {
		t.Error(got, err)
	}
}

func TestAnOrganisationHasSoManyRuleGroups(t *testing.T) {
	s := newBundle(t)
	s.exec(`insert into rule_groups (org_id, name, definition, next_eval_at) select $1, i::text, '{}', now() from generate_series(1, 1000) as i`, s.a.org)
	if _, err := s.store.PutRuleGroup(s.ctx, s.a.org, groupOf("one", "x"), ruleNow); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "1000") {
		t.Error(err)
	}
	s.putRules(s.a, groupOf("7", "x"))
	s.putRules(s.b, groupOf("one", "x"))
}

func TestWhenAGroupIsDue(t *testing.T) {
	s := newBundle(t)
	g := groupOf("g", "x")
	s.putRules(s.a, g)
	first := rule.NextSlot(s.a.org, "g", time.Minute, ruleNow)
	if c := s.claimRules(first.Add(-time.Millisecond)); len(c) != 0 {
		t.Fatal("claimed before its time")
	}
	c := s.claimOne(first)
	if !c.Due.Equal(first) || c.Org != s.a.org || c.Revision != 1 || c.Evaluations != 0 || len(c.Progress) != 0 || cmp.Diff(g, c.Group) != "" {
		t.Errorf("%+v", c)
	}
	if c := s.claimRules(first.Add(time.Hour)); len(c) != 0 {
		t.Fatal("claimed twice")
	}
	s.must(s.store.ReleaseRuleGroup(s.ctx, s.b.org, c, 0))
	if c := s.claimRules(first); len(c) != 0 {
		t.Fatal("another organisation released it")
	}
	s.must(s.store.ReleaseRuleGroup(s.ctx, s.a.org, c, 0))
	c = s.claimOne(first)
	s.must(s.store.ReleaseRuleGroup(s.ctx, s.a.org, c, time.Hour))
	if c := s.claimRules(first); len(c) != 0 {
		t.Fatal("claimed before the pause is over")
	}
	// A changed expression does not move the instants, another interval does, and both end the pause.
	g.Rules[0].Expr = "y"
	s.putRules(s.a, g)
	if c = s.claimOne(first); !c.Due.Equal(first) || c.Revision != 2 {
		t.Errorf("%+v", c)
	}
	g.Interval = time.Hour
	s.putRules(s.a, g)
	hourly := rule.NextSlot(s.a.org, "g", time.Hour, ruleNow)
	if c = s.claimOne(hourly); !c.Due.Equal(hourly) {
		t.Errorf("due %s, want %s", c.Due, hourly)
	}
}

func TestAnEvaluationIsStoredAsAWhole(t *testing.T) {
	s := newBundle(t)
	s.putRules(s.a, groupOf("g", "x"))
	horizon := ruleNow.Add(time.Hour)
	c := s.claimOne(horizon)
	labels := []series.Label{{Name: "alertname", Value: "A"}, {Name: "x", Value: "ü\"\\"}}
	e := rule.Evaluated{
		Claim: c, At: c.Due, Took: 250 * time.Millisecond, Next: c.Due.Add(time.Minute), Missed: 3,
		Progress: []rule.Progress{
			{Kind: rule.Alerting, Name: "A", Labels: []series.Label{{Name: "a", Value: "ü"}}, Health: rule.Good, Evaluated: ruleNow, Alerts: []rule.Alert{
				{State: rule.Firing, Labels: labels, Value: rule.Value(math.Inf(-1)), ActiveAt: ruleNow, FiredAt: ruleNow},
			}},
			{Kind: rule.Recording, Name: "r", Labels: []series.Label{{Name: "a", Value: "ü"}}, Health: rule.Bad, LastError: "e", Series: [][]series.Label{labels, {{Name: "__name__", Value: "r"}}}},
		},
	}
	for i := range 3 {
		m, ok := rule.MessageOf(rule.Change{Alert: e.Progress[0].Alerts[0], From: rule.Pending, To: rule.Firing, FiredAt: ruleNow}, ruleNow, fmt.Sprint(i))
		if !ok {
			t.Fatal("nothing to say")
		}
		e.MustBeSaid = append(e.MustBeSaid, rule.Said{ID: rule.ID(s.a.org, labels), Message: m})
	}
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.b.org, e); stored || err != nil {
		t.Error("one organisation's evaluation was stored as another's", err)
	}
	stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e)
	if !stored || err != nil {
		t.Fatal(stored, err)
	}
	if again, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e); again || err != nil {
		t.Error("stored twice", err)
	}
	if n := s.count(`select count(*) from outbox where org_id = $1 and type = 'alert.firing' and incident_id = $2`, s.a.org, rule.ID(s.a.org, labels)); n != 3 {
		t.Errorf("%d messages", n)
	}
	if n := s.count(`select count(*) from (select payload #>> '{data,alert,generatorURL}' <> (row_number() over (order by id) - 1)::text as wrong from outbox) as o where wrong`); n != 0 {
		t.Error("the messages are not in order")
	}
	next := s.claimRules(horizon)
	if len(next) != 1 || next[0].Evaluations != 1 || !next[0].Due.Equal(c.Due.Add(time.Minute)) {
		t.Fatalf("%+v", next)
	}
	if diff := cmp.Diff(e.Progress, next[0].Progress); diff != "" {
		t.Error(diff)
	}
	status, err := s.store.RuleGroups(s.ctx, s.a.org)
	if err != nil || !status[0].Evaluated.Equal(c.Due) || status[0].Took != e.Took || status[0].Rules[1].Progress.LastError != "e" {
		t.Errorf("%+v %v", status, err)
	}
	// The same series are not written again.
	before := s.count(`select pg_column_size(series) from rule_groups where org_id = $1`, s.a.org)
	e2 := rule.Evaluated{Claim: next[0], At: next[0].Due, Next: next[0].Due.Add(time.Minute), Progress: next[0].Progress, SameSeries: true}
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e2); !stored || err != nil {
		t.Fatal(err)
	}
	third := s.claimOne(horizon)
	if diff := cmp.Diff(e.Progress, third.Progress); diff != "" || before == 0 {
		t.Error(diff)
	}
	if n := s.count(`select missed from rule_groups where org_id = $1`, s.a.org); n != 3 {
		t.Errorf("missed %d", n)
	}
}

func TestAChangeOvertakesAnEvaluation(t *testing.T) {
	s := newBundle(t)
	g := groupOf("g", "x")
	s.putRules(s.a, g)
	horizon := ruleNow.Add(time.Hour)
	c := s.claimOne(horizon)
	g.Rules[0].Expr = "y"
	s.putRules(s.a, g)
	e := rule.Evaluated{Claim: c, At: c.Due, Next: horizon, MustBeSaid: []rule.Said{{ID: uuid.New()}}}
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e); stored || err != nil {
		t.Error("an evaluation of the old rules was stored", err)
	}
	c = s.claimOne(horizon)
	s.must(s.store.DeleteRuleGroup(s.ctx, s.a.org, "g"))
	e.Claim = c
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e); stored || err != nil {
		t.Error("an evaluation of a deleted group was stored", err)
	}
	c = s.claimOne(horizon)
	if !c.Deleted {
		t.Errorf("%+v", c)
	}
	// It comes back while its last evaluation is under way.
	s.putRules(s.a, g)
	e.Claim, e.GroupIsGone = c, true
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e); stored || err != nil {
		t.Error("a group that came back was removed", err)
	}
	s.must(s.store.DeleteRuleGroup(s.ctx, s.a.org, "g"))
	e.Claim = s.claimOne(horizon)
	if stored, err := s.store.CommitRuleGroup(s.ctx, s.a.org, e); !stored || err != nil {
		t.Error(stored, err)
	}
	if n := s.count(`select count(*) from rule_groups`); n != 0 {
		t.Error("a deleted group is still there")
	}
	if n := s.count(`select count(*) from outbox`); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestManyClaimAtOnce(t *testing.T) {
	s := newBundle(t)
	for i := range 50 {
		s.putRules(s.a, groupOf(fmt.Sprint(i), "x"))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				claims, err := s.store.ClaimRuleGroups(s.ctx, ruleNow.Add(time.Hour), 3, time.Minute)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, c := range claims {
					seen[c.Group.Name]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, c := range s.claimRules(ruleNow.Add(time.Hour)) {
		seen[c.Group.Name]++
	}
	if len(seen) != 50 {
		t.Errorf("%d groups were claimed", len(seen))
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was claimed %d times", name, n)
		}
	}
}

func TestAGroupThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	s := newBundle(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		s.putRules(s.a, groupOf(name, "x"))
	}
	s.exec(`update rule_groups set definition = '[]' where name = 'a'`)
	s.exec(`update rule_groups set progress = '{}' where name = 'b'`)
	s.exec(`update rule_groups set series = 'x' where name = 'c'`)
	claims, err := s.store.ClaimRuleGroups(s.ctx, ruleNow.Add(time.Hour), 100, time.Minute)
	if len(claims) != 1 || claims[0].Group.Name != "d" {
		t.Errorf("%+v", claims)
	}
	if err == nil || strings.Count(err.Error(), s.a.org.String()) != 3 {
		t.Error(err)
	}
}

// TestOrganisationsTakeTurns: whoever has many groups due holds up nobody who has one, also while some of them are under way.
func TestOrganisationsTakeTurns(t *testing.T) {
	s := newBundle(t)
	for i := range 30 {
		s.putRules(s.a, groupOf(fmt.Sprint(i), "x"))
	}
	s.putRules(s.b, groupOf("only", "x"))
	s.exec(`update rule_groups set next_eval_at = $1`, ruleNow)
	s.exec(`update rule_groups set next_eval_at = $1 where name = 'only'`, ruleNow.Add(time.Minute)) // due, but last
	horizon := ruleNow.Add(time.Hour)
	first, err := s.store.ClaimRuleGroups(s.ctx, horizon, 2, time.Minute)
	if err != nil || len(first) != 2 || first[0].Org == first[1].Org {
		t.Fatalf("%v %v", first, err)
	}
	for _, c := range first {
		if c.Org == s.b.org {
			s.must(s.store.ReleaseRuleGroup(s.ctx, c.Org, c, 0))
		}
	}
	for range 5 {
		c, err := s.store.ClaimRuleGroups(s.ctx, horizon, 1, time.Minute)
		if err != nil || len(c) != 1 || c[0].Org != s.b.org {
			t.Fatalf("%v %v", c, err)
		}
		s.must(s.store.ReleaseRuleGroup(s.ctx, c[0].Org, c[0], 0))
	}
}
