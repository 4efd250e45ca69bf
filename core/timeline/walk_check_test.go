package timeline_test

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// TestAsTheStatesSaid: whatever a monitor goes through, at every instant the timeline says of it what its state then said.
func TestAsTheStatesSaid(t *testing.T) {
	walks := uint64(1000)
	if testing.Short() {
		walks = 100
	}
	for seed := range walks {
		for _, retries := range []bool{false, true} {
			if compare(seed, 60, retries) == "" {
				continue
			}
			for n := 1; ; n++ { // the shortest that fails
				if diff := compare(seed, n, retries); diff != "" || n == 60 {
					w := newWalk(seed, n, retries)
					t.Fatalf("seed %d, %d steps, retries %v: %s\n%s", seed, n, retries, diff, strings.Join(w.log, "\n"))
				}
			}
		}
	}
}

// compare holds the states of a walk against timelines of several windows and returns the first difference.
func compare(seed uint64, n int, retries bool) string {
	w := newWalk(seed, n, retries)
	end := w.now.Add(time.Minute)
	for i, from := range []time.Time{epoch(), epoch().Add(-time.Hour), w.kept[len(w.kept)/2].at, w.now.Add(-10 * time.Minute), w.kept[len(w.kept)/3].at.Add(time.Second)} {
		to := end
		if i%2 == 1 {
			to = from.Add(end.Sub(from) / 2).Truncate(time.Microsecond)
		}
		q := timeline.Query{From: from, To: to}
		rows := w.cut(q)
		if diff := w.diff(timeline.Build(rows, q), q); diff != "" {
			return fmt.Sprintf("from %s to %s: %s", clock(from), clock(to), diff)
		}
	}
	return ""
}

// diff compares at the instants of the steps and between them.
func (w *walk) diff(tl *timeline.Timeline, q timeline.Query) string {
	for i := range w.kept {
		k := &w.kept[i]
		next := q.To
		if i+1 < len(w.kept) {
			next = w.kept[i+1].at
		}
		for _, t := range []time.Time{k.at, k.at.Add(next.Sub(k.at) / 2).Truncate(time.Microsecond), next.Add(-time.Microsecond)} {
			if t.Before(k.at) || !t.Before(next) || t.Before(q.From) || t.After(q.To) || w.blurred(t) {
				continue
			}
			if w.gone && i == len(w.kept)-1 {
				if !tl.End.Equal(k.at) || inForce(tl, t) != nil && !inForce(tl, t).At.Before(tl.End) {
					return fmt.Sprintf("deleted at %s, ends %s", clock(k.at), clock(tl.End))
				}
				continue
			}
			if diff := w.diffAt(k, inForce(tl, t), t); diff != "" {
				return diff
			}
		}
	}
	return ""
}

func (w *walk) blurred(t time.Time) bool {
	for _, b := range w.blurs {
		if !t.Before(b.from) && t.Before(b.to) {
			return true
		}
	}
	return false
}

func inForce(tl *timeline.Timeline, t time.Time) *metric.Point {
	n := sort.Search(len(tl.Points), func(i int) bool { return tl.Points[i].At.After(t) })
	if n == 0 {
		return nil
	}
	return &tl.Points[n-1]
}

func (w *walk) diffAt(k *kept, got *metric.Point, t time.Time) string {
	if got == nil {
		return fmt.Sprintf("no point at %s", clock(t))
	}
	want := metric.PointOf(&k.state, t, 0)
	want.GapSeconds = k.gaps.Between(want.Since, t).Seconds()
	for _, f := range metric.Families() {
		if w.retries && ofPings(f.Name) {
			continue
		}
		for _, s := range f.Series {
			a, hasA := s.Line(&want)
			b, hasB := s.Line(got)
			if hasA != hasB || hasA && !same(a.Value(t), b.Value(t)) {
				return fmt.Sprintf("%s%s{%s=%q} at %s: state says %v %v, rows %v %v (point of %s)",
					f.Name, s.Suffix, s.Label, s.Value, clock(t), a.Value(t), hasA, b.Value(t), hasB, clock(got.At))
			}
		}
	}
	if got.Totals != nil && want.Totals != nil && fmt.Sprint(got.Totals.Durations) != fmt.Sprint(want.Totals.Durations) {
		return fmt.Sprintf("histogram at %s: %v, want %v", clock(t), got.Totals.Durations, want.Totals.Durations)
	}
	return ""
}

