package manager

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are of the process: no organisation is named.
type metrics struct {
	instances                        *prometheus.GaugeVec
	starts                           *prometheus.CounterVec
	lost, updateErrors, configErrors prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		instances: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokiflow_alerting_instances",
			Help: "Organisations whose alerting runs in this process: as owner it notifies, as viewer it only shows.",
		}, []string{"state"}),
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_alerting_instance_starts_total",
			Help: "Starts of organisations' alerting in this process.",
		}, []string{"state", "outcome"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_locks_lost_total",
			Help: "Organisations whose lock this process has lost against its will.",
		}),
		updateErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_update_errors_total",
			Help: "Times that an organisation's alerting could not take over what changed.",
		}),
		configErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_config_errors_total",
			Help: "Times that a stored configuration could not be put in force.",
		}),
	}
	for _, state := range []string{"owner", "viewer"} {
		m.instances.WithLabelValues(state).Set(0)
		for _, outcome := range []string{"started", "failed"} {
			m.starts.WithLabelValues(state, outcome)
		}
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.instances, m.starts, m.lost, m.updateErrors, m.configErrors} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics of alerting's manager cannot be registered: %w", err)
		}
	}
	return m, nil
}
