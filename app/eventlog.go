package app

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/infra/eventlog/disklog"
	"github.com/tokiflow/tokiflow/infra/pg"
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

const upkeepInterval = time.Minute

// upkeep lets go of records that every consumer has read, and shows how far each is behind.
func (a *App) upkeep(ctx context.Context) error {
	lag := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tokiflow_log_unread_records",
		Help: "Records that the slowest consumer of a partition has not dealt with. If it keeps growing, the database is too slow.",
	}, []string{"partition"})
	a.registry.MustRegister(lag)
	t := time.NewTicker(upkeepInterval)
	defer t.Stop()
	for {
		for n := range a.eventlog.Partitions() {
			if err := a.trim(ctx, n, lag); err != nil && ctx.Err() == nil {
				a.log.Warn("upkeep of the log", "partition", n, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (a *App) trim(ctx context.Context, n int, lag *prometheus.GaugeVec) error {
	lowest, known, err := pg.CommittedMin(ctx, a.pool, a.eventlog.ID(), n, consumerWriter, consumerEvaluator)
	if err != nil || !known {
		return err
	}
	end, err := a.eventlog.End(ctx, n)
	if err != nil {
		return err
	}
	lag.WithLabelValues(strconv.Itoa(n)).Set(float64(max(0, end-lowest)))
	return a.eventlog.Trim(ctx, n, lowest)
}

// appendMetrics are the figures of durable writes.
type appendMetrics struct {
	took    prometheus.Histogram
	records prometheus.Counter
	failed  prometheus.Counter
}

func newAppendMetrics(r prometheus.Registerer) *appendMetrics {
	m := &appendMetrics{
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokiflow_log_append_seconds", Help: "Time of one durable write to the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_log_appended_records_total", Help: "Records made durable.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_log_append_failures_total", Help: "Durable writes that failed: disk full, or the brokers away.",
		}),
	}
	r.MustRegister(m.took, m.records, m.failed)
	return m
}

func (m *appendMetrics) observe(records int, took time.Duration, err error) {
	m.took.Observe(took.Seconds())
	if err != nil {
		m.failed.Inc()
		return
	}
	m.records.Add(float64(records))
}
