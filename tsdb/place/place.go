// Package place keeps how far a writer is in a partition of the log: what the writers of pings and of samples have in common.
package place

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
)

// When what was read is written: at once after a pause, so that a lone ping is soon seen; else when it is old enough that a
// transaction is worth it.
const (
	flushAfter   = 200 * time.Millisecond
	offsetsAfter = 5 * time.Second // without rows: markers were read
)

// Place is how far a writer is in one partition, and its right to move on. Not safe for concurrent use.
type Place struct {
	pos       pg.Position
	clock     logclock.Clock
	next      int64 // offset behind the last record read
	committed int64
	flushed   time.Time
	malformed int // in a row
}

// Take makes the partition the caller's, so that whoever had it can write no more.
func Take(ctx context.Context, db pg.DB, logID, consumer string, partition int) (*Place, error) {
	pos, err := pg.Acquire(ctx, db, logID, consumer, partition)
	if err != nil {
		return nil, err
	}
	p := &Place{pos: pos, next: pos.Offset, committed: pos.Offset}
	if err := json.Unmarshal(pos.Clock, &p.clock); err != nil {
		return nil, fmt.Errorf("clock of partition %d of %s: %w", partition, consumer, err)
	}
	return p, nil
}

// Next is the offset behind the last record read.
func (p *Place) Next() int64 { return p.next }

// Partition is the partition's number.
func (p *Place) Partition() int { return p.pos.Partition }

// Lost is told when records of the log are missing: reading goes on at next, which may be before what was read already.
func (p *Place) Lost(next int64) {
	p.next = next
	p.committed = min(p.committed, next-1) // so that it is written, though nothing to be stored comes
}

// Read takes the next record's header. fresh: it is no producer's repetition. malformed is what is wrong with the record, which is to
// be passed over. err must stop the partition, for what is committed would be a lie: an offset that does not go forward, or a
// record of a version that this program does not know.
func (p *Place) Read(e *record.Entry) (h record.Header, fresh bool, malformed, err error) {
	if e.Offset < p.next {
		return h, false, nil, fmt.Errorf("partition %d: offset %d follows %d", p.pos.Partition, e.Offset, p.next-1)
	}
	p.next = e.Offset + 1
	h, fresh, malformed = p.clock.Observe(e.Value)
	p.clock.TakeGaps() // the evaluator's
	if errors.Is(malformed, record.ErrVersion) {
		return h, false, nil, fmt.Errorf("partition %d, offset %d: %w: run the newer tokiflow that wrote it", p.pos.Partition, e.Offset, malformed)
	}
	return h, fresh, malformed, nil
}

// PassOver says that a record cannot be read; of several in a row it says so once.
func (p *Place) PassOver(ctx context.Context, log *slog.Logger, e *record.Entry, err error) {
	if p.malformed++; p.malformed == 1 {
		log.ErrorContext(ctx, "record cannot be read, passing over it and those like it that follow",
			"log", p.pos.LogID, "partition", p.pos.Partition, "offset", e.Offset, "error", err)
	}
}

// Understood says that a record was read.
func (p *Place) Understood(ctx context.Context, log *slog.Logger, e *record.Entry) {
	if p.malformed > 0 {
		log.InfoContext(ctx, "records can be read again",
			"log", p.pos.LogID, "partition", p.pos.Partition, "offset", e.Offset, "passed_over", p.malformed)
		p.malformed = 0
	}
}

// Due reports whether it is time to write; rows says that there is more to write than the offset.
func (p *Place) Due(now time.Time, rows bool) bool {
	waited := now.Sub(p.flushed)
	return rows && waited >= flushAfter || p.next > p.committed && waited >= offsetsAfter
}

// Commit writes offset and clock in tx. It comes before the rows, so that nothing is copied in vain by who has lost the partition:
// the error wraps pg.ErrFenced then.
func (p *Place) Commit(ctx context.Context, tx pgx.Tx) error {
	clock, err := json.Marshal(&p.clock)
	if err != nil {
		return fmt.Errorf("clock of partition %d: %w", p.pos.Partition, err)
	}
	return pg.Commit(ctx, tx, p.pos, p.next, clock)
}

// Committed says that the transaction has ended well, at now.
func (p *Place) Committed(now time.Time) { p.committed, p.flushed = p.next, now }
