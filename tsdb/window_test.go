package tsdb

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/history"
)

// The parts of a window are whole buckets of their kind, meet without overlap and make up the window.
func TestCoverIsExact(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC)
	edge := func() time.Time {
		at := begin.Add(time.Duration(rand.Int64N(int64(5 * day))))
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
		days, hours, pieces := cover(w)
		var total time.Duration
		starts := map[time.Time]bool{}
		for _, part := range append(append(append([]history.Window(nil), days...), hours...), pieces...) {
			if part.From.Before(w.From) || part.To.After(w.To) || !part.From.Before(part.To) || starts[part.From] {
				t.Fatalf("%v of %v: days %v, hours %v, pieces %v", part, w, days, hours, pieces)
			}
			starts[part.From] = true
			total += part.To.Sub(part.From)
			if part.From != w.From && !starts[part.From] {
				t.Fatalf("%v begins nowhere", part)
			}
		}
		if total != w.To.Sub(w.From) {
			t.Fatalf("%v: days %v, hours %v, pieces %v", w, days, hours, pieces)
		}
		for _, d := range days {
			if d.From != d.From.Truncate(day) || d.To != d.To.Truncate(day) {
				t.Fatalf("%v is not whole days", d)
			}
		}
		for _, h := range hours {
			if h.From != h.From.Truncate(time.Hour) || h.To != h.To.Truncate(time.Hour) || h.To.Sub(h.From) >= 2*day {
				t.Fatalf("%v is not whole hours beside days", h)
			}
		}
		if len(pieces) > 2 || len(hours) > 2 || len(days) > 1 {
			t.Fatalf("%v: days %v, hours %v, pieces %v", w, days, hours, pieces)
		}
	}
}
