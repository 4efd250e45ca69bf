package tsdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
	"github.com/tokiflow/tokiflow/tsdb/place"
)

// Consumer is the writer's name among the consumers of the log.
const Consumer = "tsdb"

// When a partition's rows are written: when they are many or big, or when it is time (place.Place.Due).
const (
	flushRows  = 5_000
	flushBytes = 4 << 20
)

// Writer brings pings from the log into the table pings, each once: rows and offset are one transaction, and what a producer
// wrote twice is known by the log's clock. It is a consumer of infra/eventlog, which calls it from one goroutine for each
// partition. It is safe for concurrent use by different partitions.
type Writer struct {
	pool    *pgxpool.Pool
	logID   string
	logger  *slog.Logger
	metrics writerMetrics
	now     func() time.Time // only to pace transactions

	mu    sync.Mutex
	parts map[int]*assigned
}

// assigned is what is read and not yet written of one partition.
type assigned struct {
	*place.Place
	rows pgcopy.Rows
}

// NewWriter makes a writer for the log of that identity. Its metrics go to reg; nil: nowhere.
func NewWriter(pool *pgxpool.Pool, logID string, logger *slog.Logger, reg prometheus.Registerer) *Writer {
	return &Writer{
		pool: pool, logID: logID, logger: logger, metrics: newWriterMetrics(reg), now: time.Now, parts: map[int]*assigned{},
	}
}

// Assigned takes the partition, so that whoever had it can write no more, and returns where to read on.
func (w *Writer) Assigned(ctx context.Context, partition int) (int64, error) {
	at, err := place.Take(ctx, w.pool, w.logID, Consumer, partition)
	if err != nil {
		return 0, err
	}
	p := &assigned{Place: at}
	p.rows.Begin()
	w.mu.Lock()
	w.parts[partition] = p
	w.mu.Unlock()
	return at.Next(), nil
}

// Lost is told when records of the log are missing: reading goes on at next, which may be before what was read already.
func (w *Writer) Lost(partition int, _ error, next int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.parts[partition]; p != nil {
		p.Lost(next)
	}
}

// Revoked drops what is read and not written: whoever has the partition next reads it again.
func (w *Writer) Revoked(partition int) {
	w.mu.Lock()
	delete(w.parts, partition)
	w.mu.Unlock()
}

// Batch takes records in order. After an error, which wraps pg.ErrFenced where the partition has become another's, the
// partition must be assigned anew. A record that cannot be read is counted, logged and passed over.
func (w *Writer) Batch(ctx context.Context, partition int, recs []record.Entry, _ bool) error {
	w.mu.Lock()
	p := w.parts[partition]
	w.mu.Unlock()
	if p == nil {
		return fmt.Errorf("partition %d is not assigned", partition)
	}
	for i := range recs {
		if err := w.take(ctx, p, &recs[i]); err != nil {
			return err
		}
		if p.rows.Len() >= flushRows || p.rows.Size() >= flushBytes {
			if err := w.flush(ctx, p); err != nil {
				return err
			}
		}
	}
	if p.Due(w.now(), p.rows.Len() > 0) {
		return w.flush(ctx, p)
	}
	return nil
}

// take reads one record.
func (w *Writer) take(ctx context.Context, p *assigned, e *record.Entry) error {
	h, fresh, malformed, err := p.Read(e)
	if err != nil {
		return err
	}
	if malformed == nil && !fresh {
		w.metrics.duplicates.Inc()
		return nil
	}
	if malformed == nil && h.Type != record.TypePing {
		return nil
	}
	var ping record.Ping
	if malformed == nil {
		ping, malformed = record.ParsePing(e.Value)
	}
	if malformed == nil && !storable(ping.At) {
		malformed = fmt.Errorf("%w: received in the year %d", record.ErrMalformed, ping.At.Year())
	}
	if malformed != nil {
		w.metrics.malformed.Inc()
		p.PassOver(ctx, w.logger, e, malformed)
		return nil
	}
	p.Understood(ctx, w.logger, e)
	addPing(&p.rows, &ping)
	return nil
}

// flush writes rows, offset and clock in one transaction.
func (w *Writer) flush(ctx context.Context, p *assigned) error {
	begun := w.now()
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if err := p.Commit(ctx, tx); err != nil {
			return err
		}
		if p.rows.Len() == 0 {
			return nil
		}
		tag, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(p.rows.End()), copyPings)
		if err != nil {
			return fmt.Errorf("copy %d pings of partition %d: %w", p.rows.Len(), p.Partition(), err)
		}
		if n := tag.RowsAffected(); n != int64(p.rows.Len()) {
			return fmt.Errorf("copy %d pings of partition %d: %d were taken", p.rows.Len(), p.Partition(), n)
		}
		return nil
	})
	if err != nil {
		if errors.Is(err, pg.ErrFenced) {
			w.metrics.fenced.Inc()
		}
		return err
	}
	done := w.now()
	w.metrics.seconds.Observe(done.Sub(begun).Seconds())
	w.metrics.rows.Add(float64(p.rows.Len()))
	p.Committed(done)
	p.rows.Begin()
	return nil
}

type writerMetrics struct {
	rows, duplicates, malformed, fenced prometheus.Counter
	seconds                             prometheus.Histogram
}

func newWriterMetrics(reg prometheus.Registerer) writerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := writerMetrics{
		rows:       counter("tokiflow_tsdb_pings_total", "Pings written to the database."),
		duplicates: counter("tokiflow_tsdb_duplicate_records_total", "Records of the log that a producer had written twice."),
		malformed:  counter("tokiflow_tsdb_malformed_records_total", "Records of the log that could not be read."),
		fenced:     counter("tokiflow_tsdb_fenced_total", "Transactions given up because the partition had become another's."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokiflow_tsdb_write_seconds", Help: "How long the transaction of one batch took.",
			Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}),
	}
	if reg != nil {
		reg.MustRegister(m.rows, m.duplicates, m.malformed, m.fenced, m.seconds)
	}
	return m
}
