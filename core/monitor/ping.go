package monitor

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/baseline"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
)

// maxOpenRuns bounds the state of a monitor that starts runs and never ends them.
const maxOpenRuns = 100

// keepClosed is how many ended runs are remembered.
const keepClosed = 8

func (m *machine) ping(p Ping) {
	if p.Kind == record.Log {
		return
	}
	if m.s.Status == Paused && (m.rules.Config.ManualResume || p.Kind == record.Start) {
		return
	}
	// The log's order counts: where a ping's stamp, by another process's clock, lies before what was applied already, it
	// happened right after that.
	stamp := p.At
	p.At = latest(p.At, m.s.Since, m.s.LastPing.At)
	m.s.LastPing = LastPing{At: p.At, Kind: p.Kind, ExitCode: p.ExitCode, Output: p.Output}
	if p.Kind == record.Start {
		m.start(p, stamp)
		return
	}
	m.finish(p)
}

func latest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.After(t) {
			t = o
		}
	}
	return t
}

func (m *machine) start(p Ping, stamp time.Time) {
	if p.RID != uuid.Nil && slices.ContainsFunc(m.s.Closed, func(c ClosedRun) bool { return c.ID == p.RID && !stamp.After(c.At) }) {
		return // it came behind its own end, by way of a slower process
	}
	o := OpenRun{ID: p.RID, Named: p.RID != uuid.Nil, StartedAt: p.At, Due: m.s.Due}
	if !o.Named {
		o.ID = p.ID
	}
	if d := time.Duration(m.rules.Config.MaxRuntime); d > 0 {
		o.Deadline = p.At.Add(d)
	}
	open := make([]OpenRun, 0, len(m.s.Open)+1)
	for _, old := range m.s.Open {
		switch {
		case o.Named && old.ID == o.ID:
			return // the client's retry of its start
		case !o.Named && !old.Named:
			m.abandon(old, p.At) // a start without a run id takes the place of the one before
		default:
			open = append(open, old)
		}
	}
	if len(open) >= maxOpenRuns {
		m.abandon(open[0], p.At)
		open = open[1:]
	}
	m.s.Open = append(open, o)

	if !m.s.missed() {
		m.arm(p.At)
	}
	if m.s.Status == New || m.s.Status == Late {
		m.resolve(incident.Late, p.At, "recovered")
		m.become(Up, p.At, "started")
	}
}

func (m *machine) finish(p Ping) {
	if p.RID != uuid.Nil {
		if m.retried(p) {
			return
		}
		first := max(0, len(m.s.Closed)+1-keepClosed)
		c := ClosedRun{ID: p.RID, Kind: p.Kind, At: p.At}
		m.s.Closed = append(append(make([]ClosedRun, 0, keepClosed), m.s.Closed[first:]...), c)
	}
	run, matched := m.close(p)
	_, interval := m.rules.schedule.Interval()
	missed := m.s.missed()
	if run.Outcome == Succeeded {
		m.succeed(p, run)
	} else {
		m.fail(p)
	}
	// A cron run belongs to the due moment of its start: its end satisfies no further one.
	if !matched || interval || missed || m.s.Deadline.IsZero() {
		m.arm(p.At)
	}
}

// retryWindow is how long after a run's end the same end, by the same run id, is taken for the client's retry of it. A client
// that uses one run id for all its runs is not to lose more than that.
const retryWindow = 5 * time.Minute

// retried reports whether the ping is a client's retry of a finish that has counted already.
func (m *machine) retried(p Ping) bool {
	if slices.ContainsFunc(m.s.Open, func(o OpenRun) bool { return o.ID == p.RID }) {
		return false
	}
	return slices.ContainsFunc(m.s.Closed, func(c ClosedRun) bool {
		return c.ID == p.RID && c.Kind == p.Kind && p.At.Sub(c.At) < retryWindow
	})
}

// close ends the run that p speaks of and records it.
func (m *machine) close(p Ping) (run Run, matched bool) {
	run = Run{ID: p.RID, FinishedAt: p.At, Outcome: Succeeded, ExitCode: p.ExitCode, Duration: p.Duration, Lateness: -1}
	if p.Kind == record.Fail {
		run.Outcome = Failed
	}
	due, began := m.s.Due, p.At
	if i := m.find(p); i >= 0 {
		o := m.s.Open[i]
		m.s.Open = without(m.s.Open, i)
		run.ID, run.StartedAt, matched = o.ID, o.StartedAt, true
		if run.Duration < 0 {
			run.Duration = max(0, p.At.Sub(o.StartedAt))
		}
		due, began = o.Due, o.StartedAt
	}
	if run.ID == uuid.Nil {
		run.ID = p.ID
	}
	if !due.IsZero() {
		run.Lateness = max(0, began.Sub(due))
	}
	m.out.Runs = append(m.out.Runs, run)
	return run, matched
}

