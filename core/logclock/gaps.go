package logclock

import (
	"sort"
	"time"
)

// Gaps is the list of a partition's gaps, in order and without overlap. The zero value has none.
type Gaps struct {
	list []Gap
	sum  []time.Duration // sum[i]: length of list[:i+1]
}

// NewGaps takes gaps in any order; those that overlap become one.
func NewGaps(list []Gap) *Gaps {
	sorted := append([]Gap(nil), list...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].From.Before(sorted[j].From) })
	g := &Gaps{}
	for _, next := range sorted {
		g.Add(next)
	}
	return g
}

// Add appends a gap that begins no earlier than every one before it.
func (g *Gaps) Add(next Gap) {
	if !next.From.Before(next.To) {
		return
	}
	before := time.Duration(0)
	if n := len(g.list); n > 0 {
		last := &g.list[n-1]
		if !next.From.After(last.To) {
			grown := later(last.To, next.To).Sub(last.To)
			last.To = last.To.Add(grown)
			g.sum[n-1] += grown
			return
		}
		before = g.sum[n-1]
	}
	g.list = append(g.list, next)
	g.sum = append(g.sum, before+next.To.Sub(next.From))
}

// Between is how much of the time from a to b lay in gaps.
func (g *Gaps) Between(a, b time.Time) time.Duration {
	if g == nil || len(g.list) == 0 || !a.Before(b) {
		return 0
	}
	return g.until(b) - g.until(a)
}

// until is the length of all gaps before t.
func (g *Gaps) until(t time.Time) time.Duration {
	i := sort.Search(len(g.list), func(i int) bool { return !g.list[i].From.Before(t) }) // gaps that begin before t
	if i == 0 {
		return 0
	}
	total := g.sum[i-1]
	if last := g.list[i-1]; last.To.After(t) {
		total -= last.To.Sub(t)
	}
	return total
}

// Last returns the latest gap that shares an instant with the time from a to b, both included.
func (g *Gaps) Last(a, b time.Time) (Gap, bool) {
	if g == nil {
		return Gap{}, false
	}
	i := sort.Search(len(g.list), func(i int) bool { return g.list[i].From.After(b) }) // gaps that begin by b
	if i == 0 || !g.list[i-1].To.After(a) {
		return Gap{}, false
	}
	return g.list[i-1], true
}
