package eventlog

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
)

// What a read hands over at most, and how long it waits for more.
const (
	DefaultMaxBatch = 5000
	MaxBatchBytes   = 8 << 20
	IdleWait        = 250 * time.Millisecond
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// maxReadPause is shorter: trying to read costs nobody else anything, and alarms wait for it.
	maxReadPause = time.Second
)

// Reader reads one partition forward from the offset it was opened at. Not safe for concurrent use.
type Reader interface {
	// Next returns the records behind the last ones it returned, at least one and at most its limits, waiting up to wait
	// for the first; none and no error when none came. atEnd: nothing durable is left behind them. The records are valid
	// until the next call. After an error other than an OffsetError the reader must be closed and opened anew.
	Next(ctx context.Context, wait time.Duration) (recs []record.Entry, atEnd bool, err error)
	Close() error
}

// OpenReader opens a partition for reading from offset on.
type OpenReader func(ctx context.Context, partition int, offset int64) (Reader, error)

// Drive hands one partition to c until ctx ends: Assigned, Batch, …, Revoked. It returns no earlier, and only after
// Revoked. An error of c makes it begin again with Assigned, an error of the reader makes it open the reader anew; both
// after a pause of 100 ms that doubles to 5 s, for the reader to 1 s.
func Drive(ctx context.Context, partition int, c Consumer, open OpenReader, log *slog.Logger) {
	d := &driver{partition: partition, c: c, open: open, log: log.With("partition", partition)}
	for ctx.Err() == nil {
		err := d.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if d.consumer.failed() {
			d.log.ErrorContext(ctx, "a consumer failed; its partition is read again from its last committed offset", "err", err)
		}
		sleep(ctx, d.consumer.pause())
	}
}

// driver is the state of one Drive.
type driver struct {
	partition int
	c         Consumer
	open      OpenReader
	log       *slog.Logger
	consumer  streak
	reader    streak
	lost      streak
}

// session is one assignment: from Assigned to Revoked. It returns the consumer's error, or ctx's.
func (d *driver) session(ctx context.Context) error {
	defer d.c.Revoked(d.partition)
	offset, err := d.c.Assigned(ctx, d.partition)
	if err != nil {
		return err
	}
	var r Reader
	defer func() {
		if r != nil {
			_ = r.Close() // only read from
		}
	}()
	for ctx.Err() == nil {
		recs, atEnd, err := d.read(ctx, &r, offset)
		if lost := (*OffsetError)(nil); errors.As(err, &lost) {
			d.lose(ctx, lost)
			offset = lost.Next
			if !d.lost.failed() { // again, with nothing read in between: no log does that, but none may make us spin
				if err := d.idle(ctx, d.lost.pause()); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			if d.reader.failed() {
				d.log.ErrorContext(ctx, "the log cannot be read; trying again", "offset", offset, "err", err)
			}
			if err := d.idle(ctx, min(d.reader.pause(), maxReadPause)); err != nil {
				return err
			}
			continue
		}
		d.lost.passed()
		if d.reader.passed() {
			d.log.InfoContext(ctx, "the log can be read again", "offset", offset)
		}
		if err := d.batch(ctx, recs, atEnd); err != nil {
			return err
		}
		if len(recs) > 0 {
			offset = recs[len(recs)-1].Offset + 1
		}
	}
	return ctx.Err()
}

// read opens *r where it is nil and reads from it; on an error *r is closed and nil again.
func (d *driver) read(ctx context.Context, r *Reader, offset int64) (recs []record.Entry, atEnd bool, err error) {
	if *r == nil {
		if *r, err = d.open(ctx, d.partition, offset); err != nil {
			*r = nil
			return nil, false, err
		}
	}
	recs, atEnd, err = (*r).Next(ctx, IdleWait)
	if err != nil {
		_ = (*r).Close() // its error adds nothing to the one in hand
		*r = nil
	}
	return recs, atEnd, err
}

func (d *driver) batch(ctx context.Context, recs []record.Entry, atEnd bool) error {
	if err := d.c.Batch(ctx, d.partition, recs, atEnd); err != nil {
		return err
	}
	if d.consumer.passed() {
		d.log.InfoContext(ctx, "the consumer works again")
	}
	return nil
}

// idle lets pause pass, and keeps calling the consumer so that it can flush.
func (d *driver) idle(ctx context.Context, pause time.Duration) error {
	for pause > 0 && ctx.Err() == nil {
		step := min(pause, IdleWait)
		pause -= step
		sleep(ctx, step)
		if ctx.Err() != nil {
			break
		}
		if err := d.batch(ctx, nil, false); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (d *driver) lose(ctx context.Context, e *OffsetError) {
	d.log.ErrorContext(ctx, "records are missing: reading goes on behind the hole", "err", e, "wanted", e.Wanted, "next", e.Next)
	if o, ok := d.c.(LossObserver); ok {
		o.Lost(d.partition, e, e.Next)
	}
}

// streak counts failures in a row, so that each streak is logged once and pauses grow.
type streak int

// failed counts a failure and reports whether it is the first of its streak.
func (s *streak) failed() bool {
	*s++
	return *s == 1
}

// passed ends a streak and reports whether there was one.
func (s *streak) passed() bool {
	was := *s > 0
	*s = 0
	return was
}

// pause is how long to wait after the last failure: doubling, with a quarter of jitter either way.
func (s *streak) pause() time.Duration {
	d := maxBackoff
	if n := int(*s) - 1; n < 10 {
		d = min(minBackoff<<max(n, 0), maxBackoff)
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2)) //nolint:gosec // jitter needs no secrecy
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
