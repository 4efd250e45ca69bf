// Package evaluator reads the log and keeps every monitor's status: who is late, missing, failed, stuck or unusual. Each
// partition of the log is judged by itself, in the order of its records, by the log's own clock; what comes of them is
// written with the offset in one transaction, so that a crash anywhere replays to the same.
package evaluator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/record"
)

// Store keeps the evaluator's checkpoints.
type Store interface {
	// LoadPartition makes the partition the caller's and returns what the last checkpoint left.
	LoadPartition(ctx context.Context, partition, partitions int) (checkpoint.Snapshot, error)
	// SaveCheckpoint writes c in one transaction, or nothing. It fails when the partition has become another's.
	SaveCheckpoint(ctx context.Context, c checkpoint.Commit) error
}

// Options of an Evaluator.
type Options struct {
	Store      Store
	Partitions int
	// CheckpointInterval is how long what nobody waits for may stay unwritten; 0: DefaultCheckpointInterval. Incidents
	// and changes between up and down are written at once.
	CheckpointInterval time.Duration
	Clock              func() time.Time // for CheckpointInterval and the figures; nil: time.Now
	Logger             *slog.Logger
	Registerer         prometheus.Registerer
}

// DefaultCheckpointInterval is CheckpointInterval's default.
const DefaultCheckpointInterval = 500 * time.Millisecond

// idleFactor is how many intervals a checkpoint that would write nothing but the offset may wait. With it goes the watermark
// that readers of the database have (Store.Watermark of infra/store): rules and queries wait for that.
const idleFactor = 4

// Evaluator is a consumer of the log. Its methods may be called for different partitions at the same time.
type Evaluator struct {
	o       Options
	metrics *metrics

	mu         sync.Mutex
	partitions map[int]*owned
}

// owned is a partition with what is not part of its judgement.
type owned struct {
	*partition
	saved  time.Time // when the last checkpoint was written
	streak int       // records in a row that could not be read
	// For the figures, which are asked for at any time: a count of what the partition holds, and its time.
	shown  atomic.Pointer[census]
	judged atomic.Int64 // microseconds since 1970; 0: none
}

// New makes an Evaluator; it does nothing until the log assigns it partitions.
func New(o Options) (*Evaluator, error) {
	if o.Store == nil || o.Partitions <= 0 {
		return nil, fmt.Errorf("evaluator: needs a store and the number of partitions")
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = DefaultCheckpointInterval
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Evaluator{o: o, partitions: map[int]*owned{}}
	e.metrics = newMetrics(o.Registerer, e)
	return e, nil
}

// Assigned loads the partition and returns the offset to read from.
func (e *Evaluator) Assigned(ctx context.Context, n int) (int64, error) {
	snap, err := e.o.Store.LoadPartition(ctx, n, e.o.Partitions)
	if err != nil {
		return 0, fmt.Errorf("evaluator: load partition %d: %w", n, err)
	}
	p, faults := newPartition(snap)
	for _, err := range faults {
		e.metrics.unjudged.Inc()
		e.o.Logger.Error("a monitor is not judged until its configuration is mended", "partition", n, "error", err)
	}
	e.o.Logger.Info("partition assigned", "consumer", "evaluator", "partition", n, "offset", p.next,
		"monitors", len(p.monitors), "judged", p.clock.Judged())
	e.mu.Lock()
	defer e.mu.Unlock()
	o := &owned{partition: p, saved: e.o.Clock()}
	o.show()
	e.partitions[n] = o
	return p.next, nil
}

// Revoked forgets the partition. What was not written is read again by whoever gets it next.
func (e *Evaluator) Revoked(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.partitions, n)
}

// Batch applies records and writes a checkpoint where one is due.
func (e *Evaluator) Batch(ctx context.Context, n int, recs []record.Entry, _ bool) error {
	p := e.owned(n)
	if p == nil {
		return fmt.Errorf("evaluator: partition %d: %w", n, errUnknownPartition)
	}
	for _, rec := range recs {
		if err := p.apply(rec); err != nil {
			if errors.Is(err, record.ErrVersion) {
				return fmt.Errorf("evaluator: partition %d, offset %d: %w: run the newer tokiflow that wrote it", n, rec.Offset, err)
			}
			e.malformed(p, rec, err)
			continue
		}
		p.streak = 0
	}
	e.metrics.records.Add(float64(len(recs)))
	p.observe()
	now := e.o.Clock()
	wait := e.o.CheckpointInterval
	if !p.changed() {
		wait *= idleFactor
	}
	if !p.urgent && (now.Sub(p.saved) < wait || p.next == p.pos.Offset) {
		return nil
	}
	return e.save(ctx, n, p)
}

func (e *Evaluator) owned(n int) *owned {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.partitions[n]
}

func (e *Evaluator) save(ctx context.Context, n int, p *owned) error {
	began := e.o.Clock()
	c := p.commit()
	if err := e.o.Store.SaveCheckpoint(ctx, c); err != nil {
		return fmt.Errorf("evaluator: checkpoint of partition %d at offset %d: %w", n, c.Next, err)
	}
	p.done()
	p.show()
	p.saved = e.o.Clock()
	e.metrics.saved(c, p.saved.Sub(began))
	e.report(c)
	return nil
}

// report logs what was written: every transition and incident is one line.
func (e *Evaluator) report(c checkpoint.Commit) {
	for _, g := range c.Gaps {
		e.o.Logger.Warn("gap: pings could not be received", "partition", c.Position.Partition,
			"from", g.From, "to", g.To, "seconds", g.To.Sub(g.From).Seconds())
	}
	for _, t := range c.Transitions {
		e.o.Logger.Info("transition", "org", t.Org.String(), "monitor", t.Monitor.String(), "at", t.At,
			"from", string(t.From), "to", string(t.To), "reason", t.Reason)
	}
	for _, i := range c.Incidents {
		what := "incident opened"
		if i.Resolved {
			what = "incident resolved"
		}
		e.o.Logger.Info(what, "org", i.Org.String(), "monitor", i.Monitor.String(), "name", i.Name,
			"incident", i.ID.String(), "kind", string(i.Kind), "at", i.At, "reason", i.Reason)
	}
}

// malformed speaks once per streak: a log full of them must not fill the other one.
func (e *Evaluator) malformed(p *owned, rec record.Entry, err error) {
	e.metrics.malformed.Inc()
	if p.streak++; p.streak == 1 {
		e.o.Logger.Error("record skipped: it cannot be read", "partition", p.pos.Partition, "offset", rec.Offset, "error", err)
	}
}

// Lost is told when records of the log are missing: the time they spanned is a gap.
func (e *Evaluator) Lost(n int, _ error, next int64) {
	if p := e.owned(n); p != nil {
		p.clock.Lost, p.next = true, next
	}
}
