package promapi_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// fleet is n monitors that ran every 5 minutes of a day, each tenth failing now and then.
func fleet(n int) []timeline.Timeline {
	var list []*life
	for i := range n {
		l := bornAs(uuid.UUID{0: 0xaa, 14: byte(i >> 8), 15: byte(i)}, "m", ago("25h"))
		for k := range 288 {
			at := ago("24h").Add(time.Duration(k)*5*time.Minute + time.Duration(i)*100*time.Millisecond)
			took := time.Duration(1+(k*7+i)%40) * 250 * time.Millisecond
			if i%10 == 0 && k%20 == 0 {
				l.run(at, monitor.Failed, took).turns(at, monitor.Down)
			} else {
				l.run(at, monitor.Succeeded, took)
				if l.status == monitor.Down {
					l.turns(at, monitor.Up)
				}
			}
		}
		list = append(list, l)
	}
	return lives(list...)
}

// BenchmarkQueryRange asks for 1 day at 1 minute over 1,000 monitors, from the request to the last byte of its JSON.
func BenchmarkQueryRange(b *testing.B) {
	of := newBench(b, fleet(1000), nil)
	for name, expr := range map[string]string{
		"up":       `tokiflow_monitor_up`,
		"rate":     `rate(tokiflow_monitor_runs_total{outcome="success"}[5m])`,
		"sum":      `sum(rate(tokiflow_monitor_runs_total[5m]))`,
		"quantile": `histogram_quantile(0.9, sum by (le) (rate(tokiflow_monitor_run_duration_seconds_bucket[5m])))`,
		"native":   `histogram_quantile(0.9, sum(rate(tokiflow_monitor_run_duration_seconds[5m])))`,
		"join":     `sum by (monitor) (tokiflow_monitor_up * on (id) group_left (monitor) tokiflow_monitor_info)`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			form := url.Values{"query": {expr}, "start": {"1795348800"}, "end": {"1795435200"}, "step": {"60"}}
			for b.Loop() {
				status, got := of.get("key-1", "/query_range", form)
				if status != 200 {
					b.Fatal(got)
				}
				b.ReportMetric(float64(len(got)), "bytes")
			}
		})
	}
}
