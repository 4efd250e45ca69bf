package monitor

import (
	"time"

	"github.com/tokiflow/tokiflow/core/logclock"
)

// Arm says what is expected after a ping (or a resumption) at t: when the next run is due and when it is missed; zero: never.
// running is the latest deadline of the runs that are open then, zero where none has one.
//
// Interval: t + interval, and not before a running run's own deadline. Cron: the first due moment after t + early, since a ping up to
// early before a due moment counts for that one.
func (r *Rules) Arm(t, running time.Time) (due, deadline time.Time) {
	if every, ok := r.schedule.Interval(); ok {
		due = latest(t.Add(every), running)
	} else {
		due = r.schedule.Next(t.Add(time.Duration(r.Config.Early)))
	}
	if due.IsZero() {
		return due, due
	}
	return due, due.Add(time.Duration(r.Config.Grace))
}

// Interval reports whether the schedule is an interval.
func (r *Rules) Interval() bool {
	_, ok := r.schedule.Interval()
	return ok
}

// Doubtful returns the gap in which the ping that is expected may have been turned away: one that holds the deadline, or
// the due moment, or comes near it (docs/adr/0008). Of two, the later. Gaps that begin behind known are left out of account.
func (r *Rules) Doubtful(gaps *logclock.Gaps, due, deadline, known time.Time) (logclock.Gap, bool) {
	if g, ok := gaps.Last(deadline, deadline); ok && !g.From.After(known) {
		return g, true
	}
	if due.After(known) {
		due = known
	}
	return gaps.Last(due.Add(-r.slack()), due)
}

// slack is how long before its due moment an interval's ping may come in the ordinary course: its grace, and no more
// than half the interval. A cron's is its early tolerance.
func (r *Rules) slack() time.Duration {
	if every, ok := r.schedule.Interval(); ok {
		return min(time.Duration(r.Config.Grace), every/2)
	}
	return time.Duration(r.Config.Early)
}

// SameTiming reports whether two configurations expect runs at the same moments.
func (r *Rules) SameTiming(o *Rules) bool { return timing(r.Config) == timing(o.Config) }

// timing is the part of a configuration that says when a run is due.
func timing(c Config) any { return [4]any{c.Schedule, c.Grace, c.Early, c.MaxRuntime} }
