package rules

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/rule"
)

// metrics are what the process shows of its rules. They carry no label of an organisation: those see their own by /rules.
type metrics struct {
	evaluations  *prometheus.CounterVec // by kind
	failures     *prometheus.CounterVec // by kind
	ruleSeconds  prometheus.Histogram
	groupSeconds prometheus.Histogram
	lag          prometheus.Histogram
	missed       prometheus.Counter
	overtaken    prometheus.Counter
	samples      prometheus.Counter
	changes      *prometheus.CounterVec // by the state that alerts changed to
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	seconds := []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		evaluations:  vector("tokiflow_rule_evaluations_total", "Evaluations of rules.", "kind"),
		failures:     vector("tokiflow_rule_evaluation_failures_total", "Evaluations of rules that failed.", "kind"),
		ruleSeconds:  histogram("tokiflow_rule_evaluation_duration_seconds", "How long the evaluation of one rule took.", seconds),
		groupSeconds: histogram("tokiflow_rule_group_duration_seconds", "How long the evaluation of one group took, with the storing of its samples.", seconds),
		lag: histogram("tokiflow_rule_group_lag_seconds", "Time from a group's instant to the beginning of its evaluation.",
			[]float64{0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1800, 7200}),
		missed:    counter("tokiflow_rule_group_evaluations_missed_total", "Instants of groups that were left out, because the next was due already."),
		overtaken: counter("tokiflow_rule_group_evaluations_overtaken_total", "Evaluations that were thrown away, because another process was faster or the group was changed meanwhile."),
		samples:   counter("tokiflow_rule_samples_total", "Samples appended by rules, staleness markers included."),
		changes:   vector("tokiflow_rule_alert_changes_total", "Alerts that changed to the state.", "state"),
	}
	for _, k := range []rule.Kind{rule.Recording, rule.Alerting} {
		m.evaluations.WithLabelValues(string(k))
		m.failures.WithLabelValues(string(k))
	}
	for _, s := range []rule.State{rule.Inactive, rule.Pending, rule.Firing} {
		m.changes.WithLabelValues(string(s))
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.evaluations, m.failures, m.ruleSeconds, m.groupSeconds, m.lag, m.missed, m.overtaken, m.samples, m.changes,
	} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// rule counts the evaluation of one rule.
func (m *metrics) rule(p rule.Progress, err error) {
	m.evaluations.WithLabelValues(string(p.Kind)).Inc()
	m.ruleSeconds.Observe(p.Took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(string(p.Kind)).Inc()
	}
}
