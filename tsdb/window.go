package tsdb

import (
	"time"

	"github.com/tokiflow/tokiflow/core/history"
)

const day = 24 * time.Hour

// level is an aggregate and the width of its buckets.
type level struct {
	relation string
	width    time.Duration
}

// runLevels are the aggregates of runs, the widest first. Their buckets begin at whole hours, at days and on Mondays in UTC,
// as Truncate's do.
func runLevels() []level {
	return []level{{"runs_weekly", 7 * day}, {"runs_daily", day}, {"runs_hourly", time.Hour}}
}

// part is what is read of a window at one level.
type part struct {
	level
	windows []history.Window
}

// cover splits a window into the buckets of the levels, the widest that fit, and the pieces at its edges that are less than a
// bucket of the last level, so that each is read where it is cheapest and none is counted twice.
func cover(w history.Window, levels []level) (parts []part, pieces []history.Window) {
	pieces = []history.Window{w}
	for _, l := range levels {
		p := part{level: l}
		var rest []history.Window
		for _, piece := range pieces {
			inner, left, right := whole(piece, l.width)
			p.windows = append(p.windows, nonEmpty(inner)...)
			rest = append(rest, nonEmpty(left, right)...)
		}
		parts, pieces = append(parts, p), rest
	}
	return parts, pieces
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
