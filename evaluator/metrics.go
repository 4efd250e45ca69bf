package evaluator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/checkpoint"
)

// metrics are the evaluator's own figures; none is a tenant's.
type metrics struct {
	records     prometheus.Counter
	malformed   prometheus.Counter
	unjudged    prometheus.Counter
	checkpoints prometheus.Histogram
	transitions *prometheus.CounterVec
	incidents   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, e *Evaluator) *metrics {
	m := &metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_evaluator_records_total", Help: "Records of the log the evaluator has applied.",
		}),
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_evaluator_malformed_records_total", Help: "Records the evaluator could not read and skipped.",
		}),
		unjudged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_evaluator_unjudged_monitors_total",
			Help: "Monitors loaded with a configuration that cannot be read (a time zone that is gone?): nothing is due for them.",
		}),
		checkpoints: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokiflow_evaluator_checkpoint_seconds", Help: "Time to write a checkpoint.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_evaluator_transitions_total", Help: "Changes of status, by the status gone to.",
		}, []string{"to"}),
		incidents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_evaluator_incidents_total", Help: "Incidents opened and resolved.",
		}, []string{"kind", "change"}),
	}
	for k := range kindCount {
		for _, change := range []string{"opened", "resolved"} {
			m.incidents.WithLabelValues(string(kinds()[k]), change) // so that the first one counts in a rate
		}
	}
	if r != nil {
		r.MustRegister(m.records, m.malformed, m.unjudged, m.checkpoints, m.transitions, m.incidents, newHoldings(e))
	}
	return m
}

func (m *metrics) saved(c checkpoint.Commit, took time.Duration) {
	m.checkpoints.Observe(took.Seconds())
	for _, t := range c.Transitions {
		m.transitions.WithLabelValues(string(t.To)).Inc()
	}
	for _, i := range c.Incidents {
		change := "opened"
		if i.Resolved {
			change = "resolved"
		}
		m.incidents.WithLabelValues(string(i.Kind), change).Inc()
	}
}
