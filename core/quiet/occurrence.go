package quiet

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Occurrence is one time a window is on: from StartsAt, inclusive, to EndsAt, exclusive; UTC.
type Occurrence struct {
	StartsAt time.Time
	EndsAt   time.Time
}

// Planned is an occurrence as it is kept: what its window said when it was planned, and what became of that since.
type Planned struct {
	Occurrence
	Org       tenant.OrgID
	Window    uuid.UUID
	Name      string // the window's
	DueAt     time.Time
	Scope     Scope
	Cancelled bool // the window was changed or deleted: it ended early, or never began
}

// Untold is a planned occurrence that changed since silences of it were stored.
type Untold struct {
	Planned
	ProjectNames []string // of the projects in its scope that there are
	Silenced     []string // for which kinds of things in scopes silences of it were stored
	Revision     int64
}

// Occurrences are those that share an instant with the time from `from` to `to`, in order, at most n of them. The window must be
// valid, else there are none.
func (w Window) Occurrences(from, to time.Time, n int) []Occurrence {
	if w.Time.Once() {
		o := Occurrence{StartsAt: w.Time.StartsAt.UTC(), EndsAt: w.Time.EndsAt.UTC()}
		if n > 0 && o.StartsAt.Before(to) && o.EndsAt.After(from) {
			return []Occurrence{o}
		}
		return nil
	}
	return w.Starting(from.Add(-w.Time.Duration).Add(1), to, n)
}

// Starting are the occurrences that begin at `from` or later, and before `to`, in order, at most n of them. The window must be
// valid, else there are none.
func (w Window) Starting(from, to time.Time, n int) []Occurrence {
	if w.Time.Once() {
		if o := (Occurrence{StartsAt: w.Time.StartsAt.UTC(), EndsAt: w.Time.EndsAt.UTC()}); n > 0 && !o.StartsAt.Before(from) && o.StartsAt.Before(to) {
			return []Occurrence{o}
		}
		return nil
	}
	s, err := w.Time.compile(new(schedule.Compiler))
	if err != nil {
		return nil
	}
	var list []Occurrence
	// Next is strictly later, and due moments are whole seconds.
	for due := s.Next(from.Add(-1)); len(list) < n && !due.IsZero() && due.Before(to); due = s.Next(due) {
		list = append(list, Occurrence{StartsAt: due, EndsAt: due.Add(w.Time.Duration)})
	}
	return list
}

// First is when the occurrence begins that a window written at the instant is to be planned from: the one that is on then or, if
// there is none, the next. Of a window that comes once it is that one, even if it is over: the figures leave it out. Zero: there is
// none.
func (w Window) First(now time.Time) time.Time {
	if w.Time.Once() {
		return w.Time.StartsAt.UTC()
	}
	return w.next(now.Add(-w.Time.Duration).Add(1))
}

// next is when the first occurrence begins that begins at the instant or later; zero: none does.
func (w Window) next(from time.Time) time.Time {
	if list := w.Starting(from, from.AddDate(100, 0, 0), 1); len(list) > 0 {
		return list[0].StartsAt
	}
	return time.Time{}
}

// mostPlanned bounds what is planned of a window at once.
const mostPlanned = 100

// Plan gives the occurrences to be planned that begin at next, which First or an earlier Plan gave, or later, and before the
// horizon; and when the one after them begins, zero where there is none.
func (w Window) Plan(next, horizon time.Time) ([]Occurrence, time.Time) {
	list := w.Starting(next, horizon, mostPlanned)
	if w.Time.Once() {
		if len(list) > 0 || next.IsZero() {
			return list, time.Time{}
		}
		return nil, next
	}
	if len(list) == 0 {
		return nil, w.next(next)
	}
	return list, w.next(list[len(list)-1].StartsAt.Add(1))
}

// Union puts the windows in order and joins those that overlap or touch, cut to within.
func Union(list []history.Window, within history.Window) []history.Window {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b history.Window) int { return a.From.Compare(b.From) })
	var out []history.Window
	for _, w := range sorted {
		w.From, w.To = later(w.From, within.From), earlier(w.To, within.To)
		if !w.From.Before(w.To) {
			continue
		}
		if n := len(out); n > 0 && !w.From.After(out[n-1].To) {
			out[n-1].To = later(out[n-1].To, w.To)
			continue
		}
		out = append(out, w)
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
