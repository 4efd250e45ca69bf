package samples

import "github.com/prometheus/client_golang/prometheus"

type writerMetrics struct {
	written, late, duplicates, refused, malformed, fenced, series prometheus.Counter
	seconds                                                       prometheus.Histogram
}

func newWriterMetrics(reg prometheus.Registerer) writerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := writerMetrics{
		written:    counter("tokiflow_samples_written_total", "Samples written to the database."),
		late:       counter("tokiflow_samples_late_total", "Samples that were not later than the last one of their series, and were looked up one by one."),
		duplicates: counter("tokiflow_samples_duplicate_total", "Samples whose instant was there already."),
		refused:    counter("tokiflow_samples_refused_total", "Samples that no table can take: of an absurd time, or with labels that cannot be."),
		malformed:  counter("tokiflow_samples_malformed_records_total", "Records of the log of samples that could not be read."),
		fenced:     counter("tokiflow_samples_fenced_total", "Transactions given up because the partition had become another's."),
		series:     counter("tokiflow_samples_series_lookups_total", "Series that were looked up in the database, or made."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokiflow_samples_write_seconds", Help: "How long the transaction of one batch of samples took.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}),
	}
	if reg != nil {
		reg.MustRegister(m.written, m.late, m.duplicates, m.refused, m.malformed, m.fenced, m.series, m.seconds)
	}
	return m
}
