package tsdb

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/history"
)

// The parts of a window are whole buckets of their kind, meet without overlap and make up the window.
func TestCoverIsExact(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC)
	edge := func() time.Time {
		at := begin.Add(time.Duration(rand.Int64N(int64(40 * day))))
		switch rand.IntN(3) {
		case 0:
			return at.Truncate(time.Hour)
		case 1:
			return at.Truncate(day)
		}
		return at
	}
	for range 20_000 {
		w := history.Window{From: edge(), To: edge()}
		if !w.From.Before(w.To) {
			continue
		}
		ends := []time.Time{edge(), edge(), edge()}
		slices.SortFunc(ends, time.Time.Compare)
		levels := []level{{"weeks", 7 * day, ends[0]}, {"days", day, ends[1]}, {"hours", time.Hour, ends[2]}}
		parts, pieces := cover(w, levels)
		var total time.Duration
		starts := map[time.Time]bool{}
		check := func(width time.Duration, windows []history.Window) {
			for _, p := range windows {
				if p.From.Before(w.From) || p.To.After(w.To) || !p.From.Before(p.To) || starts[p.From] {
					t.Fatalf("%v of %v: %v, %v", p, w, parts, pieces)
				}
				if p.From != p.From.Truncate(width) || p.To != p.To.Truncate(width) {
					t.Fatalf("%v is not made of whole %v", p, width)
				}
				starts[p.From] = true
				total += p.To.Sub(p.From)
			}
		}
		for i, p := range parts {
			check(p.width, p.windows)
			for _, w := range p.windows {
				if w.To.After(p.until) {
					t.Fatalf("%v is read from %s, finished until %v", w, p.relation, p.until)
				}
				if i > 0 && w.To.Sub(w.From) >= 2*parts[i-1].width && !w.To.After(parts[i-1].until) {
					t.Fatalf("%v is read from %s", w, p.relation)
				}
				if p.width == 7*day && w.From.Weekday() != time.Monday {
					t.Fatalf("a week begins on a %v", w.From.Weekday())
				}
			}
		}
		check(time.Nanosecond, pieces)
		if total != w.To.Sub(w.From) || len(pieces) > 2 {
			t.Fatalf("%v: %v, %v", w, parts, pieces)
		}
	}
}
