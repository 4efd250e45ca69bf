package slack

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the app's own. Nothing in them is a tenant's.
type metrics struct {
	calls    *prometheus.CounterVec
	revoked  prometheus.Counter
	requests *prometheus.CounterVec
}

// The outcomes of a call.
const (
	outcomeOK      = "ok"
	outcomeLimited = "rate_limited"
	outcomeRefused = "refused"
	outcomeFailed  = "failed"
)

// newMetrics makes the metrics and registers them, if there is where to.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_slack_calls_total",
			Help: "Calls of Slack's API: ok, rate_limited, refused by Slack, or failed without a useful answer.",
		}, []string{"method", "outcome"}),
		revoked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_slack_workspaces_revoked_total",
			Help: "Workspaces of organisations found to be revoked: the app was removed there, or its token ended.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_slack_requests_total",
			Help: "Signed requests of Slack: served, refused (signature, age, replay) or failed.",
		}, []string{"endpoint", "outcome"}),
	}
	for _, method := range []string{"chat.postMessage", "chat.update"} {
		for _, outcome := range []string{outcomeOK, outcomeLimited, outcomeRefused, outcomeFailed} {
			m.calls.WithLabelValues(method, outcome)
		}
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.revoked, m.requests} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics of Slack cannot be registered: %w", err)
		}
	}
	return m, nil
}
