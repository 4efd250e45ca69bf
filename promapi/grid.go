package promapi

import (
	"time"

	"github.com/prometheus/prometheus/storage"
)

// finest is the distance of the samples of computed series, as if they had been scraped.
const finest = 15 * time.Second

// grid is the distance of the samples for a selector, in milliseconds. While the step is at most 5 min it is 15 s. Above,
// a query would read samples that no one sees, so it grows to a twentieth of the step, but stays well inside the lookback
// of an instant selector (5 min) and shows a range selector at least ten samples.
func grid(h *storage.SelectHints) int64 {
	g := finest
	if h == nil || h.Step <= (5*time.Minute).Milliseconds() {
		return g.Milliseconds()
	}
	most := time.Duration(h.Step) * time.Millisecond / 20
	if h.Range > 0 {
		most = min(most, time.Duration(h.Range)*time.Millisecond/10)
	} else {
		most = min(most, time.Minute)
	}
	for _, d := range []time.Duration{
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour,
	} {
		if d <= most {
			g = d
		}
	}
	return g.Milliseconds()
}

// ceil is the first multiple of step that is not before t, both in milliseconds.
func ceil(t, step int64) int64 {
	r := t % step
	switch {
	case r == 0:
		return t
	case r < 0:
		return t - r
	default:
		return t - r + step
	}
}

// floor is the last multiple of step that is not after t.
func floor(t, step int64) int64 {
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}

// ceilTime is the first multiple of step that is not before t, to the microsecond and beyond.
func ceilTime(t time.Time, step int64) int64 {
	ms := t.UnixMilli() // rounds down
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ceil(ms, step)
}

// window is the instants of a grid at which samples are shown: first, first+step, …, last, in milliseconds.
type window struct{ first, last, step int64 }

func (w window) empty() bool { return w.first > w.last }

// before is the instant of the grid before the first: whether a series had a sample there decides whether it has gone stale.
func (w window) before() int64 { return w.first - w.step }
