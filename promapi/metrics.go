package promapi

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the process's own figures; nothing in them belongs to an organisation.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	running  prometheus.Gauge
	samples  prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_promql_requests_total",
			Help: "Requests to the Prometheus API, by endpoint and HTTP status. Many 422 or 503: queries meet their limits; the slow ones are in the log.",
		}, []string{"endpoint", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokiflow_promql_request_duration_seconds",
			Help:    "Time from a request to the Prometheus API to the end of its answer, the waiting for its turn included.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 120},
		}, []string{"endpoint"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokiflow_promql_queries_running",
			Help: "Queries that are being evaluated, those of rules included.",
		}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_promql_samples_total",
			Help: "Samples that queries looked at.",
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	var all []error
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.running, m.samples} {
		all = append(all, r.Register(c))
	}
	return errors.Join(all...)
}
