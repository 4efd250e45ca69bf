package instance

import (
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what goes on in all instances of a process.
type Metrics struct {
	notify       *notify.Metrics
	saveFailures *prometheus.CounterVec
	unsaved      prometheus.Gauge
	forsaken     prometheus.Counter
	toldLate     prometheus.Counter
	removed      prometheus.Counter
}

// NewMetrics makes and registers them. Alertmanager's own are called tokiflow_alertmanager_*; they count all organisations together.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		notify: notify.NewMetrics(prometheus.WrapRegistererWithPrefix("tokiflow_", reg), featurecontrol.NoopFlags{}),
		saveFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_alerting_save_failures_total",
			Help: "Times that PostgreSQL did not take what was told (log), what was done with (alerts), a silence or a posted alert. Log and alerts are tried again until they are taken.",
		}, []string{"what"}),
		unsaved: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokiflow_alerting_log_unsaved",
			Help: "Entries of notification logs that PostgreSQL has not taken yet. A process killed now repeats them.",
		}),
		forsaken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_log_forsaken_total",
			Help: "Entries of notification logs that PostgreSQL can never take. They are told again after a restart.",
		}),
		toldLate: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_told_late_total",
			Help: "Alerts of which an integration was told that they fire only after they were resolved.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_alerts_done_total",
			Help: "Resolved alerts that every route has dealt with.",
		}),
	}
	reg.MustRegister(m.saveFailures, m.unsaved, m.forsaken, m.toldLate, m.removed)
	return m
}

// nowhere takes the metrics of an instance's parts, which nobody reads: a registry for each of a thousand instances would be
// mostly descriptions.
type nowhere struct{}

// Register forgets the collector.
func (nowhere) Register(prometheus.Collector) error { return nil }

// MustRegister forgets the collectors.
func (nowhere) MustRegister(...prometheus.Collector) {}

// Unregister says that there was none.
func (nowhere) Unregister(prometheus.Collector) bool { return false }
