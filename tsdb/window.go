package tsdb

import (
	"time"

	"github.com/tokiflow/tokiflow/core/history"
)

const day = 24 * time.Hour

// level is an aggregate: the relation that has its finished buckets, their width and where they end. The buckets begin at whole
// hours, at days and on Mondays in UTC, as Truncate's do.
type level struct {
	relation string
	width    time.Duration
	until    time.Time
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
			inner, left, right := whole(piece, l)
			p.windows = append(p.windows, nonEmpty(inner)...)
			rest = append(rest, nonEmpty(left, right)...)
		}
		parts, pieces = append(parts, p), rest
	}
	return parts, pieces
}

// whole splits a window into the finished buckets that lie wholly inside it and what is left before and behind them.
func whole(w history.Window, l level) (inner, left, right history.Window) {
	first := w.From.Truncate(l.width)
	if first.Before(w.From) {
		first = first.Add(l.width)
	}
	end := w.To
	if l.until.Before(end) {
		end = l.until
	}
	last := end.Truncate(l.width)
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
