package promapi

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// kind is what a piece shows.
type kind uint8

const (
	absent   kind = iota // no sample
	stale                // the marker, at one instant
	constant             // piece.value
	moving               // lines[piece.index]
	native               // hists[piece.index]
)

// piece is what a series is worth from an instant of the grid on, until the next piece.
type piece struct {
	from  int64 // ms
	value float64
	index int32
	kind  kind
}

// pieces is a series over a window: never two in a row that are worth the same, so a day of a monitor at rest is one.
type pieces struct {
	window window
	native bool // markers are histograms
	list   []piece
	lines  []metric.Line
	hists  []*histogram.Histogram // never changed
}

// last is the piece in force at the end, absent before the first.
func (p *pieces) last() piece {
	if len(p.list) == 0 {
		return piece{kind: absent}
	}
	return p.list[len(p.list)-1]
}

// addLine says what the series is worth from an instant of the grid on, later than all before.
func (p *pieces) addLine(from int64, l metric.Line, ok bool) {
	switch {
	case !ok:
		p.addAbsent(from)
	case l.Constant():
		v := l.Value(l.At)
		if last := p.last(); last.kind != constant || math.Float64bits(last.value) != math.Float64bits(v) {
			p.add(piece{from: from, value: v, kind: constant})
		}
	default:
		if last := p.last(); last.kind != moving || p.lines[last.index] != l {
			p.lines = append(p.lines, l)
			p.add(piece{from: from, index: int32(len(p.lines) - 1), kind: moving})
		}
	}
}

// addHistogram says what a native histogram is worth. Its count only grows, so one of the same count is the same.
func (p *pieces) addHistogram(from int64, h *monitor.Histogram) {
	if last := p.last(); last.kind == native && p.hists[last.index].Count == uint64(h.Count) {
		return
	}
	p.hists = append(p.hists, nativeHistogram(h))
	p.add(piece{from: from, index: int32(len(p.hists) - 1), kind: native})
}

// addAbsent says that there is no sample from an instant on: where there was one, the first is a staleness marker.
func (p *pieces) addAbsent(from int64) {
	if k := p.last().kind; k == absent || k == stale {
		return
	}
	p.add(piece{from: from, value: math.Float64frombits(value.StaleNaN), kind: stale})
	p.list = append(p.list, piece{from: from + p.window.step, kind: absent})
}

func (p *pieces) add(x piece) {
	if n := len(p.list); n > 0 && p.list[n-1].from == x.from {
		p.list = p.list[:n-1] // only the absence behind a marker can begin where the next piece does
	}
	p.list = append(p.list, x)
}

// seen reports whether any instant of the window has a sample.
func (p *pieces) seen() bool {
	for i, x := range p.list {
		if x.kind != absent && x.from <= p.window.last && p.until(i) > p.window.first {
			return true
		}
	}
	return false
}

// until is where the piece ends, exclusive.
func (p *pieces) until(i int) int64 {
	if i+1 < len(p.list) {
		return min(p.list[i+1].from, p.window.last+p.window.step)
	}
	return p.window.last + p.window.step
}

// nativeHistogram is a histogram as Prometheus keeps one. The hint is that of a histogram before which nothing is known.
func nativeHistogram(h *monitor.Histogram) *histogram.Histogram {
	out := &histogram.Histogram{
		Schema: monitor.HistogramSchema, ZeroThreshold: zeroThreshold, ZeroCount: uint64(h.Zero),
		Count: uint64(h.Count), Sum: h.Sum.Seconds(),
	}
	out.PositiveBuckets = make([]int64, 0, len(h.Buckets))
	next, before := int32(0), int64(0)
	for i, b := range h.Buckets {
		if i == 0 || b.Index != next {
			out.PositiveSpans = append(out.PositiveSpans, histogram.Span{Offset: b.Index - next})
		}
		out.PositiveSpans[len(out.PositiveSpans)-1].Length++
		out.PositiveBuckets = append(out.PositiveBuckets, b.Count-before)
		next, before = b.Index+1, b.Count
	}
	return out
}

// zeroThreshold is client_golang's: what is nearer to 0 counts as 0. No duration but 0 itself is.
const zeroThreshold = 0x1p-128

// moment is a point that is in force at some instant of the grid.
type moment struct {
	from  int64
	point *metric.Point
}

// moments are the points of a timeline that an instant of the window shows, or the one before it. Of several between two
// instants only the last is seen. A deletion ends them; gone is then the first instant without the monitor.
func moments(into []moment, w window, points []metric.Point, end time.Time) (seen []moment, gone int64) {
	gone = math.MaxInt64
	if !end.IsZero() {
		gone = max(ceilTime(end, w.step), w.before())
	}
	into = into[:0]
	for i := range points {
		from := max(ceilTime(points[i].At, w.step), w.before())
		if from > w.last || from >= gone {
			break
		}
		if n := len(into); n > 0 && into[n-1].from == from {
			into = into[:n-1]
		}
		into = append(into, moment{from: from, point: &points[i]})
	}
	return into, gone
}

// ended closes a series of which nothing is there from an instant on.
func (p *pieces) ended(gone int64) {
	if gone <= p.window.last {
		p.addAbsent(gone)
	}
}
