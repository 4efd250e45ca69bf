package promapi

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// set is a storage.SeriesSet that reads its series when the first is asked for.
type set struct {
	load   func() ([]storage.Series, error)
	loaded bool
	list   []storage.Series
	at     int
	err    error
}

// Next goes to the next series.
func (s *set) Next() bool {
	if !s.loaded {
		s.loaded, s.at = true, -1
		s.list, s.err = s.load()
	}
	s.at++
	return s.err == nil && s.at < len(s.list)
}

// At is the series.
func (s *set) At() storage.Series { return s.list[s.at] }

// Err is why there is no next one.
func (s *set) Err() error { return s.err }

// Warnings are none.
func (s *set) Warnings() annotations.Annotations { return nil }

// budget is how many series a query may select, all its selectors together.
type budget struct {
	most int
	used atomic.Int64
}

func (b *budget) take(n int64) error {
	if b.used.Add(n) > int64(b.most) {
		return &limitError{"the query selects more than " + strconv.Itoa(b.most) +
			" series: name the metric, or match fewer monitors by id"}
	}
	return nil
}

// counted is the querier of stored series: what it selects is counted, and its errors are known for what they are.
type counted struct {
	storage.Querier
	api    *API
	budget *budget
}

// Select chooses series.
func (c *counted) Select(ctx context.Context, sort bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return &countedSet{SeriesSet: c.Querier.Select(ctx, sort, hints, matchers...), api: c.api, budget: c.budget, ctx: ctx}
}

// LabelValues are those of one label.
func (c *counted) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	v, w, err := c.Querier.LabelValues(ctx, name, hints, matchers...)
	return v, w, c.api.failed(ctx, readingStored, err)
}

// LabelNames are those of the chosen series.
func (c *counted) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	v, w, err := c.Querier.LabelNames(ctx, hints, matchers...)
	return v, w, c.api.failed(ctx, readingStored, err)
}

const readingStored = "reading stored series"

type countedSet struct {
	storage.SeriesSet
	api    *API
	budget *budget
	ctx    context.Context // of the selection, for the log
	err    error
}

// Next goes to the next series.
func (s *countedSet) Next() bool {
	if s.err != nil || !s.SeriesSet.Next() {
		return false
	}
	s.err = s.budget.take(1)
	return s.err == nil
}

// Err is why there is no next one.
func (s *countedSet) Err() error {
	if s.err == nil {
		s.err = s.api.failed(s.ctx, readingStored, s.SeriesSet.Err())
	}
	return s.err
}

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
