package samples_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1, step(15), 2, step(30), math.Float64frombits(stale), step(7200), 5),
		up("b", step(15), 4), up("ü'\"\\\n{}", step(15), 6),
		series.Series{Labels: labelled("__name__", "down", "host", "a", "zone", "x"), Floats: floats(step(15), 7)},
		series.Series{Labels: labelled("host", "nameless"), Floats: floats(step(15), 8)})
	l.samples(org(1), up("a", step(5), 1.5)) // late
	l.samples(org(2), up("a", step(15), 99), up("other", step(15), 99))
	const unicode = `{__name__="up", host="ü'\"\\\n{}"} 15=6`
	eachLayout(t, l, func(t *testing.T, pool *pgxpool.Pool) {
		store := samples.NewStore(pool, samples.Options{})
		f := func(matchers []*labels.Matcher, want ...string) {
			t.Helper()
			check(t, store, org(1), query{15, 15, nil, matchers}, want...)
		}
		a, b, down, nameless := `{__name__="up", host="a"} 15=2`, `{__name__="up", host="b"} 15=4`,
			`{__name__="down", host="a", zone="x"} 15=7`, `{host="nameless"} 15=8`
		m := func(m ...*labels.Matcher) []*labels.Matcher { return m }
		f(m(is("__name__", "up")), a, b, unicode)
		f(m(is("__name__", "up"), is("host", "a")), a)
		f(m(is("host", "a")), down, a)
		f(m(is("host", "a"), is("host", "b")))
		f(m(is("host", "a"), is("host", "a"), is("zone", "")), a)
		f(m(is("host", "ü'\"\\\n{}")), unicode)
		f(m(is("zone", "")), a, b, unicode, nameless)
		f(m(not("zone", "")), down)
		f(m(is("zone", "y")))
		f(m(is("__name__", "")), nameless)
		f(m(like("__name__", "up|down|x"), not("host", "b")), down, a, unicode)
		f(m(like("__name__", "|up"), like("host", "b|nameless")), b, nameless)
		f(m(like("__name__", "d.+")), down)
		f(m(like("host", "[ab]")), down, a, b)
		f(m(unlike("host", "[ab]")), unicode, nameless)
		f(m(like("zone", ".*"), like("host", "a")), down, a)
		f(m(like("zone", ".+")), down)
		f(m(unlike("zone", ".+"), is("__name__", "up"), not("host", "a")), b, unicode)
		f(m(like("__name__", "(?i)UP"), is("host", "a")), a)
		// Hostile ones: nothing but what matches, and nothing of another organisation.
		f(m(is("host", "a' or org_id <> org_id or '1'='1")))
		f(m(is("org_id", org(2).String())))
		f(m(is("host", "other")))
		f(m(is("host", "a\x00"), is("__name__", "up")))
		f(m(is("__name__", "up\xff")))
		f(m(not("__name__", "\x00"), is("host", "b")), b)
		f(m(is("", "a")))
		f(m(is("a\"}'::jsonb", "a")))
		f(nil, down, a, b, unicode, nameless)
		check(t, store, org(2), query{0, 99, nil, m(like("host", ".*"))}, `{__name__="up", host="a"} 15=99`, `{__name__="up", host="other"} 15=99`)
		check(t, store, org(3), query{0, 99, nil, nil})

		one := m(is("__name__", "up"), is("host", "a"))
		g := func(from, to float64, hints *storage.SelectHints, want ...string) {
			t.Helper()
			check(t, store, org(1), query{from, to, hints, one}, want...)
		}
		g(0, 7200, nil, `{__name__="up", host="a"} 0=1 5=1.5 15=2 30=stale 7200=5`)
		g(0.001, 7199.999, nil, `{__name__="up", host="a"} 5=1.5 15=2 30=stale`)
		g(30, 30, nil, `{__name__="up", host="a"} 30=stale`)
		g(31, 7199, nil)
		g(7200, 0, nil)
		g(0, 7200, &storage.SelectHints{Start: int64(step(5)), End: int64(step(15))}, `{__name__="up", host="a"} 5=1.5 15=2`)
		g(10, 20, &storage.SelectHints{Start: int64(step(0)), End: int64(step(99))}, `{__name__="up", host="a"} 15=2`)
		g(10, 20, &storage.SelectHints{DisableTrimming: true}, `{__name__="up", host="a"} 15=2`)
		g(31, 7199, &storage.SelectHints{Start: int64(step(31)), End: int64(step(7199)), Func: "series"}, `{__name__="up", host="a"}`)
		check(t, store, org(1), query{-1e15, 1e15, nil, one}, `{__name__="up", host="a"} 0=1 5=1.5 15=2 30=stale 7200=5`)
	})
}

