package samples

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/tsdb/place"
)

// Consumer is the writer's name among the consumers of the log of samples.
const Consumer = "samples"

// When a partition's samples are written: when they are many or big, or when it is time (place.Place.Due).
const (
	flushSamples = 20_000
	flushBytes   = 8 << 20
)

// cachedSeries is how many series are remembered over all partitions.
const cachedSeries = 1 << 20

// What lies between these bounds, counted from when it was received, is taken. Without bounds a single sender could make
// thousands of chunks.
const (
	MaxAge   = 400 * 24 * time.Hour
	MaxAhead = 24 * time.Hour
)

// Writer brings samples from the log into the database, each instant of a series once: the first write wins, and a retry counts for
// nothing. Samples, offset and the log's clock are one transaction. It is a consumer of infra/eventlog, which calls it from one
// goroutine for each partition; a partition has its series to itself. It is safe for concurrent use by different partitions.
type Writer struct {
	pool    *pgxpool.Pool
	logID   string
	logger  *slog.Logger
	metrics writerMetrics
	now     func() time.Time // to pace transactions, and to know how long a series is remembered

	mu    sync.Mutex
	parts map[int]*assigned
}

// assigned is what is read and not yet written of one partition.
type assigned struct {
	*place.Place
	batch batch
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
	p := &assigned{Place: at, batch: newBatch()}
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
	p, all := w.parts[partition], len(w.parts)
	w.mu.Unlock()
	if p == nil {
		return fmt.Errorf("partition %d is not assigned", partition)
	}
	p.batch.begin(w.now(), cachedSeries/2/all)
	for i := range recs {
		if err := w.take(ctx, p, &recs[i]); err != nil {
			return err
		}
		if p.batch.samples() >= flushSamples || p.batch.size() >= flushBytes {
			if err := w.flush(ctx, p); err != nil {
				return err
			}
		}
	}
	if p.Due(w.now(), !p.batch.empty()) {
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
	// A producer's repetition needs no look into it, nor does what is no sample.
	if malformed == nil && (!fresh || h.Type != record.TypeSamples) {
		return nil
	}
	var s record.Samples
	if malformed == nil {
		s, malformed = record.ParseSamples(e.Value)
	}
	if malformed != nil {
		w.metrics.malformed.Inc()
		p.PassOver(ctx, w.logger, e, malformed)
		return nil
	}
	p.Understood(ctx, w.logger, e)
	if n := p.batch.add(&s); n > 0 {
		w.metrics.refused.Add(float64(n))
		w.logger.WarnContext(ctx, "samples refused: of an absurd time, or with labels that cannot be stored",
			"log", w.logID, "partition", p.Partition(), "offset", e.Offset, "organisation", s.Org.String(), "samples", n)
	}
	return nil
}
