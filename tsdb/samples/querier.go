package samples

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// querier reads an organisation's samples from mint to maxt.
type querier struct {
	store      *Store
	org        tenant.OrgID
	mint, maxt int64        // milliseconds since 1970, inclusive
	left       atomic.Int64 // samples that may still be read, by all its selections together
}

// Close has nothing to release: every call gives its connection back.
func (q *querier) Close() error { return nil }

// LabelValues returns the values of a label of the series that match and have samples of the querier's days.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	list, err := q.store.values(ctx, q.org, q.mint, q.maxt, name, matchers)
	if err != nil {
		return nil, nil, err
	}
	list, _ = hints.ApplyLimit(list)
	return list, nil, nil
}

// LabelNames returns the names of the labels of the series that match and have samples of the querier's days.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	list, err := q.store.names(ctx, q.org, q.mint, q.maxt, matchers)
	if err != nil {
		return nil, nil, err
	}
	list, _ = hints.ApplyLimit(list)
	return list, nil, nil
}

// Select returns the series that match with their samples; those without any are left out, unless the hints say that no
// samples are wanted.
func (q *querier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	list, err := q.selectSeries(ctx, sortSeries, hints, matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return &seriesSet{list: list, at: -1}
}

func (q *querier) selectSeries(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers []*labels.Matcher) ([]*stored, error) {
	mint, maxt, limit, bare := q.mint, q.maxt, 0, false
	if hints != nil {
		if !hints.DisableTrimming {
			mint, maxt = max(mint, hints.Start), min(maxt, hints.End)
		}
		limit, bare = hints.Limit, hints.Func == "series"
	}
	var list []*stored
	builder := labels.NewScratchBuilder(16)
	err := q.store.each(ctx, q.org, mint, maxt, matchers, func(c candidate) (bool, error) {
		builder.Reset()
		for name, value := range c.labels {
			builder.Add(name, value)
		}
		builder.Sort()
		s := &stored{id: c.id, labels: builder.Labels()}
		if hints != nil && hints.ShardCount > 0 && labels.StableHash(s.labels)%hints.ShardCount != hints.ShardIndex {
			return true, nil
		}
		if len(list) == q.store.options.MaxSeries {
			return false, fmt.Errorf("%w: a selector matches more than %d series; narrow it", ErrLimit, q.store.options.MaxSeries)
		}
		list = append(list, s)
		return !bare || limit <= 0 || len(list) < limit, nil
	})
	if err == nil && !bare {
		list, err = q.store.read(ctx, &q.left, list, mint, maxt)
	}
	if err != nil {
		return nil, err
	}
	if sortSeries {
		slices.SortFunc(list, func(a, b *stored) int { return labels.Compare(a.labels, b.labels) })
	}
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// seriesSet hands out a list.
type seriesSet struct {
	list []*stored
	at   int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.list) }
func (s *seriesSet) At() storage.Series                { return s.list[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
