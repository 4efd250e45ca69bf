package exporter

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the process's own figures; nothing in them belongs to an organisation.
type metrics struct {
	scrapes *prometheus.CounterVec
	seconds prometheus.Histogram
	sent    prometheus.Counter
	all     []prometheus.Collector
}

func newMetrics(f *fleets) *metrics {
	m := &metrics{
		scrapes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_scrapes_total",
			Help: "Scrapes of monitors, by HTTP status.",
		}, []string{"status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tokiflow_scrape_duration_seconds",
			Help:    "Time from the first line of a scrape's handler to its last.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_scrape_sent_bytes_total",
			Help: "Bytes of answered scrapes, as sent.",
		}),
	}
	m.all = []prometheus.Collector{
		m.scrapes, m.seconds, m.sent,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokiflow_scrape_organisations",
			Help: "Organisations whose monitors are kept in memory, since they were scraped lately.",
		}, func() float64 { return float64(len(f.all())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokiflow_scrape_states_age_seconds",
			Help: "How old the oldest states of monitors are that are kept in memory. From 10 on scrapes fail.",
		}, func() float64 { return f.oldest().Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokiflow_scrape_cache_bytes",
			Help: "Bytes of written answers that are kept, at most.",
		}, func() float64 { return float64(f.bytes.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tokiflow_scrape_refresh_failures_total",
			Help: "Readings of monitors' states that failed.",
		}, func() float64 { return float64(f.failures.Load()) }),
	}
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

// observe counts a scrape that was answered after d.
func (m *metrics) observe(status int, d time.Duration) {
	m.scrapes.WithLabelValues(strconv.Itoa(status)).Inc()
	m.seconds.Observe(d.Seconds())
}
