package timeline

import (
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// expectation follows what the rules expected of a monitor, from what the rows tell of its pings and of what people did. The
// steps are those of the state machine in core/monitor, without the rest of it.
type expectation struct {
	b       *Builder
	rows    *Rows
	steps   []step
	changes []change // ascending; what was expected from then on

	rules         *monitor.Rules // nil: no version is known
	due, deadline time.Time
	armed         time.Time // when that was last said, whether or not it was new
	missed        bool      // the incident is open: due and deadline are those of what was missed
	status        monitor.Status
	since         time.Time
	lastPing      time.Time
	open          []running
}

type change struct{ at, due, deadline time.Time }

// running is an open run.
type running struct {
	run      int32 // its place in the rows, those of the state behind the others
	started  time.Time
	deadline time.Time // zero: none
}

// step is one thing of an instant.
type step struct {
	at time.Time
	i  int32
	stepKind
}

type stepKind uint8

const (
	began stepKind = iota
	ended
	missedOpened
	missedResolved
	statusChanged
	configured // of a ping and a change in one instant, the change was put behind the ping
)

// replay follows the rows until last and returns the changes.
func (e *expectation) replay(b *Builder, rows *Rows, last time.Time) []change {
	*e = expectation{b: b, rows: rows, steps: e.steps[:0], changes: e.changes[:0], open: e.open[:0]}
	e.collect(last)
	if s := rows.State; len(rows.Transitions) == 0 && s != nil && !s.Since.After(last) {
		e.status, e.since = s.Status, s.Since
	}
	for i := range rows.Versions { // nothing precedes the first
		if c := rows.Versions[i].Config; c != nil {
			e.rules = b.rules(c)
			break
		}
	}
	for i := 0; i < len(e.steps); {
		j := i + 1
		for j < len(e.steps) && e.steps[j].at.Equal(e.steps[i].at) {
			j++
		}
		e.instant(e.steps[i].at, e.steps[i:j])
		i = j
	}
	e.excuse(last, nil)
	if s := rows.State; s != nil && rows.Settled {
		e.correct(s.Due, s.Deadline)
	}
	return e.changes
}

func (e *expectation) collect(last time.Time) {
	add := func(k stepKind, at time.Time, i int) {
		if !at.IsZero() && !at.After(last) {
			e.steps = append(e.steps, step{at: at, i: int32(i), stepKind: k})
		}
	}
	for i := range e.rows.Versions {
		if v := &e.rows.Versions[i]; !v.Deleted {
			add(configured, v.At, i)
		}
	}
	for i := range e.rows.Runs {
		r := &e.rows.Runs[i]
		add(began, r.StartedAt, i)
		add(ended, r.FinishedAt, i)
	}
	if s := e.rows.State; s != nil {
		for i := range s.Open {
			add(began, s.Open[i].StartedAt, len(e.rows.Runs)+i)
		}
	}
	for i := range e.rows.Incidents {
		if n := &e.rows.Incidents[i]; !n.Deadline.IsZero() {
			add(missedOpened, n.Opened, i)
			add(missedResolved, n.Resolved, i)
		}
	}
	for i := range e.rows.Transitions {
		add(statusChanged, e.rows.Transitions[i].At, i)
	}
	slices.SortStableFunc(e.steps, func(a, b step) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return int(a.stepKind) - int(b.stepKind)
	})
}

// instant takes in all that happened at t, in the order of the kinds. In which order it happened does not matter: what is
// expected in the end is what an arming at t says of the runs that are open then.
func (e *expectation) instant(t time.Time, steps []step) {
	e.excuse(t, steps)
	arm, opened := false, -1
	overran, before, since := false, e.status, e.since
	version := &Version{}
	if slices.ContainsFunc(steps, func(s step) bool { return s.stepKind == missedOpened }) {
		e.missed = true
	}
	missed := e.missed // timers come before the pings of their instant
	for _, s := range steps {
		switch s.stepKind {
		case configured:
			version = &e.rows.Versions[s.i]
		case began:
			e.begin(t, s.i)
			arm = arm || !missed
			e.lastPing = t
		case ended:
			arm = e.end(t, s.i, missed) || arm
		case missedOpened:
			opened = int(s.i)
		case missedResolved:
			e.missed = false
			arm = arm || e.rows.Incidents[s.i].ByPerson
		case statusChanged:
			x := &e.rows.Transitions[s.i]
			arm = arm || x.From == monitor.Paused && x.To == monitor.Up && x.Reason == "resumed"
			if e.overran(s) {
				overran, before, since = true, e.status, e.since
			}
			e.status, e.since = x.To, t
		}
	}
	switch {
	case e.status == monitor.Paused:
		e.missed = false
		e.set(t, time.Time{}, time.Time{})
	case e.missed && opened >= 0:
		n := &e.rows.Incidents[opened]
		e.correct(n.Due, n.Deadline)
	case arm:
		e.arm(t, t)
	}
	if version.Config == nil {
		return
	}
	e.configure(t, version.Config)
	if overran { // by the new rules: what was due before it comes first
		e.status, e.since, before, since = before, since, e.status, e.since
		e.excuse(t.Add(-time.Microsecond), nil)
		e.status, e.since = before, since
	}
}

