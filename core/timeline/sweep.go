package timeline

import (
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// sweep is a monitor on its way through the window.
type sweep struct {
	b      *Builder
	rows   *Rows
	begin  time.Time
	now    metric.Point
	totals monitor.Totals
	moved  bool   // the totals, since the last point
	open   [5]int // incidents, by the place of their kind
}

// start is the monitor before what is known to have happened.
func (b *Builder) start(rows *Rows, begin time.Time) *sweep {
	s := &sweep{b: b, rows: rows, begin: begin, moved: true}
	s.now.Status = monitor.New
	if len(rows.Versions) > 0 {
		s.now.Since = rows.Versions[0].At
	}
	state := rows.State
	switch {
	case len(rows.Transitions) > 0:
		if t := &rows.Transitions[0]; t.From != monitor.New && t.At.After(begin) { // what led to it is not kept, or stands apart
			s.now.Status, s.now.Since = t.From, t.At.Add(-time.Duration(t.SecondsInPrevious*1e9))
		}
	case state != nil && !state.Since.After(b.q.To):
		s.now.Status, s.now.Since = state.Status, state.Since
	}
	if state != nil && !state.LastPing.At.After(begin) { // no run has ended since
		s.now.LastSuccess, s.now.ZScore = state.LastSuccess, state.ZScore
		if state.Totals != nil {
			s.now.LastDuration = state.Totals.LastDuration
		}
	}
	if b.needs.Totals() {
		s.totals = *rows.Totals.Clone()
		s.unwind()
	}
	return s
}

// unwind takes the totals from where they are known to the beginning.
func (s *sweep) unwind() {
	known, by := s.rows.TotalsAt, int64(-1)
	from, to := s.begin, known
	if known.Before(s.begin) {
		from, to, by = known, s.begin, 1
	}
	within := func(t time.Time) bool { return t.After(from) && !t.After(to) }
	for i := range s.rows.Runs {
		if r := &s.rows.Runs[i]; within(r.FinishedAt) {
			s.count(r, by)
		}
	}
	for i := range s.rows.Transitions {
		if t := &s.rows.Transitions[i]; within(t.At) {
			s.totals.AddTransition(t, by)
		}
	}
}

// count adds a run to the totals as far as they are needed.
func (s *sweep) count(r *monitor.Run, by int64) {
	if s.b.needs.Histogram || r.Duration < 0 {
		s.totals.AddRun(r, by)
		return
	}
	bare := *r
	bare.Duration = -1
	s.totals.AddRun(&bare, by)
	s.totals.Durations.Count += by
}

// apply takes in an event.
func (s *sweep) apply(e event) {
	switch e.what {
	case transition:
		t := &s.rows.Transitions[e.i]
		s.now.Status, s.now.Since = t.To, t.At
		if e.at.After(s.begin) && s.b.needs.Times {
			s.totals.AddTransition(t, 1)
			s.moved = true
		}
	case runBegan, openRunBegan:
		s.now.LastPing = latest(s.now.LastPing, e.at)
		s.now.OpenRuns++
	case pinged:
		s.now.LastPing = latest(s.now.LastPing, e.at)
	case runEnded:
		s.end(&s.rows.Runs[e.i])
	case incidentOpened:
		s.incident(e.i, 1)
	case incidentResolved:
		s.incident(e.i, -1)
	case expectationChanged:
		c := &s.b.expected.changes[e.i]
		s.now.Due, s.now.Deadline = c.due, c.deadline
	case redrawn:
	}
}

func (s *sweep) end(r *monitor.Run) {
	if !r.StartedAt.IsZero() {
		s.now.OpenRuns--
	}
	switch r.Outcome {
	case monitor.Succeeded:
		s.now.LastPing = latest(s.now.LastPing, r.FinishedAt)
		s.now.LastSuccess = latest(s.now.LastSuccess, r.FinishedAt)
		if r.Duration >= 0 {
			s.now.ZScore = r.ZScore
		}
	case monitor.Failed:
		s.now.LastPing = latest(s.now.LastPing, r.FinishedAt)
	case monitor.Missed, monitor.Abandoned, monitor.Unknown:
	}
	if r.Duration >= 0 {
		s.now.LastDuration = r.Duration
	}
	if s.b.needs.Totals() && r.FinishedAt.After(s.begin) {
		s.count(r, 1)
		s.moved = true
	}
}

// incident takes in that one was opened or resolved. Points share the map until then.
func (s *sweep) incident(i int32, by int) {
	kinds := metric.Kinds()
	n := slices.Index(kinds, s.rows.Incidents[i].Kind)
	if n < 0 {
		return
	}
	s.open[n] += by
	s.now.Open = nil
	for k, n := range s.open {
		if n > 0 {
			if s.now.Open == nil {
				s.now.Open = make(map[incident.Kind]bool, 1)
			}
			s.now.Open[kinds[k]] = true
		}
	}
}

// emit makes a point of how the monitor stands from t on.
func (s *sweep) emit(t time.Time) {
	p := s.now
	p.At = t
	if s.b.needs.Times {
		p.GapSeconds = s.unobserved(t)
	}
	if s.b.needs.Totals() {
		if s.moved {
			s.b.keep(&s.totals)
			s.moved = false
		}
		p.Totals = &s.b.totals[len(s.b.totals)-1]
	}
	s.b.out.Points = append(s.b.out.Points, p)
}

// unobserved is how much of the status's time until t lay in gaps that had ended by then, in seconds.
func (s *sweep) unobserved(t time.Time) float64 {
	if g, inside := s.rows.Gaps.Last(t, t); inside {
		t = g.From
	}
	return s.rows.Gaps.Between(s.now.Since, t).Seconds()
}
