package remotewrite

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/ingest/admit"
)

// metrics are the process's own figures; nothing in them belongs to an organisation.
type metrics struct {
	requests   *prometheus.CounterVec
	samples    prometheus.Counter
	histograms prometheus.Counter
	exemplars  prometheus.Counter
	created    prometheus.Counter
	refused    *prometheus.CounterVec
	seconds    prometheus.Histogram
	active     prometheus.GaugeFunc
}

func newMetrics(l *admit.Limiter) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_remote_write_requests_total",
			Help: "Requests of remote write, by the protocol's version and the HTTP status of the answer.",
		}, []string{"version", "status"}),
		samples:    counter("tokiflow_remote_write_samples_total", "Samples with a number for value that remote write made durable."),
		histograms: counter("tokiflow_remote_write_histograms_total", "Native histograms that remote write made durable."),
		exemplars:  counter("tokiflow_remote_write_exemplars_dropped_total", "Exemplars that came with samples and were dropped: none are stored."),
		created: counter("tokiflow_remote_write_created_timestamps_ignored_total",
			"Samples whose time of creation was ignored: none are stored."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_remote_write_refused_samples_total",
			Help: "Samples that were not taken, by the reason.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tokiflow_remote_write_duration_seconds",
			Help:    "Time from the first line of remote write's handler to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		active: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokiflow_samples_active_series",
			Help: "Series with a sample in the last hour, of all organisations; 0 where their number is not limited.",
		}, func() float64 { return float64(l.ActiveSeries()) }),
	}
	for _, r := range admit.Reasons() {
		m.refused.WithLabelValues(string(r))
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.samples, m.histograms, m.exemplars, m.created, m.refused, m.seconds, m.active} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *metrics) answered(version string, a *answer, took time.Duration) {
	if version == "" {
		version = "unknown"
	}
	m.requests.WithLabelValues(version, strconv.Itoa(a.status)).Inc()
	m.samples.Add(float64(a.samples))
	m.histograms.Add(float64(a.histograms))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) refusedSamples(r *refusals) {
	for reason, n := range r.samples {
		m.refused.WithLabelValues(string(reason)).Add(float64(n))
	}
}
