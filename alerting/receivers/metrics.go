package receivers

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// metrics of all organisations of the process together: the kind of an integration is the only label besides the outcome.
type metrics struct {
	notifications *prometheus.CounterVec
	latency       *prometheus.HistogramVec
	resends       *prometheus.CounterVec
	saveErrors    prometheus.Counter
	lost          prometheus.Counter
	unsaved       prometheus.GaugeFunc
	failing       *failing
}

func newMetrics(backlog func() int) *metrics {
	return &metrics{
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_notifications_total",
			Help: "Notifications of organisations: delivered, failed (given up until the group's next flush), and attempts that are made again (retrying).",
		}, []string{"integration", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokiflow_notification_attempt_seconds",
			Help:    "How long an attempt at a notification of an organisation took.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"integration"}),
		resends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_alertmanager_resends_total",
			Help: "Groups of firing alerts sent again to other Alertmanagers, so that they do not end there.",
		}, []string{"status"}),
		saveErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_notification_log_errors_total",
			Help: "Notifications that could not be written down at once; they are tried again.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_notification_log_lost_total",
			Help: "Notifications, or later states of them, that were never written down. They were sent all the same.",
		}),
		unsaved: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokiflow_notification_log_waiting",
			Help: "Notifications that wait to be written down.",
		}, func() float64 { return float64(backlog()) }),
		failing: &failing{
			desc: prometheus.NewDesc("tokiflow_receivers_failing",
				"Integrations of organisations whose last attempt failed, within the last hour.", []string{"integration"}, nil),
			since: map[place]time.Time{},
		},
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.notifications, m.latency, m.resends, m.saveErrors, m.lost, m.unsaved, m.failing} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("the metrics of receivers cannot be registered: %w", err)
		}
	}
	return nil
}

// place is one integration of one organisation.
type place struct {
	org         tenant.OrgID
	receiver    string
	kind        string
	integration string
}

// attempted counts an attempt.
func (m *metrics) attempted(p place, status alert.NotificationStatus, took time.Duration) {
	m.notifications.WithLabelValues(p.kind, string(status)).Inc()
	m.latency.WithLabelValues(p.kind).Observe(took.Seconds())
	m.failing.set(p, status != alert.Delivered, time.Now())
}

// failing knows the integrations whose last attempt failed. What is not heard of for an hour is forgotten: its configuration is gone,
// or its alerts are.
type failing struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	since map[place]time.Time // of the last failure
	kinds map[string]bool     // that were ever there
}

func (f *failing) set(p place, fails bool, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds == nil {
		f.kinds = map[string]bool{}
	}
	f.kinds[p.kind] = true
	if fails {
		f.since[p] = at
		return
	}
	delete(f.since, p)
}

// Describe implements prometheus.Collector.
func (f *failing) Describe(to chan<- *prometheus.Desc) { to <- f.desc }

// Collect implements prometheus.Collector.
func (f *failing) Collect(to chan<- prometheus.Metric) {
	f.mu.Lock()
	counts := map[string]int{}
	for kind := range f.kinds {
		counts[kind] = 0
	}
	for p, at := range f.since {
		if time.Since(at) > time.Hour {
			delete(f.since, p)
			continue
		}
		counts[p.kind]++
	}
	f.mu.Unlock()
	for kind, n := range counts {
		to <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, float64(n), kind)
	}
}
