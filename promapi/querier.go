package promapi

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// Queryable is all series of one organisation: those computed from its history and those written to it. No matcher
// reaches another's, since the organisation is bound here and is no label.
func (a *API) Queryable(org tenant.OrgID) storage.Queryable {
	return a.queryable(context.Background(), org)
}

// queryable is Queryable with the context to log in.
func (a *API) queryable(ctx context.Context, org tenant.OrgID) storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		b := &budget{most: a.limits.MaxSeries}
		q := []storage.Querier{&querier{api: a, org: org, mint: mint, maxt: maxt, budget: b}}
		if a.stored == nil {
			return q[0], nil
		}
		s, err := a.stored(org).Querier(mint, maxt)
		if err != nil {
			return nil, a.failed(ctx, readingStored, err)
		}
		return storage.NewMergeQuerier(append(q, &counted{Querier: s, api: a, budget: b}), nil, storage.ChainedSeriesMerge), nil
	})
}

// querier reads the computed series of one organisation in a window.
type querier struct {
	api        *API
	org        tenant.OrgID
	mint, maxt int64
	budget     *budget

	once    sync.Once
	horizon int64 // ms; nothing is known of later instants
	failed  error
}

// Close does nothing.
func (q *querier) Close() error { return nil }

// Select chooses series. They are read when the first is asked for.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return &set{load: func() ([]storage.Series, error) { return q.load(ctx, hints, matchers) }}
}

func (q *querier) load(ctx context.Context, hints *storage.SelectHints, matchers []*labels.Matcher) ([]storage.Series, error) {
	s := q.api.catalog.choose(matchers)
	if s.empty() {
		return nil, nil
	}
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = max(mint, hints.Start), min(maxt, hints.End)
	}
	exist := hints != nil && hints.Func == "series"
	w, err := q.window(ctx, mint, maxt, grid(hints), exist)
	if err != nil || w.empty() {
		return nil, err
	}
	b := builder{selection: s, window: w, budget: q.budget, most: q.api.limits.MaxSamples}
	if exist {
		b.enough = hints.Limit
		if err = q.read(ctx, s, w.first, w, b.names); errors.Is(err, errEnough) {
			err = nil
		}
	} else {
		// What was shown at the instant before the first says whether a series has gone stale at the first.
		err = q.read(ctx, s, w.before(), w, b.series)
	}
	if err != nil {
		return nil, err
	}
	return b.sorted(), nil
}

// window is the instants of the grid that may be shown: within the retention, and at or before the horizon. To find out
// which series exist in a window, no grid is needed: it is read in a hundred steps, from its first to its last instant.
func (q *querier) window(ctx context.Context, mint, maxt, step int64, exist bool) (window, error) {
	horizon, err := q.end(ctx)
	if err != nil {
		return window{}, err
	}
	mint, maxt = max(mint, q.api.oldest(horizon)), min(maxt, horizon)
	if mint > maxt {
		return window{first: 1, last: 0, step: step}, nil
	}
	if exist {
		return window{first: mint, last: maxt, step: max(step, ceil((maxt-mint)/100, step))}, nil
	}
	return window{first: ceil(mint, step), last: floor(maxt, step), step: step}, nil
}

// end is the latest instant of which something is known.
func (q *querier) end(ctx context.Context) (int64, error) {
	q.once.Do(func() {
		now := q.api.clock()
		if q.api.horizon != nil {
			t, err := q.api.horizon(ctx, q.org)
			if err != nil {
				q.failed = q.api.failed(ctx, "asking for the horizon", err)
				return
			}
			if t.Before(now) {
				now = t
			}
		}
		q.horizon = now.UnixMilli()
	})
	return q.horizon, q.failed
}

// oldest is the first instant that is kept, as seen from now (ms).
func (a *API) oldest(now int64) int64 {
	if a.retention <= 0 {
		return 0
	}
	return max(0, now-a.retention.Milliseconds())
}

// read asks for the timelines that the selection needs.
func (q *querier) read(ctx context.Context, s *selection, from int64, w window, f func(*timeline.Timeline) error) error {
	err := q.api.timelines.Timelines(ctx, q.org, timeline.Query{
		From: time.UnixMilli(from).UTC(), To: time.UnixMilli(w.last).UTC(), Step: time.Duration(w.step) * time.Millisecond,
		IDs: s.ids, Families: s.families,
	}, func(t *timeline.Timeline) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return f(t)
	})
	return q.api.failed(ctx, "reading timelines", err)
}

// LabelNames are those of the series that the matchers choose.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	s := q.api.catalog.choose(matchers)
	names := map[string]bool{}
	if s.empty() {
		return nil, nil, nil
	}
	if s.everyMonitor() {
		// Whatever monitors there are, these are the labels of all series but the info.
		for i := range s.entries {
			addEntryNames(names, &s.entries[i])
		}
		matchers = append(slices.Clone(matchers), onlyInfo())
	}
	if !s.everyMonitor() || s.info {
		err := q.each(ctx, matchers, func(ls labels.Labels) {
			ls.Range(func(l labels.Label) { names[l.Name] = true })
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return limited(names, hints), nil, nil
}

func onlyInfo() *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, series.NameLabel, metric.InfoName)
}

func addEntryNames(names map[string]bool, e *entry) {
	names[series.NameLabel], names[metric.LabelID] = true, true
	if e.label != "" {
		names[e.label] = true
	}
}

// LabelValues are those of one label of the series that the matchers choose.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	s := q.api.catalog.choose(matchers)
	values := map[string]bool{}
	if s.empty() {
		return nil, nil, nil
	}
	if q.static(name, s) {
		for i := range s.entries {
			switch e := &s.entries[i]; name {
			case series.NameLabel:
				values[e.name] = true
			case e.label:
				values[e.value] = true
			}
		}
		if name == series.NameLabel && s.info {
			values[metric.InfoName] = true
		}
		return limited(values, hints), nil, nil
	}
	if s.info && name != series.NameLabel && !q.api.catalog.labelled(name) && (name != metric.LabelID || len(s.infos) == 0) {
		// Only the info series has labels that are not known beforehand, and every monitor has one.
		matchers = append(slices.Clone(matchers), onlyInfo())
	}
	err := q.each(ctx, matchers, func(ls labels.Labels) {
		if v := ls.Get(name); v != "" {
			values[v] = true
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return limited(values, hints), nil, nil
}

// static reports whether the values of the label are the same whatever monitors there are.
func (q *querier) static(name string, s *selection) bool {
	if !s.everyMonitor() {
		return false
	}
	return q.api.catalog.labelled(name) || name == series.NameLabel && (!s.info || len(s.infos) == 0)
}

// each calls f with the labels of every series that the matchers choose in the window.
func (q *querier) each(ctx context.Context, matchers []*labels.Matcher, f func(labels.Labels)) error {
	hints := &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"}
	list, err := q.load(ctx, hints, matchers)
	for _, s := range list {
		f(s.Labels())
	}
	return err
}

func limited(m map[string]bool, hints *storage.LabelHints) []string {
	out, _ := hints.ApplyLimit(slices.Sorted(maps.Keys(m)))
	return out
}
