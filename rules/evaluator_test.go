package rules_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/rules"
)

const downGroup = `{rules: [{record: seen, expr: "count(x)"}, {alert: Down, expr: "x == 0", for: 2m, annotations: {s: "{{ $value }}"}}]}`

// TestAnAlertsLife: pending, firing through a restart, resolved; each said once.
func TestAnAlertsLife(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", downGroup)
	at := func(n int) time.Time { return h.slot(h.a, "g", n) }
	if n := h.until(h.evaluator(), at(0).Add(-time.Millisecond)); n != 0 {
		t.Fatal("it was evaluated before the watermark passed its instant")
	}
	for n, v := range []string{"0", "0", "0", "0", "1", "1"} {
		h.set(h.a, at(n), `x{i="1"} `+v, `x{i="2"} 1`)
		if got := h.until(h.evaluator(), at(n).Add(5*time.Second)); got != 1 { // a new process each time
			t.Fatalf("evaluation %d: %d groups", n, got)
		}
		if got := h.until(h.evaluator(), at(n).Add(6*time.Second)); got != 0 {
			t.Fatalf("evaluation %d was made twice", n)
		}
		s := h.status(h.a)
		if !s.Evaluated.Equal(at(n)) || s.Rules[0].Progress.Health != rule.Good {
			t.Errorf("evaluation %d: %+v", n, s)
		}
		want := []rule.State{rule.Pending, rule.Pending, rule.Firing, rule.Firing, rule.Inactive, rule.Inactive}[n]
		if got := s.Rules[1].Progress.State(); got != want {
			t.Errorf("evaluation %d: %s, want %s", n, got, want)
		}
	}
	fired := at(2).Sub(start).Truncate(time.Minute)
	h.wantSaid(h.a, fmt.Sprintf("alert.firing 1 since %s", fired), fmt.Sprintf("alert.resolved 1 since %s", fired))
	h.wantSaid(h.b)
	var ids int
	if err := h.pool.QueryRow(h.ctx, `select count(distinct incident_id) from outbox`).Scan(&ids); err != nil || ids != 1 {
		t.Errorf("firing and resolved have %d ids, so nothing keeps them in order: %v", ids, err)
	}
	var link string
	if err := h.pool.QueryRow(h.ctx, `select payload #>> '{data,alert,generatorURL}' from outbox limit 1`).Scan(&link); err != nil ||
		link != "https://toki.example/prometheus/api/v1/query?query=x+%3D%3D+0" {
		t.Error(link, err)
	}
	// ALERTS is there to be asked, with each state while it lasted.
	for n, want := range []string{"pending", "pending", "firing", "firing", ""} {
		v, err := h.querier.Query(h.ctx, h.a, "ALERTS", at(n))
		if err != nil || len(v) != min(1, len(want)) || want != "" && v[0].Metric.Get("alertstate") != want {
			t.Errorf("ALERTS at %d: %v, %v; want %s", n, v, err, want)
		}
	}
	for line, n := range h.appended {
		if n != 1 {
			t.Errorf("%s was appended %d times", line, n)
		}
	}
}

