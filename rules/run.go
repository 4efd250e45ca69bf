package rules

import (
	"context"
	"errors"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Run evaluates groups as they become due until ctx ends, and returns nil. Evaluations under way are given up then, and done again by
// whoever claims them next. A database that does not answer is waited for.
func (e *Evaluator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	failures := 0
	for {
		free := e.takeSlots(ctx)
		if free == 0 {
			return nil
		}
		claims, horizon, err := e.claim(ctx, free)
		e.giveSlots(free - len(claims))
		for _, c := range claims {
			wg.Go(func() {
				defer e.giveSlots(1)
				e.guarded(ctx, c, horizon)
			})
		}
		switch {
		case err != nil && ctx.Err() == nil:
			failures++
			if failures == 1 {
				e.log.WarnContext(ctx, "rules cannot be evaluated now; trying on", "error", err)
			}
			pause(ctx, min(e.o.PollInterval<<min(failures, 6), longestPause))
		case len(claims) < free:
			failures = 0
			pause(ctx, e.o.PollInterval)
		default:
			failures = 0
		}
	}
}

// takeSlots waits for a slot and takes all that are free. It returns 0 when ctx has ended.
func (e *Evaluator) takeSlots(ctx context.Context) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case <-ctx.Done():
		return 0
	case <-e.slots:
	}
	for n := 1; ; n++ {
		select {
		case <-e.slots:
		default:
			return n
		}
	}
}

func (e *Evaluator) giveSlots(n int) {
	for range n {
		e.slots <- struct{}{}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (e *Evaluator) claim(ctx context.Context, limit int) ([]rule.Claim, time.Time, error) {
	horizon, err := e.o.Horizon(ctx)
	if err != nil || horizon.IsZero() {
		return nil, horizon, err
	}
	// Not cut short by the end of ctx: a claim that was made but not heard of would only end with its lease.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	claims, err := e.o.Store.ClaimRuleGroups(ctx, horizon, limit, e.o.Timeout+leaseMargin)
	return claims, horizon, err
}

// guarded is evaluate. What customers write runs in it: should it ever panic, their group stands still, and nobody else's.
func (e *Evaluator) guarded(ctx context.Context, c rule.Claim, horizon time.Time) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "the evaluation of a rule group broke down; it is done again", "org", c.Org, "group", c.Group.Name,
				"panic", p, "stack", string(debug.Stack()))
			e.release(ctx, c, longestPause)
		}
	}()
	e.evaluate(ctx, c, horizon)
}

// stored is the horizon of a group: that of what others have written, where it asks for that. false: not yet its instant.
func (e *Evaluator) stored(ctx context.Context, g *Group, c rule.Claim, horizon time.Time) (time.Time, bool) {
	if e.o.Written == nil || !g.written {
		return horizon, true
	}
	written, err := e.o.Written(ctx)
	if err != nil || written.Before(c.Due) {
		e.log.DebugContext(ctx, "a rule group waits for samples to be stored", "org", c.Org, "group", c.Group.Name, "until", written, "error", err)
		return horizon, false
	}
	if written.Before(horizon) {
		horizon = written
	}
	return horizon, true
}

// evaluate evaluates one claimed group and stores what that gave.
func (e *Evaluator) evaluate(ctx context.Context, c rule.Claim, horizon time.Time) {
	log := e.log.With("org", c.Org, "group", c.Group.Name)
	// Counted from the claim: storing must be over, or given up, before the lease is.
	lease, cancelLease := context.WithTimeout(ctx, e.o.Timeout+leaseMargin-time.Second)
	defer cancelLease()
	work, cancelWork := context.WithTimeout(lease, e.o.Timeout)
	defer cancelWork()

	g := e.groups.of(c)
	horizon, ready := e.stored(work, g, c, horizon)
	if !ready {
		e.release(ctx, c, writtenPause)
		return
	}
	began := e.o.Clock()
	at, missed := rule.Skip(c.Due, horizon, g.Every())
	e.metrics.lag.Observe(max(began.Sub(at).Seconds(), 0))
	out := g.Evaluate(work, e.query(c.Org), e.o.Clock, rule.Unseen(c.Progress, time.Duration(missed)*g.Every()), at)
	if ctx.Err() != nil {
		e.release(ctx, c, 0)
		return
	}
	if err := e.appendSamples(lease, c.Org, out.Samples); err != nil {
		out.failSamples(c, err)
		log.WarnContext(ctx, "what rules recorded cannot be stored", "series", len(out.Samples), "error", err)
	}
	done := rule.Evaluated{
		Claim: c, At: at, Took: e.o.Clock().Sub(began), Next: rule.NextSlot(c.Org, c.Group.Name, g.Every(), at), Missed: missed,
		Progress: out.Progress, SameSeries: sameSeries(c.Progress, out.Progress), GroupIsGone: c.Deleted,
		MustBeSaid: e.messages(c.Org, out.Changes, at),
	}
	stored, err := e.o.Store.CommitRuleGroup(lease, c.Org, done)
	switch {
	case err != nil:
		again := retryAfter
		if ctx.Err() != nil {
			again = 0 // nothing is wrong with it
		} else {
			log.WarnContext(ctx, "the evaluation of a rule group cannot be stored; it is done again", "error", err)
		}
		e.release(ctx, c, again)
	case !stored:
		e.metrics.overtaken.Inc()
		log.DebugContext(ctx, "the evaluation of a rule group was overtaken")
	default:
		e.report(ctx, c, done, out)
	}
}

