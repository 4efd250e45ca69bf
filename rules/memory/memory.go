// Package memory is a small storage of samples in memory: what rules have just recorded, and the input of their tests.
package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/tokiflow/tokiflow/core/series"
)

// The errors of an append, in Prometheus' words.
var (
	ErrOutOfOrder = errors.New("out of order sample")
	ErrDuplicate  = errors.New("duplicate sample for timestamp")
)

// Storage is a storage.Queryable that samples can be appended to. Safe for concurrent use.
type Storage struct {
	mu     sync.Mutex
	series map[uint64][]*entry // by hash
	named  map[string][]*entry // by name
}

type entry struct {
	labels  labels.Labels
	samples []chunks.Sample // in order of time
}

// New returns an empty storage.
func New() *Storage { return &Storage{series: map[uint64][]*entry{}, named: map[string][]*entry{}} }

// Append appends a sample: a histogram where h is not nil. It must not be older than the series' last one, and the same again
// changes nothing.
func (s *Storage) Append(l labels.Labels, at int64, f float64, h *histogram.FloatHistogram) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(l)
	if n := len(e.samples); n > 0 {
		switch last := e.samples[n-1]; {
		case at < last.T():
			return ErrOutOfOrder
		case at == last.T() && same(last, f, h):
			return nil
		case at == last.T():
			return ErrDuplicate
		}
	}
	if h != nil {
		h = h.Copy()
		h.CounterResetHint = e.hint(h)
	}
	e.samples = append(e.samples, sample{at, f, h})
	return nil
}

// hint says of a histogram whether it goes on from the one before it, as Prometheus' storage finds out when it is appended.
func (e *entry) hint(h *histogram.FloatHistogram) histogram.CounterResetHint {
	if h.CounterResetHint != histogram.UnknownCounterReset || len(e.samples) == 0 || value.IsStaleNaN(h.Sum) {
		return h.CounterResetHint
	}
	last := e.samples[len(e.samples)-1].FH()
	switch {
	case last == nil || last.CounterResetHint == histogram.GaugeType || value.IsStaleNaN(last.Sum):
		return histogram.UnknownCounterReset
	case h.DetectReset(last):
		return histogram.CounterReset
	}
	return histogram.NotCounterReset
}

func same(s chunks.Sample, f float64, h *histogram.FloatHistogram) bool {
	if h == nil || s.FH() == nil {
		return h == nil && s.FH() == nil && math.Float64bits(s.F()) == math.Float64bits(f)
	}
	return s.FH().Equals(h)
}

// Add appends the samples of a series.
func (s *Storage) Add(in series.Series) error {
	l := labelsOf(in)
	for _, f := range in.Floats {
		if err := s.Append(l, f.At, f.Value, nil); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
	}
	for _, f := range in.Histograms {
		var h prompb.Histogram
		if err := h.Unmarshal(f.Data); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		if err := s.Append(l, f.At, 0, h.ToFloatHistogram()); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
	}
	return nil
}

// Replace is Add, but that the samples take the place of those of the same instants.
func (s *Storage) Replace(in series.Series) error {
	for _, f := range in.Floats {
		s.drop(in, f.At)
	}
	for _, h := range in.Histograms {
		s.drop(in, h.At)
	}
	return s.Add(in)
}

// drop takes a series' sample of an instant away.
func (s *Storage) drop(in series.Series, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(labelsOf(in))
	e.samples = slices.DeleteFunc(e.samples, func(o chunks.Sample) bool { return o.T() == at })
}

func labelsOf(in series.Series) labels.Labels {
	b := labels.NewScratchBuilder(len(in.Labels))
	for _, l := range in.Labels {
		b.Add(l.Name, l.Value)
	}
	return b.Labels()
}

func (s *Storage) entry(l labels.Labels) *entry {
	h := l.Hash()
	for _, e := range s.series[h] {
		if labels.Equal(e.labels, l) {
			return e
		}
	}
	e := &entry{labels: l}
	s.series[h] = append(s.series[h], e)
	name := l.Get(series.NameLabel)
	s.named[name] = append(s.named[name], e)
	return e
}

// Querier returns a querier of the samples from mint to maxt, both in it.
func (s *Storage) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{s, mint, maxt}, nil
}

type querier struct {
	storage    *Storage
	mint, maxt int64
}

// Select returns the series that match, as they are now, in order.
func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	q.storage.mu.Lock()
	defer q.storage.mu.Unlock()
	var out []storage.Series
	for _, es := range q.storage.candidates(matchers) {
		for _, e := range es {
			if !matches(e.labels, matchers) {
				continue
			}
			from, _ := slices.BinarySearchFunc(e.samples, q.mint, func(s chunks.Sample, t int64) int { return int(min(max(s.T()-t, -1), 1)) })
			to := from
			for to < len(e.samples) && e.samples[to].T() <= q.maxt {
				to++
			}
			if from < to {
				out = append(out, storage.NewListSeries(e.labels, e.samples[from:to:to]))
			}
		}
	}
	slices.SortFunc(out, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &set{series: out, at: -1}
}

// candidates are the series among which those that match are.
func (s *Storage) candidates(matchers []*labels.Matcher) map[string][]*entry {
	for _, m := range matchers {
		if m.Name == series.NameLabel && m.Type == labels.MatchEqual {
			return map[string][]*entry{m.Value: s.named[m.Value]}
		}
	}
	return s.named
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// LabelValues is not for rules, which only ask expressions.
func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// LabelNames is not for rules, which only ask expressions.
func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// Close has nothing to close.
func (*querier) Close() error { return nil }

type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// sample is a float or a histogram.
type sample struct {
	t  int64
	f  float64
	fh *histogram.FloatHistogram
}

func (s sample) T() int64                { return s.t }
func (s sample) ST() int64               { return 0 }
func (s sample) F() float64              { return s.f }
func (s sample) H() *histogram.Histogram { return nil }
func (s sample) Type() chunkenc.ValueType {
	if s.fh != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

// FH returns a copy: the engine changes histograms that it is given.
func (s sample) FH() *histogram.FloatHistogram {
	if s.fh == nil {
		return nil
	}
	return s.fh.Copy()
}

// Copy returns a sample of its own.
func (s sample) Copy() chunks.Sample {
	if s.fh != nil {
		s.fh = s.fh.Copy()
	}
	return s
}
