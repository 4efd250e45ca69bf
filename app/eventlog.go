package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/disklog"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// Names of the log's consumers, in the database and as Kafka's groups.
const (
	consumerWriter    = "tsdb"
	consumerEvaluator = "evaluator"
)

func (a *App) openLog(ctx context.Context) error {
	if len(a.o.Kafka.Brokers) > 0 {
		l, err := openKafka(ctx, a.o.Kafka, a.log)
		if err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		a.eventlog = l
	} else {
		l, err := disklog.Open(disklog.Options{
			Dir: filepath.Join(a.o.DataDir, "log"), Partitions: a.o.LogPartitions, Retention: a.o.LogRetention, Logger: a.log,
		})
		if err != nil {
			return fmt.Errorf("log on disk: %w", err)
		}
		a.eventlog = l
	}
	a.onStop("log", func(context.Context) error { return a.eventlog.Close() })
	return nil
}

// How often the log is trimmed, and how often the figures are taken.
const (
	trimEvery    = 4 // rounds
	figuresEvery = 15 * time.Second
)

// tended is a log with the consumers that must have read a record before it may go.
type tended struct {
	log       eventlog.Log
	consumers []string
}

func (a *App) logs() []tended {
	all := []tended{{a.eventlog, []string{consumerWriter, consumerEvaluator}}}
	if a.samples != nil {
		all = append(all, tended{a.samples.log, []string{samples.Consumer}})
	}
	return all
}

// upkeep lets go of records that every consumer has read, and takes the figures that are the installation's.
func (a *App) upkeep(ctx context.Context) error {
	f := newFigures(a.registry)
	t := time.NewTicker(figuresEvery)
	defer t.Stop()
	failing := false
	for round := 0; ; round++ {
		err := a.takeFigures(ctx, f)
		if round%trimEvery == 0 {
			err = errors.Join(err, a.trim(ctx))
		}
		if err != nil && ctx.Err() == nil && !failing {
			a.log.Warn("upkeep of the log failed, trying again", "every", figuresEvery, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// trim lets go of what every consumer has read.
func (a *App) trim(ctx context.Context) error {
	var errs []error
	for _, l := range a.logs() {
		for n := range l.log.Partitions() {
			lowest, known, err := pg.CommittedMin(ctx, a.pool, l.log.ID(), n, l.consumers...)
			if err == nil && known {
				err = l.log.Trim(ctx, n, lowest)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// appendMetrics are the figures of durable writes, by log: pings or samples.
type appendMetrics struct {
	took    *prometheus.HistogramVec
	records *prometheus.CounterVec
	failed  *prometheus.CounterVec
}

func newAppendMetrics(r prometheus.Registerer) *appendMetrics {
	m := &appendMetrics{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokiflow_log_append_seconds", Help: "Time of one durable write to the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"log"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_log_appended_records_total", Help: "Records made durable.",
		}, []string{"log"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokiflow_log_append_failures_total", Help: "Durable writes that failed: disk full, or the brokers away.",
		}, []string{"log"}),
	}
	r.MustRegister(m.took, m.records, m.failed)
	return m
}

// of observes the writes to one log.
func (m *appendMetrics) of(log string) func(records int, took time.Duration, err error) {
	seconds, records, failed := m.took.WithLabelValues(log), m.records.WithLabelValues(log), m.failed.WithLabelValues(log)
	return func(n int, took time.Duration, err error) {
		seconds.Observe(took.Seconds())
		if err != nil {
			failed.Inc()
			return
		}
		records.Add(float64(n))
	}
}
