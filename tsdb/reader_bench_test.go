package tsdb_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// BenchmarkReader reads from 90 days of 1,000 monitors: TOKIFLOW_BENCH_RUNS runs and as many pings (default 1,000,000; the
// figures of docs/benchmarks.md are for 10,000,000) and some 20 changes of status a monitor. Aggregates are stored up to an hour before
// the end, as in a running system. Reported are the mean and the 50th and 99th percentile in milliseconds.
func BenchmarkReader(b *testing.B) {
	const monitors, days = 1000, 90
	runs := 1_000_000
	if s := os.Getenv("TOKIFLOW_BENCH_RUNS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			b.Fatalf("TOKIFLOW_BENCH_RUNS: %v", err)
		}
	}
	for _, level := range []string{"plain", "apache", "community"} {
		b.Run(level, func(b *testing.B) {
			pool := pgtest.On(b, level)
			end := at("2026-03-01 12:34:56")
			generate(b, pool, monitors, days, runs, end)
			r := tsdb.NewReader(pool)
			quarter := history.Window{From: end.Add(-days * day), To: end}
			month := history.Window{From: end.Add(-30 * day), To: end}
			past := history.Window{From: end.Add(-80*day - 3*time.Hour), To: end.Add(-20 * day)}
			one := monitorID(17)
			ops := []struct {
				name string
				run  func(ctx context.Context) error
			}{
				{"fleet/90d", func(ctx context.Context) error { _, err := r.MonitorStats(ctx, org(1), quarter); return err }},
				{"fleet/30d", func(ctx context.Context) error { _, err := r.MonitorStats(ctx, org(1), month); return err }},
				{"fleet/60d-past", func(ctx context.Context) error { _, err := r.MonitorStats(ctx, org(1), past); return err }},
				{"organisation/90d", func(ctx context.Context) error { _, err := r.OrganisationStats(ctx, org(1), quarter); return err }},
				{"monitor/90d", func(ctx context.Context) error { _, err := r.MonitorStats(ctx, org(1), quarter, one); return err }},
				{"monitor/7d", func(ctx context.Context) error {
					_, err := r.MonitorStats(ctx, org(1), history.Window{From: end.Add(-7 * day), To: end}, one)
					return err
				}},
				{"pings/last-100", func(ctx context.Context) error {
					_, err := r.Pings(ctx, org(1), one, history.Page{Limit: 100})
					return err
				}},
				{"runs/last-100", func(ctx context.Context) error {
					_, err := r.Runs(ctx, org(1), one, history.Page{Limit: 100})
					return err
				}},
			}
			for _, op := range ops {
				b.Run(op.name, func(b *testing.B) {
					var took []float64
					for b.Loop() {
						begun := time.Now()
						if err := op.run(b.Context()); err != nil {
							b.Fatal(err)
						}
						took = append(took, float64(time.Since(begun).Microseconds())/1000)
					}
					slices.Sort(took)
					b.ReportMetric(took[len(took)/2], "p50-ms")
					b.ReportMetric(took[len(took)*99/100], "p99-ms")
				})
			}
		})
	}
}

// generate fills a database on the server's side. Durations are log-normal around a mean of each monitor's own.
func generate(b *testing.B, pool *pgxpool.Pool, monitors, days, runs int, end time.Time) {
	b.Helper()
	ctx := context.Background()
	begun := time.Now()
	ids := make([]uuid.UUID, monitors)
	for n := range ids {
		ids[n] = monitorID(n)
	}
	exec := func(sql string, args ...any) {
		b.Helper()
		if _, err := pool.Exec(ctx, sql, args...); err != nil {
			b.Fatal(err)
		}
	}
	o := org(1).UUID
	exec(`insert into organisations (id, name) values ($1, 'o')`, o)
	exec(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $1, 'p', 'p', 'k')`, o)
	exec(`insert into monitors (id, org_id, project_id, ping_key, name, config, version)
		select m, $1, $1, m, 'm', '{}', 1 from unnest($2::uuid[]) m`, o, ids)
	exec(`insert into gaps select 'log', p, 8, $1::timestamptz - d * interval '1 day', $1::timestamptz - d * interval '1 day' + interval '20 seconds'
		from generate_series(0, 7) p, generate_series(1, $2) d`, end, days)
	const steps = 20
	for step := range steps { // in the order of time, as it would have come
		from, to := runs*step/steps, runs*(step+1)/steps
		exec(`insert into runs (finished_at, org_id, monitor_id, run_id, started_at, duration_seconds, lateness_seconds, exit_code, outcome)
			select at, $1, ($2::uuid[])[m], gen_random_uuid(), at - d * interval '1 second', d, greatest(random() - 0.8, 0) * 60, 0,
				case when random() < 0.98 then 'success' else 'fail' end
			from (select $3::timestamptz - (1 - n::float8 / $4) * $5 * interval '1 day' as at, n % $6 + 1 as m,
				exp((n % $6) % 7 + (random() + random() + random() - 1.5) * 0.5) as d
				from generate_series($7::bigint, $8::bigint) n) x`,
			o, ids, end, float64(runs), float64(days), monitors, from, to-1)
		exec(`insert into pings (received_at, org_id, monitor_id, id, kind, body_size, remote_addr, user_agent, method)
			select $3::timestamptz - (1 - n::float8 / $4) * $5 * interval '1 day', $1, ($2::uuid[])[n % $6 + 1], gen_random_uuid(), 1, 0, '192.0.2.7', 'curl/8.5.0', 'GET'
			from generate_series($7::bigint, $8::bigint) n`,
			o, ids, end, float64(runs), float64(days), monitors, from, to-1)
	}
	exec(`insert into transitions (at, org_id, monitor_id, from_status, to_status, reason, seconds_in_previous)
		select $2::timestamptz - (90 - c * 4.5) * interval '1 day' - u.n * interval '1 minute', $1, m, case when c % 2 = 0 then 'up' else 'down' end,
			case when c % 2 = 0 then 'down' else 'up' end, 'bench', 4.5 * 86400
		from unnest($3::uuid[]) with ordinality u (m, n), generate_series(1, 19) c order by c`, o, end, ids)
	exec(`insert into monitor_states (monitor_id, org_id, hash, config, state, status)
		select m, $1, 1, '{}', jsonb_build_object('status', 'up', 'since', $2::timestamptz - interval '4.5 days' - n * interval '1 minute',
			'filler', repeat('x', 700)), 'up'
		from unnest($3::uuid[]) with ordinality u (m, n)`, o, end, ids)
	stored := time.Now()
	rollUp(ctx, b, pool, end.Add(-time.Hour))
	rolled := time.Now()
	exec(`vacuum analyze`)
	b.Logf("%d runs and pings made in %v, aggregates stored in %v, analysed in %v", runs,
		stored.Sub(begun).Round(time.Second), rolled.Sub(stored).Round(time.Second), time.Since(rolled).Round(time.Second))
	var sizes string
	if err := pool.QueryRow(ctx, `select pg_size_pretty(pg_database_size(current_database()))`).Scan(&sizes); err == nil {
		b.Log(fmt.Sprint("database of ", sizes))
	}
}
