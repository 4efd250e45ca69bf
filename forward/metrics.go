package forward

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/tokiflow/tokiflow/core/forward"
)

// metrics are by kind, never by organisation.
type metrics struct {
	held, lag                       *prometheus.GaugeVec
	sent, rejected, skipped, failed *prometheus.CounterVec
	duration                        *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) *prometheus.CounterVec {
		c := f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"kind"})
		for _, k := range forward.Kinds() {
			c.WithLabelValues(string(k))
		}
		return c
	}
	return &metrics{
		held: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokiflow_forwards_held", Help: "Forwards that this process works on.",
		}, []string{"kind"}),
		lag: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokiflow_forward_lag_seconds",
			Help: "How old the position is of this process's forward that is the furthest behind. A few intervals are usual; more: its receiver refuses or is slow (see the forward's status), or the evaluator is behind.",
		}, []string{"kind"}),
		sent:     counter("tokiflow_forward_samples_sent_total", "Samples that a receiver has taken. One sent again after a failure counts again."),
		rejected: counter("tokiflow_forward_samples_rejected_total", "Samples that a receiver does not want (4xx): they are not sent again. See the error in the forward's status."),
		skipped:  counter("tokiflow_forward_skipped_seconds_total", "Time left out because a receiver was away for longer than is made up for."),
		failed:   counter("tokiflow_forward_requests_failed_total", "Requests that are tried again: no connection, 429, 5xx."),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokiflow_forward_request_duration_seconds", Help: "How long receivers take to answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 7),
		}, []string{"kind"}),
	}
}
