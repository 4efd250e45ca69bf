package tsdb_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// aggregateRow is a row of any of the aggregates, its histograms unpacked.
type aggregateRow map[string]any

func aggregate(t *testing.T, pool *pgxpool.Pool, name string) []aggregateRow {
	t.Helper()
	rows, err := pool.Query(ctxFor(t), `select * from `+name+` order by monitor_id, bucket`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	var all []aggregateRow
	for _, row := range list {
		for column, v := range row {
			if b, ok := v.([]byte); ok && strings.HasSuffix(column, "_histogram") {
				counts := map[uint32]uint32{}
				for ; len(b) >= 4; b = b[4:] {
					e := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
					counts[e>>21] += e & (1<<21 - 1)
				}
				row[column] = counts
			}
		}
		all = append(all, row)
	}
	return all
}

// Row by row, each aggregate is at each level what it is on plain PostgreSQL without anything stored.
func TestAggregatesAreTheSameAtEachLevel(t *testing.T) {
	t.Parallel()
	m := newModel(rand.New(rand.NewPCG(3, 4)), 6, 20)
	bare := pgtest.New(t)
	m.save(t, bare, everything)
	names := []string{"runs_hourly", "runs_daily", "runs_weekly", "availability_daily"}
	want := map[string][]aggregateRow{}
	for _, name := range names {
		if want[name] = aggregate(t, bare, name); len(want[name]) < 10 {
			t.Fatalf("%s has only %d rows", name, len(want[name]))
		}
	}
	middle := m.begin.Add(11*day + 3*time.Hour)
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		same := func(when string) {
			t.Helper()
			for _, name := range names {
				if d := cmp.Diff(want[name], aggregate(t, pool, name), cmpopts.EquateApprox(1e-12, 1e-9)); d != "" {
					t.Fatalf("%s, %s:\n%s", when, name, d)
				}
			}
		}
		m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return at.Before(middle) })
		same2 := func(until time.Time, when string) { rollUp(ctxFor(t), t, pool, until); same(when) }
		m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return !at.Before(middle) })
		same("nothing stored")
		same2(middle, "half stored")
		same2(middle, "stored twice")
		same2(m.end.Add(2*day), "all stored")
	})
}

// Rows that are written while the buckets are being stored are in the aggregates afterwards, though their transaction began
// before and ended behind.
func TestRollUpMissesNoConcurrentRow(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"plain", "apache"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.On(t, level)
			begin := at("2026-03-01 00:00:00")
			const writers, rounds = 4, 60
			var wg sync.WaitGroup
			for n := range writers {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(n), 5))
					for range rounds {
						err := pgx.BeginFunc(context.WithoutCancel(t.Context()), pool, func(tx pgx.Tx) error {
							_, err := tx.Exec(context.WithoutCancel(t.Context()), `insert into runs (finished_at, org_id, monitor_id, run_id, outcome, duration_seconds)
								select $1::timestamptz + random() * interval '3 days', $2, $3, gen_random_uuid(), 'success', 1 from generate_series(1, 5)`,
								begin, org(1).UUID, monitorID(rng.IntN(3)))
							return err
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				rollUp(ctxFor(t), t, pool, begin.Add(time.Duration(rand.Int64N(int64(4*day)))))
			}
			var rows, hourly, daily int64
			err := pool.QueryRow(ctxFor(t), `select (select count(*) from runs), (select sum(runs) from runs_hourly)::bigint,
				(select sum(durations) from runs_daily)::bigint`).Scan(&rows, &hourly, &daily)
			if err != nil || rows != writers*rounds*5 || hourly != rows || daily != rows {
				t.Errorf("%d rows, %d by hours, %d by days, %v; want %d", rows, hourly, daily, err, writers*rounds*5)
			}
		})
	}
}

// A database restored into a new cluster counts transactions from anew: what is stored is made again.
func TestRollUpAfterRestore(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	m := newModel(rand.New(rand.NewPCG(1, 9)), 3, 6)
	half := m.begin.Add(3 * day)
	m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return at.Before(half) })
	rollUp(ctxFor(t), t, pool, m.end)
	if _, err := pool.Exec(ctxFor(t), `update tokiflow_rollups set seen = 9e15::bigint`); err != nil {
		t.Fatal(err)
	}
	m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return !at.Before(half) })
	rollUp(ctxFor(t), t, pool, m.end)
	checkWindow(t, tsdb.NewReader(pool), m, history.Window{From: m.begin, To: m.end})
}