func TestSelectLimits(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1, step(1), 1), up("b", step(0), 1), up("c", step(0), 1))
	feed(t, newWriter(pool), l)
	all := []*labels.Matcher{is("__name__", "up")}
	f := func(o samples.Options, hints *storage.SelectHints, want int, limited bool) {
		t.Helper()
		got, err := query{0, 10, hints, all}.run(t, samples.NewStore(pool, o), org(1))
		if errors.Is(err, samples.ErrLimit) != limited || err != nil && !limited || len(got) != want {
			t.Errorf("%+v, %+v: %v, %v; want %d series", o, hints, got, err, want)
		}
	}
	hints := func(h storage.SelectHints) *storage.SelectHints {
		h.Start, h.End = int64(step(0)), int64(step(10))
		return &h
	}
	f(samples.Options{}, nil, 3, false)
	f(samples.Options{MaxSeries: 3, MaxSamples: 4}, nil, 3, false)
	f(samples.Options{MaxSeries: 2}, nil, 0, true)
	f(samples.Options{MaxSamples: 3}, nil, 0, true)
	f(samples.Options{MaxSeries: 2}, hints(storage.SelectHints{Limit: 2, Func: "series"}), 2, false)
	f(samples.Options{}, hints(storage.SelectHints{Limit: 2}), 2, false)
	n := 0
	for shard := range uint64(3) {
		got, err := query{0, 10, hints(storage.SelectHints{ShardCount: 3, ShardIndex: shard}), all}.run(t, samples.NewStore(pool, samples.Options{}), org(1))
		if n += len(got); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("three shards have %d series, want 3", n)
	}
	settle(t, pool, l.now.Add(24*time.Hour))
	f(samples.Options{MaxSamples: 3}, nil, 0, true)
}

func TestSelectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	store := samples.NewStore(pgtest.New(t), samples.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q, err := store.Queryable(org(1)).Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if set := q.Select(ctx, false, nil, is("a", "b")); set.Next() || !errors.Is(set.Err(), context.Canceled) {
		t.Errorf("got %v", set.Err())
	}
	if _, _, err := q.LabelNames(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, _, err := q.LabelValues(ctx, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSelectAThousandSeries(t *testing.T) {
	t.Parallel()
	l := newTopic()
	var list []series.Series
	for n := range 1000 {
		list = append(list, up(fmt.Sprintf("host-%03d", n), step(0), float64(n), step(15), float64(n)))
	}
	l.samples(org(1), list...)
	eachLayout(t, l, func(t *testing.T, pool *pgxpool.Pool) {
		got, err := query{0, 15, nil, []*labels.Matcher{is("__name__", "up"), like("host", "host-.[05]7")}}.run(t, samples.NewStore(pool, samples.Options{}), org(1))
		if err != nil || len(got) != 20 || got[3] != `{__name__="up", host="host-157"} 0=157 15=157` || !slices.IsSorted(got) {
			t.Errorf("%d series: %q, %v", len(got), got, err)
		}
	})
}

func TestLabels(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	day := 24 * time.Hour.Seconds()
	l.samples(org(1), up("b", step(0), 1), up("a", step(0), 1), up("µ", step(0), 1), up("Z", step(0), 1),
		series.Series{Labels: labelled("__name__", "down", "host", "a", "zone", "x"), Floats: floats(step(-3*day), 7)},
		series.Series{Labels: labelled("nameless", "1"), Floats: floats(step(0), 8)})
	l.samples(org(2), up("secret", step(0), 1), series.Series{Labels: labelled("__name__", "secret", "secret", "1"), Floats: floats(step(0), 1)})
	feed(t, newWriter(pool), l)
	store := samples.NewStore(pool, samples.Options{MaxSeries: 1}) // bounds samples, not labels
	f := func(from, to float64, limit int, label string, matchers []*labels.Matcher, want ...string) {
		t.Helper()
		q, err := store.Queryable(org(1)).Querier(int64(step(from)), int64(step(to)))
		if err != nil {
			t.Fatal(err)
		}
		var hints *storage.LabelHints
		if limit > 0 {
			hints = &storage.LabelHints{Limit: limit}
		}
		var got []string
		if label == "" {
			got, _, err = q.LabelNames(ctxFor(t), hints, matchers...)
		} else {
			got, _, err = q.LabelValues(ctxFor(t), label, hints, matchers...)
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Join(want, " "), strings.Join(got, " ")); d != "" {
			t.Errorf("%q %v:\n%s", label, matchers, d)
		}
	}
	m := func(m ...*labels.Matcher) []*labels.Matcher { return m }
	all := -4 * day
	f(all, 0, 0, "", nil, "__name__", "host", "nameless", "zone")
	f(0, 0, 0, "", nil, "__name__", "host", "nameless")
	f(all, 0, 2, "", nil, "__name__", "host")
	f(all, 0, 0, "", m(is("zone", "x")), "__name__", "host", "zone")
	f(all, 0, 0, "", m(is("nameless", "1")), "nameless")
	f(all, 0, 0, "", m(like("host", "[abZ]")), "__name__", "host", "zone")
	f(all, 0, 0, "", m(is("host", "secret")))
	f(all, 0, 0, "host", nil, "Z", "a", "b", "µ")
	f(all, 0, 2, "host", nil, "Z", "a")
	f(all, 0, 0, "host", m(like("host", "[^a]")), "Z", "b", "µ")
	f(all, 0, 0, "host", m(not("zone", "x"), is("__name__", "up")), "Z", "a", "b", "µ")
	f(all, 0, 0, "__name__", nil, "down", "up")
	f(all, 0, 0, "__name__", m(not("host", "a")), "up")
	f(0, 0, 0, "__name__", nil, "up")

	for most, want := range map[int]bool{4: false, 3: true} {
		q, err := samples.NewStore(pool, samples.Options{MaxLabels: most}).Queryable(org(1)).Querier(int64(step(0)), int64(step(1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := q.LabelValues(t.Context(), "host", nil); errors.Is(err, samples.ErrLimit) != want {
			t.Errorf("four values, %d allowed: %v", most, err)
		}
	}
	f(all, -2*day, 0, "__name__", nil, "down")
	f(all, 0, 0, "secret", nil)
	f(all, 0, 0, "zone\x00", nil)
	f(all, 0, 0, "x' or 'a", nil)
}

// TestAQueryHasOneLimit: its selectors share what it may bring into memory, where a histogram counts as what it takes.
func TestAQueryHasOneLimit(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1, step(1), 1), up("b", step(0), 1))
	l.samples(org(1), series.Series{
		Labels: labelled("__name__", "h"), Histograms: []series.Histogram{{At: int64(step(0)), Data: make([]byte, 16*100)}},
	})
	feed(t, newWriter(pool), l)
	for name, limited := range map[string][]bool{"up": {false, false, true}, "h": {true, true}} {
		q, err := samples.NewStore(pool, samples.Options{MaxSamples: 7}).Queryable(org(1)).Querier(int64(step(0)), int64(step(10)))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range limited {
			set := q.Select(t.Context(), true, nil, is("__name__", name))
			if got := errors.Is(set.Err(), samples.ErrLimit); got != want {
				t.Errorf("%s, selection %d: %v", name, i, set.Err())
			}
		}
	}
}
