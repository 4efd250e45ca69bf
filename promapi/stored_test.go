package promapi_test

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/tokiflow/tokiflow/core/series"
)

// stored is a fake of written series.
type stored struct {
	list []storage.Series
	fail error
	wait chan struct{} // where set, reading waits for it
}

func (s *stored) queryable() storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) { return storedQuerier{s}, nil })
}

type storedQuerier struct{ s *stored }

func (q storedQuerier) Close() error { return nil }

func (q storedQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if q.s.wait != nil {
		select {
		case <-q.s.wait:
		case <-ctx.Done():
			return storage.ErrSeriesSet(ctx.Err())
		}
	}
	if q.s.fail != nil {
		return storage.ErrSeriesSet(q.s.fail)
	}
	var out []storage.Series
	for _, s := range q.s.list {
		if !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
			out = append(out, s)
		}
	}
	return &listed{list: out, at: -1}
}

func (q storedQuerier) LabelNames(ctx context.Context, _ *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.collect(ctx, ms, func(l labels.Label) string { return l.Name })
}

func (q storedQuerier) LabelValues(ctx context.Context, name string, _ *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.collect(ctx, ms, func(l labels.Label) string {
		if l.Name == name {
			return l.Value
		}
		return ""
	})
}

func (q storedQuerier) collect(ctx context.Context, ms []*labels.Matcher, of func(labels.Label) string) ([]string, annotations.Annotations, error) {
	var out []string
	set := q.Select(ctx, true, nil, ms...)
	for set.Next() {
		set.At().Labels().Range(func(l labels.Label) {
			if v := of(l); v != "" {
				out = append(out, v)
			}
		})
	}
	slices.Sort(out)
	return slices.Compact(out), nil, set.Err()
}

type listed struct {
	list []storage.Series
	at   int
}

func (l *listed) Next() bool                        { l.at++; return l.at < len(l.list) }
func (l *listed) At() storage.Series                { return l.list[l.at] }
func (l *listed) Err() error                        { return nil }
func (l *listed) Warnings() annotations.Annotations { return nil }

type sample struct {
	chunks.Sample
	t int64
	v float64
}

func (s sample) T() int64                 { return s.t }
func (s sample) ST() int64                { return 0 }
func (s sample) F() float64               { return s.v }
func (s sample) Type() chunkenc.ValueType { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample      { return s }

// written is a stored series with one sample a minute during the last hour.
func written(v float64, name string, pairs ...string) storage.Series {
	var list []chunks.Sample
	for t := ago("1h"); !t.After(now()); t = t.Add(time.Minute) {
		list = append(list, sample{t: t.UnixMilli(), v: v})
	}
	return storage.NewListSeries(labels.FromStrings(append([]string{series.NameLabel, name}, pairs...)...), list)
}
