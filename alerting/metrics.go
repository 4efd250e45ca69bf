package alerting

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
)

// metrics are the relay's own. Receivers' names are the only label besides outcomes: never a tenant's.
type metrics struct {
	attempts *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	delay    *prometheus.HistogramVec
	failures *prometheus.GaugeVec
	waiting  *backlogCollector
}

// newMetrics makes the metrics and registers them, if there is where to.
func newMetrics(registerer prometheus.Registerer, receivers []string) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_notification_attempts_total",
			Help: "Attempts at notifications: taken, answered otherwise, or failed without an answer.",
		}, []string{"receiver", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokiflow_notification_latency_seconds",
			Help:    "How long receivers took to answer an attempt, or to fail it.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"receiver"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokiflow_notification_delay_seconds",
			Help:    "From the opening or resolving of an incident to the moment its notification was taken.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 12),
		}, []string{"receiver"}),
		failures: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokiflow_receiver_failures_in_a_row",
			Help: "Attempts of this process since the last one that was taken.",
		}, []string{"receiver"}),
		waiting: newBacklogCollector(receivers),
	}
	for _, name := range receivers {
		m.failures.WithLabelValues(name).Set(0)
		for _, outcome := range []string{"taken", "answered", "failed"} {
			m.attempts.WithLabelValues(name, outcome)
		}
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.attempts, m.latency, m.delay, m.failures, m.waiting} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics of alerting cannot be registered: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) attempt(a alert.Attempt, outcome string) {
	m.attempts.WithLabelValues(a.Receiver, outcome).Inc()
	m.latency.WithLabelValues(a.Receiver).Observe(a.Latency.Seconds())
	if a.Taken() {
		m.delay.WithLabelValues(a.Receiver).Observe(max(0, a.At.Add(a.Latency).Sub(a.CreatedAt).Seconds()))
	}
}

func (m *metrics) failing(receiver string, inARow int) {
	m.failures.WithLabelValues(receiver).Set(float64(inARow))
}

func (m *metrics) backlog(b []alert.Backlog) { m.waiting.set(b, time.Now()) }

// backlogCollector exports the backlogs counted last. They are the database's, so every process shows the same: take
// the maximum over processes, not the sum.
type backlogCollector struct {
	waiting, retrying, oldest *prometheus.Desc
	receivers                 []string

	mu       sync.Mutex
	backlogs []alert.Backlog
	at       time.Time
}

func newBacklogCollector(receivers []string) *backlogCollector {
	labels := []string{"receiver", "configured"}
	return &backlogCollector{
		receivers: receivers,
		waiting: prometheus.NewDesc("tokiflow_deliveries_waiting",
			"Notifications that a receiver has not taken yet. The same in every process.", labels, nil),
		retrying: prometheus.NewDesc("tokiflow_deliveries_retrying",
			"Those of them that were tried at least once. The same in every process.", labels, nil),
		oldest: prometheus.NewDesc("tokiflow_deliveries_oldest_seconds",
			"Age of the oldest notification that waits; 0: none. The same in every process.", labels, nil),
	}
}

func (c *backlogCollector) set(b []alert.Backlog, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backlogs, c.at = b, at
}

// Describe implements prometheus.Collector.
func (c *backlogCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.waiting
	to <- c.retrying
	to <- c.oldest
}

// Collect implements prometheus.Collector.
func (c *backlogCollector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	backlogs, at := c.backlogs, c.at
	c.mu.Unlock()
	if at.IsZero() {
		return // not counted yet: no figure rather than a wrong one
	}
	for _, name := range c.receivers {
		if !slices.ContainsFunc(backlogs, func(b alert.Backlog) bool { return b.Receiver == name }) {
			c.emit(to, alert.Backlog{Receiver: name, Oldest: at}, at, "true")
		}
	}
	for _, b := range backlogs {
		configured := "false"
		if slices.Contains(c.receivers, b.Receiver) {
			configured = "true"
		}
		c.emit(to, b, at, configured)
	}
}

func (c *backlogCollector) emit(to chan<- prometheus.Metric, b alert.Backlog, at time.Time, configured string) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, b.Receiver, configured)
	}
	gauge(c.waiting, float64(b.Waiting))
	gauge(c.retrying, float64(b.Retrying))
	gauge(c.oldest, max(0, at.Sub(b.Oldest).Seconds()))
}