// configure puts a configuration into force, for the open runs too.
func (e *expectation) configure(t time.Time, c *monitor.Config) {
	old := e.rules
	e.rules = e.b.rules(c)
	if old.SameTiming(e.rules) {
		return
	}
	if old.Config.MaxRuntime != c.MaxRuntime {
		e.retime(t)
	}
	if !e.deadline.IsZero() && !e.missed {
		e.rearm(t)
	}
}

// retime gives the open runs the new max runtime; none ends before now.
func (e *expectation) retime(t time.Time) {
	for i := range e.open {
		if o := &e.open[i]; o.deadline.IsZero() || o.deadline.After(t) { // else it has overrun
			o.deadline = e.limit(o.started)
			if !o.deadline.IsZero() {
				o.deadline = latest(o.deadline, t)
			}
		}
	}
}

func (e *expectation) limit(started time.Time) time.Time {
	if e.rules == nil || e.rules.Config.MaxRuntime <= 0 {
		return time.Time{}
	}
	return started.Add(time.Duration(e.rules.Config.MaxRuntime))
}

func (e *expectation) begin(t time.Time, run int32) {
	e.open = append(e.open, running{run: run, started: t, deadline: e.limit(t)})
}

// end takes a run off the open ones and reports whether its end makes the rules expect the next.
func (e *expectation) end(t time.Time, run int32, missed bool) bool {
	e.open = slices.DeleteFunc(e.open, func(o running) bool { return o.run == run })
	r := &e.rows.Runs[run]
	if r.Outcome != monitor.Succeeded && r.Outcome != monitor.Failed {
		return false
	}
	e.lastPing, e.missed = t, false
	// A cron run belongs to the due moment of its start: its end satisfies no further one.
	return missed || r.StartedAt.IsZero() || e.deadline.IsZero() || e.rules != nil && e.rules.Interval()
}

// arm expects, as seen from at, what the rules say after a ping at t.
func (e *expectation) arm(at, t time.Time) {
	if e.rules == nil {
		return
	}
	due, deadline := e.rules.Arm(t, e.running())
	e.set(at, due, deadline)
}

func (e *expectation) running() (until time.Time) {
	for i := range e.open {
		until = latest(until, e.open[i].deadline)
	}
	return until
}

// rearm puts the expectation under new rules as from the last ping; where they would have been broken before they were in
// force, as from now.
func (e *expectation) rearm(t time.Time) {
	due, deadline := e.rules.Arm(e.lastPing, e.running())
	if !deadline.After(t) {
		due, deadline = e.rules.Arm(t, e.running())
	}
	e.set(t, due, deadline)
}

func (e *expectation) set(at, due, deadline time.Time) {
	e.armed = at
	if due.Equal(e.due) && deadline.Equal(e.deadline) {
		return
	}
	e.due, e.deadline = due, deadline
	for n := len(e.changes); n > 0 && !e.changes[n-1].at.Before(at); n-- {
		e.changes = e.changes[:n-1] // it was made of less than there is to know
	}
	e.changes = append(e.changes, change{at: at, due: due, deadline: deadline})
}

// correct says what has been expected since something was last expected, where that is known for certain.
func (e *expectation) correct(due, deadline time.Time) { e.set(e.armed, due, deadline) }

// excuse puts behind their gaps the expectations that gaps until t have made doubtful. No row tells of that, but that there is
// none of what would else have come: the status late, or the missed run; steps are those at t.
func (e *expectation) excuse(t time.Time, steps []step) {
	for e.rules != nil && !e.deadline.IsZero() && !e.missed && e.status != monitor.Paused {
		timer := e.deadline
		if e.status == monitor.Up && e.due.Before(timer) && e.due.After(e.since) &&
			(!e.due.Equal(t) || !slices.ContainsFunc(steps, e.overran)) { // which makes it down, and comes first
			timer = e.due
		}
		if timer.After(t) || timer.Equal(t) && slices.ContainsFunc(steps, e.judged) {
			return
		}
		g, ok := e.rules.Doubtful(e.rows.Gaps, e.due, e.deadline, timer.Add(-time.Microsecond))
		if !ok { // one that began then or later can have been known, where all was read late
			g, ok = e.rules.Doubtful(e.rows.Gaps, e.due, e.deadline, e.deadline)
		}
		if !ok {
			return // it has not been judged yet
		}
		due := e.due
		e.arm(latest(latest(timer, g.To), e.armed), g.To)
		if !e.due.After(due) {
			return
		}
	}
}

// judged reports whether the step is that a timer was not excused.
func (e *expectation) judged(s step) bool {
	return s.stepKind == missedOpened || s.stepKind == statusChanged && e.rows.Transitions[s.i].To == monitor.Late
}

// overran reports whether the step is that a run did not end in time.
func (e *expectation) overran(s step) bool {
	return s.stepKind == statusChanged && e.rows.Transitions[s.i].Reason == "overrun"
}

// rules are a configuration's. One whose schedule cannot be read expects nothing, as with the evaluator.
func (b *Builder) rules(c *monitor.Config) *monitor.Rules {
	s, ok := b.compiled[c.Schedule]
	if !ok {
		var err error
		if s, err = b.compiler.Compile(c.Schedule); err != nil {
			s = schedule.Schedule{}
		}
		b.compiled[c.Schedule] = s
	}
	return monitor.NewRules(*c, s)
}