// query is what a group's evaluation asks by: the querier, bound to the organisation.
func (e *Evaluator) query(org tenant.OrgID) Query {
	over, can := e.o.Querier.(OverQuerier)
	return func(ctx context.Context, expr string, at time.Time, recorded storage.Queryable) (promql.Vector, error) {
		if can {
			return over.QueryOver(ctx, org, expr, at, recorded)
		}
		return e.o.Querier.Query(ctx, org, expr, at)
	}
}

// appendSamples tries more than once: what fails leaves a hole in the recorded series.
func (e *Evaluator) appendSamples(ctx context.Context, org tenant.OrgID, s []series.Series) error {
	if len(s) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	var err error
	for try := range appendTries {
		if try > 0 {
			pause(ctx, 100*time.Millisecond<<try)
		}
		if err = e.o.Samples.AppendSamples(ctx, org, s, nil); err == nil {
			e.metrics.samples.Add(float64(len(s)))
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// failSamples notes at every rule that its samples are not stored. Which series recording rules gave stays as it was, so that those
// which end meanwhile are marked by the next evaluation.
func (o *Outcome) failSamples(c rule.Claim, err error) {
	before, _ := rule.Split(rule.Group{Labels: c.Group.Labels, Rules: c.Group.Rules}, c.Progress)
	for i := range o.Progress {
		p := &o.Progress[i]
		if o.Errors[i] != nil {
			continue
		}
		o.Errors[i] = err
		p.Health, p.LastError = rule.Bad, bounded("the samples cannot be stored: "+err.Error())
		if i < len(before) {
			p.Series = before[i].Series
		}
	}
}

// sameSeries reports whether the recorded series are, rule by rule, those of before.
func sameSeries(before, after []rule.Progress) bool {
	if len(before) != len(after) {
		return false
	}
	for i := range after {
		if len(before[i].Series) != len(after[i].Series) {
			return false
		}
		for j := range after[i].Series {
			if rule.Key(before[i].Series[j]) != rule.Key(after[i].Series[j]) {
				return false
			}
		}
	}
	return true
}

// messages are what must be said of changes.
func (e *Evaluator) messages(org tenant.OrgID, changes []Change, at time.Time) []rule.Said {
	var out []rule.Said
	for _, c := range changes {
		if m, ok := rule.MessageOf(c.Change, at, e.link(c.Expr)); ok {
			out = append(out, rule.Said{ID: rule.ID(org, c.Alert.Labels), Labels: c.Alert.Labels, Message: m})
		}
	}
	return out
}

// link is where an expression's value can be read.
func (e *Evaluator) link(expr string) string {
	if e.o.BaseURL == "" || expr == "" {
		return ""
	}
	return strings.TrimRight(e.o.BaseURL, "/") + "/prometheus/api/v1/query?query=" + url.QueryEscape(expr)
}

// release ends a claim, also when ctx has ended: else the group would wait for the lease's end.
func (e *Evaluator) release(ctx context.Context, c rule.Claim, after time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseGrace)
	defer cancel()
	if err := e.o.Store.ReleaseRuleGroup(ctx, c.Org, c, after); err != nil {
		e.log.DebugContext(ctx, "a claim could not be released; its lease ends by itself", "error", err)
	}
}

// report counts and logs what was stored.
func (e *Evaluator) report(ctx context.Context, c rule.Claim, done rule.Evaluated, out Outcome) {
	log := e.log.With("org", c.Org, "group", c.Group.Name)
	e.metrics.groupSeconds.Observe(done.Took.Seconds())
	e.metrics.missed.Add(float64(done.Missed))
	if done.Missed > 0 {
		log.WarnContext(ctx, "evaluations of a rule group were left out", "count", done.Missed, "first", c.Due)
	}
	was := map[string]rule.Health{}
	for _, p := range c.Progress {
		was[string(p.Kind)+p.Name+"\xff"+rule.Key(p.Labels)] = p.Health
	}
	for i, p := range done.Progress {
		e.metrics.rule(p, out.Errors[i])
		if out.Errors[i] != nil && was[string(p.Kind)+p.Name+"\xff"+rule.Key(p.Labels)] != rule.Bad && !errors.Is(out.Errors[i], context.Canceled) {
			log.WarnContext(ctx, "a rule cannot be evaluated", "rule", p.Name, "error", out.Errors[i])
		}
	}
	for _, ch := range out.Changes {
		e.metrics.changes.WithLabelValues(string(ch.To)).Inc()
		log.InfoContext(ctx, "alert", "rule", ch.Rule, "from", ch.From, "to", ch.To, "at", done.At,
			"fingerprint", rule.Fingerprint(ch.Alert.Labels))
	}
}
