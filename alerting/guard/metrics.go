package guard

import (
	"github.com/prometheus/client_golang/prometheus"

	core "github.com/tokiflow/tokiflow/core/guard"
)

// collector shows the state that was read last. It is the installation's, so every process shows the same: take the maximum over
// processes, not the sum.
type collector struct {
	guard                  *Guard
	phase, expected, pings *prometheus.Desc
}

func newCollector(g *Guard) collector {
	return collector{
		guard: g,
		phase: prometheus.NewDesc("tokiflow_guard_state",
			"1 for the state of the installation guard: normal, suspicious, incident or recovering. The same in every process.",
			[]string{"state"}, nil),
		expected: prometheus.NewDesc("tokiflow_guard_expected_pings",
			"Pings that the last judged minute was to bring; 0: it cannot be told. The same in every process.", nil, nil),
		pings: prometheus.NewDesc("tokiflow_guard_pings",
			"Pings that the last judged minute brought, of the whole installation. The same in every process.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	to <- c.phase
	to <- c.expected
	to <- c.pings
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	s := c.guard.State()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, p := range core.Phases() {
		value := 0.0
		if p == s.Phase {
			value = 1
		}
		gauge(c.phase, value, string(p))
	}
	gauge(c.expected, s.Expected)
	gauge(c.pings, float64(s.Pings))
}