// without is a copy of the list less one.
func without(list []OpenRun, i int) []OpenRun {
	return append(append(make([]OpenRun, 0, len(list)-1), list[:i]...), list[i+1:]...)
}

// find is the open run with the ping's run id; without one, the latest.
func (m *machine) find(p Ping) int {
	for i, v := range slices.Backward(m.s.Open) {
		if p.RID == uuid.Nil || v.ID == p.RID {
			return i
		}
	}
	return -1
}

func (m *machine) succeed(p Ping, run Run) {
	at := len(m.out.Runs) - 1 // where run is recorded
	m.s.Failures = 0
	m.s.LastSuccess = p.At
	began := run.FinishedAt
	if !run.StartedAt.IsZero() {
		began = run.StartedAt
	}
	// Runs that overran and were overtaken by a good one will not end any more.
	m.drop(p.At, func(o OpenRun) bool { return o.Overdue && o.StartedAt.Before(began) })
	for _, k := range []incident.Kind{incident.Late, incident.Missed, incident.Fail} {
		m.resolve(k, p.At, "recovered")
	}
	m.resolveOverrun(p.At)
	m.judge(p, run)
	if run.Duration >= 0 {
		m.out.Runs[at].ZScore = m.s.ZScore
	}
	if m.sound() {
		m.become(Up, p.At, "success")
	} else {
		m.become(Down, p.At, "overrun")
	}
}

func (m *machine) fail(p Ping) {
	m.s.Failures++
	m.resolve(incident.Late, p.At, "ran")
	m.resolve(incident.Missed, p.At, "ran")
	m.resolveOverrun(p.At)
	if m.s.Failures > m.rules.Config.FailureTolerance {
		ev := m.evidence()
		ev.FailuresInARow = m.s.Failures
		if p.ExitCode != record.NoExitCode {
			code := int(p.ExitCode)
			ev.ExitCode = &code
		}
		ev.Output = p.Output
		m.open(incident.Fail, p.At, ev)
		m.become(Down, p.At, "fail")
		return
	}
	if m.sound() {
		m.become(Up, p.At, "failure tolerated")
	}
}

// judge holds the run's duration against the baseline. What is unusual is kept out of it, unless it goes on for so many
// runs that it has become usual.
func (m *machine) judge(p Ping, run Run) {
	c := &m.rules.Config.Anomaly
	if run.Duration < 0 {
		return
	}
	x := run.Duration.Seconds()
	z, odd := m.s.Baseline.Judge(x, baseline.Limits{
		ZScore: c.ZScore, MinRuns: int64(c.MinRuns), MinDeviation: time.Duration(c.MinDeviation).Seconds(),
	})
	m.s.ZScore = z
	if !c.Enabled || !odd {
		m.s.Baseline = m.s.Baseline.Add(x)
		m.s.Candidate = baseline.Stats{}
		m.resolve(incident.Anomaly, p.At, "usual again")
		return
	}
	ev := m.evidence()
	mean, sd := m.s.Baseline.Mean, m.s.Baseline.Stddev()
	ev.RunID, ev.DurationSeconds, ev.MeanSeconds, ev.StddevSeconds, ev.ZScore = &run.ID, &x, &mean, &sd, &z
	m.open(incident.Anomaly, p.At, ev)
	if m.s.Candidate = m.s.Candidate.Add(x); m.s.Candidate.N >= int64(c.MinRuns) {
		m.s.Baseline, m.s.Candidate = m.s.Candidate, baseline.Stats{}
	}
}

// drop ends the open runs that match, as abandoned.
func (m *machine) drop(t time.Time, match func(OpenRun) bool) {
	var keep []OpenRun
	for _, o := range m.s.Open {
		if match(o) {
			m.abandon(o, t)
			continue
		}
		keep = append(keep, o)
	}
	m.s.Open = keep
}

func (m *machine) abandon(o OpenRun, t time.Time) { m.end(o, t, Abandoned) }

// end records an open run whose end was never heard of.
func (m *machine) end(o OpenRun, t time.Time, how Outcome) {
	run := Run{
		ID: o.ID, StartedAt: o.StartedAt, FinishedAt: t, Outcome: how,
		ExitCode: record.NoExitCode, Duration: record.NoDuration, Lateness: -1,
	}
	if !o.Due.IsZero() {
		run.Lateness = max(0, o.StartedAt.Sub(o.Due))
	}
	m.out.Runs = append(m.out.Runs, run)
}

func (m *machine) resolveOverrun(t time.Time) {
	for _, o := range m.s.Open {
		if o.Overdue {
			return
		}
	}
	m.resolve(incident.Overrun, t, "recovered")
}