func TestUpkeepRemovesOldRows(t *testing.T) {
	t.Parallel()
	keep := tsdb.Retention{Pings: 10 * day, History: 100 * day}
	now := at("2026-03-01 12:00:00")
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		for days := range 200 {
			_, err := pool.Exec(ctxFor(t), `
				with t as (select $1::timestamptz - $2 * interval '1 day' as at, gen_random_uuid() as id, $3::uuid as m),
				p as (insert into pings (received_at, org_id, monitor_id, id, kind, body_size, remote_addr, user_agent, method)
					select at, m, m, id, 1, 0, '', '', '' from t),
				r as (insert into runs (finished_at, org_id, monitor_id, run_id, outcome) select at, m, m, id, 'success' from t)
				insert into transitions (at, org_id, monitor_id, from_status, to_status, reason, seconds_in_previous)
					select at, m, m, 'up', 'down', '', 1 from t`, now, days, monitorID(days%3))
			if err != nil {
				t.Fatal(err)
			}
		}
		u, err := tsdb.NewUpkeep(pool, keep, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := u.Once(ctxFor(t), now); err != nil {
				t.Fatal(err)
			}
		}
		f, err := pg.Detect(ctxFor(t), pool)
		if err != nil {
			t.Fatal(err)
		}
		if f.Schema == pg.Community {
			checkPolicies(t, pool, map[string]time.Duration{"pings": 10 * day, "runs": 100 * day, "transitions": 100 * day, "runs_hourly": 100 * day})
			if u, err = tsdb.NewUpkeep(pool, tsdb.Retention{Pings: 20 * day}, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			if err := u.Once(ctxFor(t), now); err != nil {
				t.Fatal(err)
			}
			checkPolicies(t, pool, map[string]time.Duration{"pings": 20 * day})
			return
		}
		// Chunks go whole, so with them some rows stay longer; never shorter.
		slack := map[pg.Level][4]int{pg.Plain: {}, pg.Apache: {7, 30, 90, 0}}[f.Schema]
		for i, c := range []struct {
			table, clock string
			days         int
		}{{"pings", "received_at", 10}, {"runs", "finished_at", 100}, {"transitions", "at", 100}, {"runs_hourly_stored", "bucket", 100}} {
			var n int
			if err := pool.QueryRow(ctxFor(t), `select count(*) from `+c.table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n < c.days || n > c.days+1+slack[i] {
				t.Errorf("%s: %d rows left, want those of %d days", c.table, n, c.days)
			}
		}
		var sum int
		if err := pool.QueryRow(ctxFor(t), `select sum(runs) from runs_daily`).Scan(&sum); err != nil || sum != 200 {
			t.Errorf("the daily sums hold %d runs, %v; want all 200", sum, err)
		}
	})
}

func checkPolicies(t *testing.T, pool *pgxpool.Pool, want map[string]time.Duration) {
	t.Helper()
	rows, err := pool.Query(ctxFor(t), `
		select coalesce(a.view_name, j.hypertable_name)::text, (j.config ->> 'drop_after')::interval
		from timescaledb_information.jobs j
		left join timescaledb_information.continuous_aggregates a on a.materialization_hypertable_name = j.hypertable_name
		where j.proc_name = 'policy_retention'`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Duration{}
	var name string
	var keep time.Duration
	if _, err := pgx.ForEachRow(rows, []any{&name, &keep}, func() error { got[name] = keep; return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestUpkeepRefusesShortRetention(t *testing.T) {
	t.Parallel()
	f := func(r tsdb.Retention, want string) {
		t.Helper()
		_, err := tsdb.NewUpkeep(nil, r, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	f(tsdb.Retention{}, "")
	f(tsdb.DefaultRetention(), "")
	f(tsdb.Retention{Pings: time.Hour}, "retention of pings")
	f(tsdb.Retention{History: 30 * day}, "retention of history")
	f(tsdb.Retention{Pings: -day}, "at least")
}

func TestUpkeepLeavesTheWorkToWhoIsAtIt(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	u, err := tsdb.NewUpkeep(pool, tsdb.DefaultRetention(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(ctxFor(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctxFor(t), `select pg_advisory_lock(7405002)`); err != nil {
		t.Fatal(err)
	}
	rolled := func() (n int) {
		t.Helper()
		if err := u.Once(ctxFor(t), at("2026-03-01 12:00:00")); err != nil {
			t.Fatal(err)
		}
		if err := pool.QueryRow(ctxFor(t), `select count(*) from tokiflow_rollups where rolled_to > '-infinity'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := rolled(); n != 0 {
		t.Errorf("%d aggregates were stored while another process was at it", n)
	}
	if _, err := conn.Exec(ctxFor(t), `select pg_advisory_unlock(7405002)`); err != nil {
		t.Fatal(err)
	}
	if n := rolled(); n != 4 {
		t.Errorf("%d aggregates were stored, want 4", n)
	}
}
