package pushgateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the process's own figures; nothing in them belongs to an organisation.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
	beats    prometheus.Counter
	failures prometheus.Counter
	groups   prometheus.Gauge
	took     prometheus.Gauge
	expired  prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_push_requests_total",
			Help: "Requests of the push API, by method and the HTTP status of the answer.",
		}, []string{"method", "status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokiflow_push_duration_seconds", Help: "Time from the first line of a push's handler to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		beats:    counter("tokiflow_push_beats_total", "Times that this process has appended the values of all pushed groups again."),
		failures: counter("tokiflow_push_upkeep_failures_total", "Failures to append pushed groups' values again, or to end those that expired."),
		groups:   gauge("tokiflow_push_beat_groups", "Groups whose values this process appended again the last time that it was its turn."),
		took:     gauge("tokiflow_push_beat_seconds", "How long that took."),
		expired:  counter("tokiflow_push_expired_groups_total", "Groups whose time to live was over."),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.beats, m.failures, m.groups, m.took, m.expired} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *metrics) answered(method string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, strconv.Itoa(status)).Inc()
	m.seconds.Observe(took.Seconds())
}
