package promapi

import (
	"math"
	"sort"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// computed is a series made of pieces. It is never changed once it is handed out.
type computed struct {
	labels labels.Labels
	pieces
}

// Labels are those of the series.
func (s *computed) Labels() labels.Labels { return s.labels }

// Iterator reads the samples; an iterator of another computed series is used again.
func (s *computed) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	if i, ok := it.(*iterator); ok {
		*i = iterator{series: s, until: math.MinInt64}
		return i
	}
	return &iterator{series: s, until: math.MinInt64}
}

// iterator computes samples from pieces as they are asked for. at is the place among the pieces; until is where that piece
// ends, so that within a piece a step is one addition and one comparison. kind, shown and value are the piece's.
type iterator struct {
	series  *computed
	t       int64
	until   int64
	value   float64
	at      int
	kind    kind
	shown   chunkenc.ValueType
	started bool // a sample was returned
	grown   bool // the one before was a histogram too, so that this one has not been reset
}

// Next goes to the next instant that has a sample.
func (i *iterator) Next() chunkenc.ValueType {
	if !i.started {
		return i.move(i.series.window.first)
	}
	i.grown = true
	t := i.t + i.series.window.step
	if t < i.until {
		i.t = t
		return i.shown
	}
	if i.kind == absent {
		return chunkenc.ValNone
	}
	return i.move(t)
}

// millis is an instant. As an alias of its own it tells go vet that Seek is not meant to be io.Seeker's.
type millis = int64

// Seek goes to the first sample at or after t, unless it is there.
func (i *iterator) Seek(t millis) chunkenc.ValueType {
	if i.started {
		if i.kind == absent {
			return chunkenc.ValNone
		}
		if i.t >= t {
			return i.shown
		}
		i.grown = true
	}
	return i.move(max(ceil(t, i.series.window.step), i.series.window.first))
}

// move goes to the first sample at or after t, an instant of the grid that lies ahead.
func (i *iterator) move(t int64) chunkenc.ValueType {
	if t < i.until {
		i.t = t
		return i.shown
	}
	i.started = true
	s := i.series
	list := s.list
	if i.at+1 < len(list) && list[i.at+1].from <= t {
		rest := list[i.at+1:]
		i.at += sort.Search(len(rest), func(k int) bool { return rest[k].from > t })
	}
	for ; i.at < len(list); i.at++ {
		p := &list[i.at]
		if t = max(t, p.from); t > s.window.last {
			break
		}
		if until := s.until(i.at); p.kind != absent && t < until {
			i.t, i.until, i.kind, i.value = t, until, p.kind, p.value
			i.shown = i.valueType()
			return i.shown
		}
	}
	i.kind, i.until = absent, math.MinInt64
	return chunkenc.ValNone
}

func (i *iterator) valueType() chunkenc.ValueType {
	if i.kind == native || i.kind == stale && i.series.native {
		return chunkenc.ValHistogram
	}
	return chunkenc.ValFloat
}

// At is the sample, where it is a float.
func (i *iterator) At() (int64, float64) {
	if i.kind == moving {
		return i.t, i.series.lines[i.series.list[i.at].index].Value(time.UnixMilli(i.t))
	}
	return i.t, i.value
}

// AtHistogram is the sample, where it is a histogram: a copy, since the engine writes on what it gets.
func (i *iterator) AtHistogram(into *histogram.Histogram) (int64, *histogram.Histogram) {
	if into == nil {
		into = &histogram.Histogram{}
	}
	if i.kind == stale {
		*into = histogram.Histogram{Sum: i.value}
		return i.t, into
	}
	i.series.hists[i.series.list[i.at].index].CopyTo(into)
	into.CounterResetHint = i.hint()
	return i.t, into
}

// AtFloatHistogram is AtHistogram with counts as floats.
func (i *iterator) AtFloatHistogram(into *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	if i.kind == stale {
		return i.t, &histogram.FloatHistogram{Sum: i.value}
	}
	fh := i.series.hists[i.series.list[i.at].index].ToFloat(into)
	fh.CounterResetHint = i.hint()
	return i.t, fh
}

// hint says that a histogram behind another has not been reset: totals only grow.
func (i *iterator) hint() histogram.CounterResetHint {
	if i.grown {
		return histogram.NotCounterReset
	}
	return histogram.UnknownCounterReset
}

// AtT is when the sample was.
func (i *iterator) AtT() int64 { return i.t }

// AtST is 0: start times are not told.
func (i *iterator) AtST() int64 { return 0 }

// Err is nil: what can fail has failed before.
func (i *iterator) Err() error { return nil }
