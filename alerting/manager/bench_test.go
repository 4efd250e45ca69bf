package manager_test

import (
	"testing"
	"time"
)

// BenchmarkStart gives an alert to 200 organisations at once, none of which has an instance: what starting each takes, with its share of
// the feeding, and what it keeps.
func BenchmarkStart(b *testing.B) {
	const organisations = 200
	var kept int64
	for b.Loop() {
		b.StopTimer()
		h := newHouse(b)
		h.exec(`insert into organisations (id, name) select gen_random_uuid(), 'x' from generate_series(1, $1::int)`, organisations)
		r := h.process(eachAlone)
		time.Sleep(time.Second) // it looks, and finds nothing
		before := heap()
		b.StartTimer()
		h.exec(`with said as (insert into outbox (org_id, incident_id, type, payload)
			select id, gen_random_uuid(), 'incident.opened', '{"data": {"incident": {"kind": "fail", "severity": "critical", "opened_at": "2026-01-01T00:00:00Z"}}}'
			from organisations where name = 'x' returning 1) select count(*), pg_notify('tokiflow_outbox', '') from said`)
		for r.owns(b) < organisations {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		kept = heap() - before
		r.stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/organisations/float64(b.N), "µs/organisation")
	b.ReportMetric(float64(kept)/organisations, "bytes/organisation")
}
