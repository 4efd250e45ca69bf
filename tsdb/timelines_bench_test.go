package tsdb_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// BenchmarkTimelines reads the last of three days of 1,000 monitors with a run every five minutes (864,000 runs) and an outage every six
// hours, on a grid of a minute, as a query_range of a day does. Reported are the 50th and 99th percentile in milliseconds.
func BenchmarkTimelines(b *testing.B) {
	const monitors, days = 1000, 3
	for _, level := range []string{"plain", "apache", "community"} {
		b.Run(level, func(b *testing.B) {
			pool := pgtest.On(b, level)
			end := time.Now().UTC().Truncate(time.Minute)
			populate(b, pool, monitors, days, end)
			r := tsdb.NewReader(pool)
			for _, family := range []string{
				"info", "up", "status", "runs_total", "run_duration_seconds", "last_ping_timestamp_seconds", "due_timestamp_seconds",
				"open_runs", "incidents_open", "anomaly_z_score", "uptime_ratio",
			} {
				b.Run(family, func(b *testing.B) {
					q := timeline.Query{From: end.Add(-day), To: end, Step: time.Minute, Families: []string{"tokiflow_monitor_" + family}}
					var took []float64
					for b.Loop() {
						begun, told, points := time.Now(), 0, 0
						if err := r.Timelines(b.Context(), org(1), q, func(tl *timeline.Timeline) error {
							told, points = told+1, points+len(tl.Points)
							return nil
						}); err != nil || told != monitors {
							b.Fatalf("told of %d: %v", told, err)
						}
						took = append(took, float64(time.Since(begun).Microseconds())/1000)
						b.ReportMetric(float64(points), "points")
					}
					slices.Sort(took)
					b.ReportMetric(took[len(took)/2], "p50-ms")
					b.ReportMetric(took[len(took)*99/100], "p99-ms")
				})
			}
		})
	}
}

// populate fills a database on the server's side, in the order of time.
func populate(b *testing.B, pool *pgxpool.Pool, monitors, days int, end time.Time) {
	b.Helper()
	ids := make([]uuid.UUID, monitors)
	for n := range ids {
		ids[n] = monitorID(n)
	}
	exec := func(sql string, args ...any) {
		b.Helper()
		if _, err := pool.Exec(context.Background(), sql, args...); err != nil {
			b.Fatal(err)
		}
	}
	o, begin := org(1).UUID, end.Add(-time.Duration(days)*day)
	exec(`insert into runs (finished_at, org_id, monitor_id, run_id, started_at, duration_seconds, lateness_seconds, exit_code, outcome, z_score)
		select at + d * interval '1 second', $1, m, gen_random_uuid(), at, d, 0, 0, case when k % 72 = 0 then 'fail' else 'success' end,
			case when k % 72 = 0 then null else 0.5 end
		from generate_series(0, $4::int * 288 - 1) k, unnest($2::uuid[]) with ordinality u (m, n),
			lateral (select $3::timestamptz + k * interval '5 minutes' + n * interval '0.25 second' as at, round((10 + 8 * random())::numeric, 3)::float8 as d) x
		order by k, n`, o, ids, begin, days)
	exec(`insert into transitions (at, org_id, monitor_id, from_status, to_status, reason, seconds_in_previous)
		select finished_at + c * interval '5 minutes', org_id, monitor_id, case c when 0 then 'up' else 'down' end, case c when 0 then 'down' else 'up' end, 'fail',
			case c when 0 then 21300 else 300 end
		from runs, generate_series(0, 1) c where outcome = 'fail' order by 1`)
	exec(`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, resolved_at, evidence)
		select gen_random_uuid(), org_id, monitor_id, 'm', 'fail', 'critical', finished_at, finished_at + interval '5 minutes', '{}' from runs where outcome = 'fail'`)
	exec(`insert into monitor_versions (org_id, monitor_id, at, deleted, project, config)
		select $1, m, $2, false, 'p', jsonb_build_object('name', 'monitor ' || n, 'slug', 's' || n, 'tags', '["a", "b"]'::jsonb, 'labels', '{"team": "ops"}'::jsonb,
			'schedule', '{"interval": "5m"}'::jsonb, 'grace', '5m', 'early', '0s', 'max_runtime', '1h')
		from unnest($3::uuid[]) with ordinality u (m, n)`, o, begin, ids)
	counted := &monitor.Totals{Succeeded: 852, Failed: 12}
	for i := range 864 {
		counted.Durations.Add(time.Duration(10+i%9)*time.Second, 1)
	}
	exec(`insert into monitor_states (monitor_id, org_id, hash, config, state, status, last_ping_at, due_at, deadline_at)
		select m, $1, 1, '{}', jsonb_build_object('status', 'up', 'since', $2::timestamptz - interval '5 hours', 'last_success', $2::timestamptz,
			'totals', $4::jsonb,
			'closed', jsonb_build_array(repeat('x', 700))), 'up', $2, $2::timestamptz + interval '5 minutes', $2::timestamptz + interval '10 minutes'
		from unnest($3::uuid[]) with ordinality u (m, n)`, o, end, ids, counted)
	rollUp(context.Background(), b, pool, end.Add(-time.Hour))
	exec(`vacuum analyze`)
}
