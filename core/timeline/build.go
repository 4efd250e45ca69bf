package timeline

import (
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// Builder makes timelines, one after the other, and uses their memory again. Not safe for concurrent use.
type Builder struct {
	q        Query
	needs    Needs
	compiler schedule.Compiler
	compiled map[schedule.Spec]schedule.Schedule

	events   []event
	expected expectation
	out      Timeline
	totals   []monitor.Totals // of the points; only appended to while they point into it
	buckets  []monitor.Bucket // likewise
}

// NewBuilder makes a builder for one query.
func NewBuilder(q Query) *Builder {
	return &Builder{q: q, needs: NeedsOf(q.Families), compiled: map[schedule.Spec]schedule.Schedule{}}
}

// Build makes one timeline.
func Build(rows *Rows, q Query) *Timeline { return NewBuilder(q).Build(rows) }

// what an event is the coming of.
type what uint8

const (
	transition what = iota
	runBegan
	runEnded
	openRunBegan // of the state
	pinged       // as the state says
	incidentOpened
	incidentResolved
	redrawn // lines that move begin anew here
	expectationChanged
)

// event is something that happened at an instant, by its place in the rows.
type event struct {
	at time.Time
	i  int32
	what
}

// Build makes the timeline of a monitor. It is valid until the next call. A monitor that did not live in the window has no
// points.
func (b *Builder) Build(rows *Rows) *Timeline {
	b.out = Timeline{ID: rows.ID, Labels: b.out.Labels[:0], Points: b.out.Points[:0]}
	b.totals, b.buckets = b.totals[:0], b.buckets[:0]
	begin, last := b.q.From, b.q.To
	for i := range rows.Versions {
		v := &rows.Versions[i]
		if i == 0 && v.At.After(begin) {
			begin = v.At
		}
		if v.Deleted && !v.At.After(last) {
			b.out.End, last = v.At, v.At.Add(-time.Nanosecond)
		}
	}
	if begin.After(last) {
		return &b.out
	}
	if b.needs.Labels {
		b.spans(rows)
	}
	b.collect(rows, last)
	s := b.start(rows, begin)
	i := 0
	for ; i < len(b.events) && !b.events[i].at.After(begin); i++ {
		s.apply(b.events[i])
	}
	s.emit(begin)
	b.sweep(s, b.events[i:])
	return &b.out
}

// sweep applies what happened behind the beginning and makes points of it, one for each instant of the grid at most.
func (b *Builder) sweep(s *sweep, events []event) {
	for i, e := range events {
		if i > 0 && b.cell(events[i-1].at) != b.cell(e.at) {
			s.emit(events[i-1].at)
		}
		s.apply(e)
	}
	if n := len(events); n > 0 {
		s.emit(events[n-1].at)
	}
}

// cell is the first instant of the grid that is not before t, by its number; without a grid each instant is of it.
func (b *Builder) cell(t time.Time) int64 {
	step := b.q.Step.Microseconds()
	if step <= 0 {
		return t.UnixMicro()
	}
	n := t.UnixMicro() / step
	if n*step < t.UnixMicro() {
		n++
	}
	return n
}

// collect lists what happened until last, in the order of time.
func (b *Builder) collect(rows *Rows, last time.Time) {
	b.events = b.events[:0]
	add := func(w what, at time.Time, i int) {
		if !at.IsZero() && !at.After(last) {
			b.events = append(b.events, event{at: at, i: int32(i), what: w})
		}
	}
	n := &b.needs
	if n.Down {
		for i := range rows.Transitions {
			t := &rows.Transitions[i]
			add(transition, t.At, i)
			if n.Times && (t.From == monitor.New || t.From == monitor.Paused) {
				add(redrawn, t.At.Add(time.Microsecond), i) // ratios of time begin when some has passed
			}
		}
	}
	if n.Counts || n.LastRun || n.LastSuccess || n.LastPing || n.OpenRuns {
		for i := range rows.Runs {
			if n.LastPing || n.OpenRuns {
				add(runBegan, rows.Runs[i].StartedAt, i)
			}
			add(runEnded, rows.Runs[i].FinishedAt, i)
		}
	}
	if rows.State != nil && (n.LastPing || n.OpenRuns) {
		for i := range rows.State.Open {
			add(openRunBegan, rows.State.Open[i].StartedAt, i)
		}
		add(pinged, rows.State.LastPing.At, 0)
	}
	if n.Incidents {
		for i := range rows.Incidents {
			add(incidentOpened, rows.Incidents[i].Opened, i)
			add(incidentResolved, rows.Incidents[i].Resolved, i)
		}
	}
	if n.Times {
		for t := last; ; {
			g, ok := rows.Gaps.Last(b.q.From, t)
			if !ok {
				break
			}
			add(redrawn, g.To, 0)
			add(redrawn, g.To.Add(time.Microsecond), 0)
			t = g.From.Add(-time.Nanosecond)
		}
	}
	if n.Expectation {
		for i, c := range b.expected.replay(b, rows, last) {
			// A change of which it is not known when it came has stood from the beginning.
			add(expectationChanged, latest(c.at, time.Unix(0, 0)), i)
		}
	}
	if byTime := func(a, b event) int { return a.at.Compare(b.at) }; !slices.IsSortedFunc(b.events, byTime) {
		slices.SortStableFunc(b.events, byTime)
	}
}

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

// keep copies the totals for a point. Where the room runs out a new one is begun: points hold on to the old.
func (b *Builder) keep(t *monitor.Totals) {
	if len(b.totals) == cap(b.totals) {
		b.totals = make([]monitor.Totals, 0, max(64, 2*cap(b.totals)))
	}
	c := *t
	n := len(t.Durations.Buckets)
	if cap(b.buckets)-len(b.buckets) < n {
		b.buckets = make([]monitor.Bucket, 0, max(256, 2*cap(b.buckets), n))
	}
	from := len(b.buckets)
	b.buckets = append(b.buckets, t.Durations.Buckets...)
	c.Durations.Buckets = b.buckets[from:len(b.buckets):len(b.buckets)]
	b.totals = append(b.totals, c)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// spans are the labels of the info by time, those of the window.
func (b *Builder) spans(rows *Rows) {
	for i := range rows.Versions {
		v := &rows.Versions[i]
		if v.Deleted || v.Config == nil || v.At.After(b.q.To) {
			continue
		}
		if i+1 < len(rows.Versions) && !rows.Versions[i+1].At.After(b.q.From) {
			continue // another took its place before the window
		}
		span := Span{From: v.At, Labels: metric.Labels(rows.ID, v.Project, v.Config)}
		if n := len(b.out.Labels); n > 0 && slices.Equal(b.out.Labels[n-1].Labels, span.Labels) {
			continue
		}
		b.out.Labels = append(b.out.Labels, span)
	}
}
