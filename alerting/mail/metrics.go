package mail

import "github.com/prometheus/client_golang/prometheus"

// metrics of what is mailed besides notifications, which have their own.
type metrics struct {
	sent *prometheus.CounterVec
	held *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_mails_total",
			Help: "Mails by what they are (alert, digest, verification) and what came of them (sent, failed).",
		}, []string{"kind", "result"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_mails_held_total",
			Help: "Groups of alerts not mailed at once, by why: unverified, later, retry.",
		}, []string{"reason"}),
	}
	if r != nil {
		r.MustRegister(m.sent, m.held)
	}
	return m
}

func (m *metrics) count(kind string, err error) {
	result := "sent"
	if err != nil {
		result = "failed"
	}
	m.sent.WithLabelValues(kind, result).Inc()
}
