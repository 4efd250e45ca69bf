package store_test

import (
	"testing"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

// BenchmarkFeed feeds the incidents of 3,000 monitors of one project that went down in the same minute.
func BenchmarkFeed(b *testing.B) {
	const rows = 3000
	pool := pgtest.New(b)
	s := store.New(pool)
	boot, err := s.Bootstrap(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	exec := func(sql string, args ...any) {
		b.Helper()
		if _, err := pool.Exec(b.Context(), sql, args...); err != nil {
			b.Fatal(err)
		}
	}
	exec(`insert into monitors (id, org_id, project_id, ping_key, name, config, version)
		select gen_random_uuid(), $1, $2, gen_random_uuid(), 'monitor ' || n, '{}', 1 from generate_series(1, $3::int) as n`, boot.Org.ID, boot.Project.ID, rows)
	for b.Loop() {
		b.StopTimer()
		exec(`delete from outbox`)
		exec(`insert into outbox (org_id, incident_id, type, payload)
			select org_id, gen_random_uuid(), 'incident.opened', jsonb_build_object('data', jsonb_build_object(
				'incident', jsonb_build_object('kind', 'missed', 'severity', 'critical', 'opened_at', '2026-01-01T00:00:00Z', 'evidence', jsonb_build_object('output', repeat('x', 1000))),
				'monitor', jsonb_build_object('id', id, 'name', name, 'labels', jsonb_build_object('team', 'data')))) from monitors`)
		b.StartTimer()
		for {
			fed, err := s.FeedAlerts(b.Context(), 500, baseURL)
			if err != nil || len(fed.Unreadable) > 0 {
				b.Fatal(err, fed.Unreadable)
			}
			if fed.Rows == 0 {
				break
			}
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "alerts/s")
}
