package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the process's own figures; nothing in them belongs to an organisation.
type metrics struct {
	pings      [results]prometheus.Counter
	seconds    prometheus.Histogram
	redactions prometheus.Counter
	batches    *prometheus.CounterVec
	batchPings *prometheus.CounterVec
	all        []prometheus.Collector
}

func newMetrics(c *cache) *metrics {
	pings := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tokiflow_pings_total",
		Help: "Requests to the ping URLs, by how they were answered.",
	}, []string{"result"})
	m := &metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tokiflow_ping_duration_seconds",
			Help:    "Time from the first line of a ping's handler to its answer.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5},
		}),
		redactions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_ping_redactions_total",
			Help: "Secrets taken out of ping bodies.",
		}),
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_ping_batches_total",
			Help: "Requests to the batch endpoint, by HTTP status.",
		}, []string{"status"}),
		batchPings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_ping_batch_pings_total",
			Help: "Pings in answered batches, accepted and rejected.",
		}, []string{"result"}),
	}
	for r := range results {
		m.pings[r] = pings.WithLabelValues(answerOf(r).label)
	}
	known := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tokiflow_ping_targets",
		Help: "Monitors that this process takes pings for.",
	}, func() float64 { return float64(c.size()) })
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tokiflow_ping_targets_connected",
		Help: "1 while changes of monitors come in, else 0.",
	}, func() float64 {
		if c.connected() {
			return 1
		}
		return 0
	})
	m.all = []prometheus.Collector{pings, m.seconds, m.redactions, m.batches, m.batchPings, known, connected}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range m.all {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// observe counts a ping that was answered after d.
func (m *metrics) observe(r result, d time.Duration) {
	m.pings[r].Inc()
	m.seconds.Observe(d.Seconds())
}