func TestInstantsThatWereMissedAreLeftOut(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", downGroup)
	reg := prometheus.NewRegistry()
	e := h.evaluator(func(o *rules.Options) { o.Registerer = reg })
	h.set(h.a, h.slot(h.a, "g", 0), `x{i="1"} 0`)
	h.until(e, h.slot(h.a, "g", 0))
	h.set(h.a, h.slot(h.a, "g", 60), `x{i="1"} 0`)
	h.until(e, h.slot(h.a, "g", 60).Add(time.Second))
	// Nobody knows whether it was down all the hour: what was not seen does not count for "for".
	if s := h.status(h.a); !s.Evaluated.Equal(h.slot(h.a, "g", 60)) || s.Rules[1].Progress.State() != rule.Pending {
		t.Errorf("%+v", s)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP tokiflow_rule_group_evaluations_missed_total Instants of groups that were left out, because the next was due already.
# TYPE tokiflow_rule_group_evaluations_missed_total counter
tokiflow_rule_group_evaluations_missed_total 59
# HELP tokiflow_rule_evaluations_total Evaluations of rules.
# TYPE tokiflow_rule_evaluations_total counter
tokiflow_rule_evaluations_total{kind="alerting"} 2
tokiflow_rule_evaluations_total{kind="recording"} 2
`), "tokiflow_rule_group_evaluations_missed_total", "tokiflow_rule_evaluations_total"); err != nil {
		t.Error(err)
	}
}

// TestACrashBetweenAppendAndCommit: the samples are in the log, the state is not. The evaluation is made again, with the same samples,
// and the change is said once.
func TestACrashBetweenAppendAndCommit(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", strings.Replace(downGroup, "for: 2m", "for: 0s", 1))
	at := h.slot(h.a, "g", 0)
	h.set(h.a, at, `x{i="1"} 0`)
	h.until(h.evaluator(func(o *rules.Options) { o.Store = crashing{h.store} }), at)
	if len(h.appended) != 3 {
		t.Fatalf("%v", h.appended)
	}
	h.wantSaid(h.a)
	if n := h.until(h.evaluator(), at); n != 0 {
		t.Fatal("it was claimed again within its lease")
	}
	if _, err := h.pool.Exec(h.ctx, `update rule_groups set claimed_until = now()`); err != nil { // the lease ends
		t.Fatal(err)
	}
	h.until(h.evaluator(), at)
	for line, n := range h.appended {
		if n != 2 {
			t.Errorf("%s was appended %d times: the second evaluation gave something else", line, n)
		}
	}
	h.wantSaid(h.a, "alert.firing 1 since "+at.Sub(start).Truncate(time.Minute).String())
}

// crashing is a store whose process dies when it is to commit: nothing is stored, and nothing released.
type crashing struct{ *store.Store }

func (crashing) CommitRuleGroup(context.Context, tenant.OrgID, rule.Evaluated) (bool, error) {
	return false, nil
}

// TestTwoEvaluatorsAtOnce: however they race, each change is said once and each instant evaluated once.
func TestTwoEvaluatorsAtOnce(t *testing.T) {
	h := newHouse(t)
	const groups = 12
	for i := range groups {
		h.put(h.a, fmt.Sprint("g", i), strings.Replace(downGroup, `"x == 0"`, fmt.Sprintf(`'x{g="%d"} == 0'`, i), 1))
	}
	for n := range 8 {
		at := start.Add(time.Duration(n+2) * time.Minute)
		for i := range groups {
			v := "0"
			if n > 4 {
				v = "1"
			}
			h.mu.Lock()
			h.set(h.a, at.Add(-time.Minute), fmt.Sprintf(`x{g="%d",i="%d"} %s`, i, i, v))
			h.mu.Unlock()
		}
		h.mu.Lock()
		h.horizon = at
		h.mu.Unlock()
		var wg sync.WaitGroup
		for range 3 {
			e := h.evaluator()
			wg.Go(func() {
				for range 3 {
					if _, err := e.Round(h.ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	kinds := map[string]int{}
	for _, s := range h.said(h.a) {
		kinds[strings.Fields(s)[0]]++
	}
	if kinds[rule.TypeFiring] != groups || kinds[rule.TypeResolved] != groups {
		t.Errorf("said %v", kinds)
	}
	for line, n := range h.appended {
		if n != 1 && !strings.Contains(line, "seen") { // that one is the same series in every group
			t.Errorf("%s was appended %d times", line, n)
		}
	}
}

// TestAnEvaluationThatWasOvertaken: its lease ends, another evaluates, and what it gives is thrown away.
func TestAnEvaluationThatWasOvertaken(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", strings.Replace(downGroup, "for: 2m", "for: 0s", 1))
	at := h.slot(h.a, "g", 0)
	h.set(h.a, at, `x{i="1"} 0`)
	var once sync.Once
	reached, goOn := make(chan struct{}), make(chan struct{})
	h.asked = func(context.Context, tenant.OrgID, string) error {
		hold := false
		once.Do(func() { hold = true })
		if hold {
			close(reached)
			<-goOn
		}
		return nil
	}
	h.horizon = at
	slow := h.evaluator()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = slow.Round(h.ctx)
	}()
	<-reached
	if _, err := h.pool.Exec(h.ctx, `update rule_groups set claimed_until = now()`); err != nil {
		t.Fatal(err)
	}
	h.until(h.evaluator(), at)
	close(goOn)
	<-done
	h.wantSaid(h.a, "alert.firing 1 since "+at.Sub(start).Truncate(time.Minute).String())
	if !strings.Contains(h.log(), "was overtaken") {
		t.Error("the log does not say that an evaluation was overtaken")
	}
	// So is one whose group is changed meanwhile: it is made again with what is now in force.
	once, reached, goOn = sync.Once{}, make(chan struct{}), make(chan struct{})
	h.horizon = h.slot(h.a, "g", 1)
	h.set(h.a, h.horizon, `x{i="1"} 0`, `x{i="2"} 0`)
	done = make(chan struct{})
	go func() {
		defer close(done)
		_, _ = slow.Round(h.ctx)
	}()
	<-reached
	h.put(h.a, "g", `{rules: [{alert: Down, expr: "x{i=\"1\"} == 0"}]}`)
	close(goOn)
	<-done
	h.until(slow, h.horizon)
	if n := len(h.said(h.a)); n != 1 {
		t.Errorf("%d messages: the old rules spoke", n)
	}
	if s := h.status(h.a); !s.Evaluated.Equal(h.horizon) || len(s.Rules) != 1 || s.Rules[0].Progress.State() != rule.Firing {
		t.Errorf("%+v", s)
	}
}

func TestADeletedGroupEndsItsAlerts(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", strings.Replace(downGroup, "for: 2m", "for: 0s", 1))
	h.set(h.a, h.slot(h.a, "g", 0), `x{i="1"} 0`)
	e := h.evaluator()
	h.until(e, h.slot(h.a, "g", 0))
	if err := h.store.DeleteRuleGroup(h.ctx, h.a, "g"); err != nil {
		t.Fatal(err)
	}
	if all, err := h.store.RuleGroups(h.ctx, h.a); err != nil || len(all) != 0 {
		t.Errorf("a deleted group is shown: %v %v", all, err)
	}
	h.until(e, h.slot(h.a, "g", 1))
	since := h.slot(h.a, "g", 0).Sub(start).Truncate(time.Minute).String()
	h.wantSaid(h.a, "alert.firing 1 since "+since, "alert.resolved 1 since "+since)
	if v, err := h.querier.Query(h.ctx, h.a, `{__name__=~"ALERTS.*|seen"}`, h.slot(h.a, "g", 1)); err != nil || len(v) != 0 {
		t.Errorf("series go on: %v %v", v, err)
	}
	var rows int
	if err := h.pool.QueryRow(h.ctx, `select count(*) from rule_groups`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows are left: %v", rows, err)
	}
}

func TestEvaluationStaysInItsOrganisation(t *testing.T) {
	h := newHouse(t)
	for _, o := range []tenant.OrgID{h.a, h.b} {
		h.put(o, "g", `{rules: [{record: r, expr: "sum({__name__=~\".+\"})"}, {alert: A, expr: "r > 0", annotations: {all: '{{ range query "{__name__=~\".+\"}" }}{{ .Labels.secret }}{{ end }}'}}]}`)
	}
	h.set(h.a, h.slot(h.a, "g", 0), `x{secret="of-a"} 7`)
	h.set(h.b, h.slot(h.b, "g", 0), `x{secret="of-b"} 11`)
	h.until(h.evaluator(), start.Add(2*time.Minute))
	for o, want := range map[tenant.OrgID]string{h.a: "7 of-a", h.b: "11 of-b"} {
		p := h.status(o).Rules[1].Progress
		if len(p.Alerts) != 1 || fmt.Sprint(float64(p.Alerts[0].Value), " ", p.Alerts[0].Annotations[0].Value) != want {
			t.Errorf("%+v, want %s", p.Alerts, want)
		}
	}
	if n := len(h.said(h.a)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestALogThatIsDownDelaysNoAlert(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", strings.Replace(downGroup, "for: 2m", "for: 0s", 1))
	h.set(h.a, h.slot(h.a, "g", 0), `x{i="1"} 0`)
	h.failing = errors.New("the log is down")
	e := h.evaluator()
	h.until(e, h.slot(h.a, "g", 0))
	if n := len(h.said(h.a)); n != 1 {
		t.Errorf("%d messages", n)
	}
	for _, r := range h.status(h.a).Rules {
		if r.Progress.Health != rule.Bad || !strings.Contains(r.Progress.LastError, "the log is down") {
			t.Errorf("%+v", r.Progress)
		}
	}
	h.failing = nil
	h.set(h.a, h.slot(h.a, "g", 1), `x{i="1"} 0`)
	h.until(e, h.slot(h.a, "g", 1))
	if s := h.status(h.a); s.Rules[0].Progress.Health != rule.Good || s.Rules[0].Progress.LastError != "" {
		t.Errorf("%+v", s.Rules[0])
	}
}

// TestRun is the loop itself: it evaluates as the watermark moves, ends with its context, and leaves no lease behind.
func TestRun(t *testing.T) {
	h := newHouse(t)
	for i := range 10 {
		h.put(h.a, fmt.Sprint("g", i), strings.Replace(downGroup, "for: 2m", "for: 0s", 1))
	}
	h.mu.Lock()
	h.set(h.a, start.Add(time.Minute), `x{i="1"} 0`)
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(h.ctx)
	var wg sync.WaitGroup
	for range 2 {
		e := h.evaluator()
		wg.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	h.mu.Lock()
	h.horizon = start.Add(2 * time.Minute)
	h.mu.Unlock()
	for {
		var n int
		if err := h.pool.QueryRow(h.ctx, `select count(*) from rule_groups where evaluations = 1`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 10 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Held up in an evaluation when the end comes.
	entered := make(chan struct{}, 100)
	h.mu.Lock()
	h.asked = func(ctx context.Context, _ tenant.OrgID, _ string) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	h.horizon = start.Add(3 * time.Minute)
	h.mu.Unlock()
	<-entered
	cancel()
	wg.Wait()
	var held int
	if err := h.pool.QueryRow(h.ctx, `select count(*) from rule_groups where claimed_until > now()`).Scan(&held); err != nil || held != 0 {
		t.Errorf("%d leases are left behind: %v", held, err)
	}
}

func TestNothingIsKnownYet(t *testing.T) {
	h := newHouse(t)
	h.put(h.a, "g", downGroup)
	if n := h.until(h.evaluator(), time.Time{}); n != 0 {
		t.Error("evaluated without a watermark")
	}
	if _, err := rules.New(rules.Options{}); err == nil {
		t.Error("options without a store were taken")
	}
	if _, err := rules.New(rules.Options{Store: h.store, Querier: h, Samples: h, Horizon: h.Horizon, Logger: slog.New(slog.DiscardHandler), Timeout: -1}); err == nil {
		t.Error("a negative time was taken")
	}
}
