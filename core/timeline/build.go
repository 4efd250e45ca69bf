package timeline

import (
	"slices"
	"time"

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
