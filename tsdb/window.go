package tsdb

import (
	"time"

	"github.com/tokiflow/tokiflow/core/history"
)

const day = 24 * time.Hour

// The buckets of the aggregates begin at whole hours and days of UTC, as Truncate's do: both count from a Monday 00:00.

// cover splits a window into whole days, whole hours around them and the pieces of hours that remain, so that each is
// read where it is cheapest and none is counted twice. Empty ones are left out.
func cover(w history.Window) (days, hours, pieces []history.Window) {
	inner, left, right := whole(w, time.Hour)
	pieces = nonEmpty(left, right)
	inner, left, right = whole(inner, day)
	return nonEmpty(inner), nonEmpty(left, right), pieces
}

// whole splits a window into the buckets that lie wholly inside it and what is left before and behind them.
func whole(w history.Window, width time.Duration) (inner, left, right history.Window) {
	first := w.From.Truncate(width)
	if first.Before(w.From) {
		first = first.Add(width)
	}
	last := w.To.Truncate(width)
	if !first.Before(last) {
		return history.Window{}, w, history.Window{}
	}
	return history.Window{From: first, To: last}, history.Window{From: w.From, To: first}, history.Window{From: last, To: w.To}
}

func nonEmpty(windows ...history.Window) []history.Window {
	var list []history.Window
	for _, w := range windows {
		if w.From.Before(w.To) {
			list = append(list, w)
		}
	}
	return list
}