// ofPings reports whether a family depends on pings that leave no row.
func ofPings(name string) bool {
	return strings.HasSuffix(name, "_last_ping_timestamp_seconds") || strings.HasSuffix(name, "_due_timestamp_seconds") ||
		strings.HasSuffix(name, "_deadline_timestamp_seconds")
}

func same(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))
}

// cut leaves of the rows what a reader of the window brings (tsdb).
func (w *walk) cut(q timeline.Query) *timeline.Rows {
	r := w.rows
	r.Settled = !w.now.After(q.To)
	since := time.Time{}
	var before []monitor.Run
	for _, run := range r.Runs {
		if run.FinishedAt.After(q.From) {
			break
		}
		before = append(before, run)
		if run.Outcome == monitor.Succeeded || run.Outcome == monitor.Failed || run.Outcome == monitor.Abandoned {
			if since = run.StartedAt; since.IsZero() {
				since = run.FinishedAt
			}
		}
	}
	w.cutTotals(&r, q)
	r.Runs, r.Transitions, r.Incidents = nil, nil, nil
	for _, fits := range []func(monitor.Run) bool{
		func(x monitor.Run) bool { return x.Outcome == monitor.Succeeded && x.Duration >= 0 },
		func(x monitor.Run) bool { return x.Outcome == monitor.Succeeded },
		func(x monitor.Run) bool { return x.Duration >= 0 },
	} {
		for _, run := range slices.Backward(before) {
			if r.State != nil && !r.State.LastPing.At.After(q.From) {
				break // the state tells
			}
			if fits(run) {
				r.Runs = append(r.Runs, run)
				break
			}
		}
	}
	for _, run := range w.rows.Runs {
		if !run.FinishedAt.Before(since) && (!run.FinishedAt.After(q.To) || !run.StartedAt.IsZero() && !run.StartedAt.After(q.To)) {
			r.Runs = append(r.Runs, run)
		}
	}
	slices.SortStableFunc(r.Runs, func(a, b monitor.Run) int { return a.FinishedAt.Compare(b.FinishedAt) })
	for i, x := range w.rows.Transitions {
		last := i+1 == len(w.rows.Transitions) || !w.rows.Transitions[i+1].At.Before(since)
		if !x.At.After(q.To) && (!x.At.Before(since) || last && (r.State == nil || r.State.Since.After(q.From))) {
			r.Transitions = append(r.Transitions, x)
		}
	}
	for _, n := range w.rows.Incidents {
		if !n.Opened.After(q.To) && (n.Resolved.IsZero() || !n.Resolved.Before(since)) {
			r.Incidents = append(r.Incidents, n)
		}
	}
	return &r
}

// cutTotals takes the totals to the end of the window, those of a deleted monitor to its beginning.
func (w *walk) cutTotals(r *timeline.Rows, q timeline.Query) {
	r.Totals, r.TotalsAt = *r.Totals.Clone(), q.To
	within, by := func(t time.Time) bool { return t.After(q.To) }, int64(-1)
	if w.gone {
		r.TotalsAt = q.From
		within, by = func(t time.Time) bool { return !t.After(q.From) }, 1
	}
	for i := range r.Runs {
		if within(r.Runs[i].FinishedAt) {
			r.Totals.AddRun(&r.Runs[i], by)
		}
	}
	for i := range r.Transitions {
		if within(r.Transitions[i].At) {
			r.Totals.AddTransition(&r.Transitions[i], by)
		}
	}
}
