package samples_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

func newUpkeep(t *testing.T, pool *pgxpool.Pool, keep time.Duration) *samples.Upkeep {
	t.Helper()
	u, err := samples.NewUpkeep(pool, keep, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func once(t *testing.T, u *samples.Upkeep, now time.Time) {
	t.Helper()
	if err := u.Once(ctxFor(t), now); err != nil {
		t.Fatal(err)
	}
}

func TestUpkeepPacksFinishedHours(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic() // at 12:00
	x := up("a")
	for n := range 6 * 240 { // six hours, every 15 s
		x.Floats = append(x.Floats, series.Float{At: int64(step(float64(n) * 15)), Value: float64(n)})
	}
	l.samples(org(1), x)
	w := newWriter(pool)
	feed(t, w, l)
	store := samples.NewStore(pool, samples.Options{})
	all := query{-1e6, 1e6, nil, []*labels.Matcher{is("host", "a")}}
	want, err := all.run(t, store, org(1))
	if err != nil {
		t.Fatal(err)
	}
	f := func(now time.Time, rows, packs int64) {
		t.Helper()
		once(t, newUpkeep(t, pool, 0), now)
		gotRows, gotPacks := count(t, pool, `select count(*) from samples`), count(t, pool, `select count(*) from samples_packed`)
		if gotRows != rows || gotPacks != packs {
			t.Errorf("at %v: %d rows, %d packs; want %d, %d", now, gotRows, gotPacks, rows, packs)
		}
		check(t, store, org(1), all, want...)
	}
	f(l.now.Add(2*hour+59*time.Minute), 1440, 0)
	f(l.now.Add(3*hour), 960, 1)
	f(l.now.Add(3*hour), 960, 1)
	f(l.now.Add(5*hour+time.Minute), 480, 2)
	// A late one, one that is in a pack, and a new one, by a writer that remembers nothing.
	l.now = l.now.Add(5 * hour)
	l.samples(org(1), up("a", step(1), 77, step(15), 88, step(6*3600), 99))
	feed(t, newWriter(pool), l)
	want = []string{strings.Replace(want[0], " 0=0 15=1 ", " 0=0 1=77 15=1 ", 1) + " 21600=99"}
	f(l.now, 481, 3) // 12:00 to 14:00 is in two packs now
	f(l.now.Add(day), 0, 5)
	// What a pack has is not written again after a restart.
	l.samples(org(1), up("a", step(6*3600), 100))
	feed(t, newWriter(pool), l)
	check(t, store, org(1), all, want...)
}

// What comes late, twice or new behind packing or compression is there once, and the first of an instant stays.
func TestLateBehindPacking(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		l.samples(org(1), up("a", step(0), 0, step(15), 1, step(30), 2), up("b", step(0), 1))
		feed(t, newWriter(pool), l)
		store := samples.NewStore(pool, samples.Options{})
		f := func(want string) {
			t.Helper()
			check(t, store, org(1), query{-1e6, 1e6, nil, []*labels.Matcher{is("host", "a")}}, `{__name__="up", host="a"} `+want)
		}
		for range 2 {
			settle(t, pool, l.now.Add(day))
			f("0=0 15=1 30=2")
		}
		l.samples(org(1), up("a", step(30), 92, step(45), 3, step(20), 4, step(15), 91))
		feed(t, newWriter(pool), l)
		for range 2 {
			f("0=0 15=1 20=4 30=2 45=3")
			settle(t, pool, l.now.Add(day))
		}
		f("0=0 15=1 20=4 30=2 45=3")
	})
}

// Readers see every sample once at every moment, while a writer writes early and late ones and an upkeep packs.
func TestReadWhilePacking(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	store, u, w := samples.NewStore(pool, samples.Options{}), newUpkeep(t, pool, 0), newWriter(pool)
	l := newTopic()
	const hosts = 30
	for n := range 100 {
		var list []series.Series
		for h := range hosts {
			list = append(list, up(fmt.Sprint(h), step(float64(n*120)), float64(n), step(float64(n*60+30)), float64(n))) // the second is late
		}
		l.samples(org(1), list...)
	}
	feed(t, w, &topic{recs: l.recs[:50]})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(3, 4))
		for ctx.Err() == nil {
			if err := u.Once(context.WithoutCancel(ctx), l.now.Add(time.Duration(rng.IntN(int(8*hour))))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() {
		defer stop()
		for n := 50; n < len(l.recs); n++ {
			feed(t, w, &topic{recs: l.recs[:n+1]})
		}
	})
	for ctx.Err() == nil {
		lines, err := query{0, 50 * 120, nil, []*labels.Matcher{is("__name__", "up")}}.run(t, store, org(1))
		if err != nil || len(lines) != hosts {
			t.Errorf("%d series, %v", len(lines), err)
			break
		}
		for _, line := range lines {
			if !strings.Contains(line, " 0=0 30=0 90=1 120=1 ") || strings.Count(line, " 2970=49 ") != 1 || strings.Count(line, "=") < 102 {
				t.Errorf("samples are missing, or there twice: %s", line)
			}
		}
	}
	stop()
	wg.Wait()
	settle(t, pool, l.now.Add(day))
	if n := count(t, pool, `select count(*) from series`); n != hosts {
		t.Errorf("%d series", n)
	}
	lines, err := query{0, 1e6, nil, []*labels.Matcher{is("host", "7")}}.run(t, store, org(1))
	if err != nil || len(lines) != 1 || strings.Count(lines[0], " ") != 1+200 {
		t.Errorf("%d samples, %v; want 200: %s", strings.Count(lines[0], " ")-1, err, lines)
	}
}

func TestUpkeepRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		for n := range 30 {
			at := step(-float64(n) * 24 * 3600)
			l.samples(org(1), up("a", at, 1), up(fmt.Sprint(n), at, 1))
		}
		feed(t, newWriter(pool), l)
		u := newUpkeep(t, pool, 10*day)
		once(t, u, l.now)
		if count(t, pool, `select count(*) from series`) != 31 {
			t.Error("series went that a writer has just asked for")
		}
		exec(t, pool, `update series set seen_at = now() - interval '3 days' where name = 'up'`)
		once(t, u, l.now)
		once(t, u, l.now)
		if n := count(t, pool, `select count(*) from series`); n != 12 { // a, and those of today and the ten days before
			t.Errorf("%d series are left, want 12", n)
		}
		var level string
		if err := pool.QueryRow(ctxFor(t), `select tokiflow_level()`).Scan(&level); err != nil {
			t.Fatal(err)
		}
		if level != "community" {
			if n := count(t, pool, `select count(*) from samples_packed`) + count(t, pool, `select count(*) from samples`); n != 22 {
				t.Errorf("%d samples are left, want 22", n)
			}
			return
		}
		policy := func(want string) {
			t.Helper()
			var got string
			err := pool.QueryRow(ctxFor(t), `select coalesce(string_agg(config ->> 'drop_after', ','), '') from timescaledb_information.jobs
				where proc_name = 'policy_retention' and hypertable_name = 'samples'`).Scan(&got)
			if err != nil || got != want {
				t.Errorf("policy %q, %v; want %q", got, err, want)
			}
		}
		policy("240:00:00")
		once(t, newUpkeep(t, pool, 20*day), l.now)
		policy("480:00:00")
		once(t, newUpkeep(t, pool, 0), l.now)
		policy("")
	})
}

// A series that was removed is made anew when it comes back, also by a writer that remembered it.
func TestSeriesComesBack(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	w := newWriter(pool)
	feed(t, w, l)
	exec(t, pool, `update series set seen_at = now() - interval '3 days'`)
	l.now = l.now.Add(40 * day)
	once(t, newUpkeep(t, pool, 10*day), l.now)
	if n := count(t, pool, `select count(*) from series`); n != 0 {
		t.Fatalf("%d series", n)
	}
	// 40 days later the sample is of a day that the writer does not know of the series, so it asks, though it remembers it.
	l.samples(org(1), up("a", step(40*24*3600), 2))
	for count(t, pool, `select count(*) from samples`) == 0 {
		if err := w.Batch(ctxFor(t), 0, l.recs[1:], true); err != nil {
			t.Fatal(err)
		}
		for count(t, pool, `select next_offset from log_offsets`) < 2 {
			if err := w.Batch(ctxFor(t), 0, nil, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	check(t, samples.NewStore(pool, samples.Options{}), org(1), query{-1e9, 1e9, nil, []*labels.Matcher{is("host", "a")}},
		`{__name__="up", host="a"} 3.456e+06=2`)
}

func TestUpkeepRefusesShortRetention(t *testing.T) {
	t.Parallel()
	got := map[time.Duration]bool{}
	for _, keep := range []time.Duration{0, day, samples.DefaultRetention, day - 1, -day} {
		_, err := samples.NewUpkeep(nil, keep, nil)
		got[keep] = err == nil
	}
	if d := cmp.Diff(map[time.Duration]bool{0: true, day: true, samples.DefaultRetention: true, day - 1: false, -day: false}, got); d != "" {
		t.Error(d)
	}
}

func TestUpkeepLeavesTheWorkToWhoIsAtIt(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	feed(t, newWriter(pool), l)
	conn, err := pool.Acquire(ctxFor(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	f := func(lock string, rows int64) {
		t.Helper()
		if _, err := conn.Exec(ctxFor(t), `select `+lock+`(7405003)`); err != nil {
			t.Fatal(err)
		}
		once(t, newUpkeep(t, pool, 0), l.now.Add(day))
		if n := count(t, pool, `select count(*) from samples`); n != rows {
			t.Errorf("%s: %d rows, want %d", lock, n, rows)
		}
	}
	f("pg_advisory_lock", 1)
	f("pg_advisory_unlock", 0)
}

func TestUpkeepRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	feed(t, newWriter(pool), l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { newUpkeep(t, pool, 0).Run(ctx); close(done) }()
	for count(t, pool, `select count(*) from samples`) == 1 { // long ago by the clock of the machine
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
