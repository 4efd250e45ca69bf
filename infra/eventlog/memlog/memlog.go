// Package memlog is an event log in memory: for the tests of its users, never for pings that were answered.
package memlog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Log is an eventlog.Log in memory. Its zero value is not usable.
type Log struct {
	id     string
	parts  []*part
	logger *slog.Logger

	mu     sync.Mutex
	fail   error // guarded by mu
	closed bool  // guarded by mu
}

// part is one partition.
type part struct {
	mu      sync.Mutex
	values  [][]byte      // guarded by mu
	first   int64         // offset of values[0]; guarded by mu
	changed chan struct{} // closed and replaced at every append; guarded by mu
}

var _ eventlog.Log = (*Log)(nil)

// New makes an empty log. logger may be nil.
func New(partitions int, logger *slog.Logger) *Log {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{id: uuid.NewString(), logger: logger}
	for range partitions {
		l.parts = append(l.parts, &part{changed: make(chan struct{})})
	}
	return l
}

// ID is a UUID made by New.
func (l *Log) ID() string { return l.id }

// Partitions is the number given to New.
func (l *Log) Partitions() int { return len(l.parts) }

// Exclusive is true: nothing else can append.
func (l *Log) Exclusive() bool { return true }

// Fail makes every append fail with err from now on, until Fail(nil).
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *Log) state() (closed bool, fail error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed, l.fail
}

func (l *Log) part(partition int) (*part, error) {
	if closed, _ := l.state(); closed {
		return nil, eventlog.ErrClosed
	}
	if partition < 0 || partition >= len(l.parts) {
		return nil, fmt.Errorf("partition %d: the log has %d", partition, len(l.parts))
	}
	return l.parts[partition], nil
}

// AppendBatch copies values to the end of the partition.
func (l *Log) AppendBatch(ctx context.Context, partition int, values [][]byte) (int64, error) {
	p, err := l.part(partition)
	if err != nil {
		return 0, err
	}
	if _, fail := l.state(); fail != nil {
		return 0, fail
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.first + int64(len(p.values))
	for _, v := range values {
		p.values = append(p.values, append([]byte(nil), v...))
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return first, nil
}

// Trim forgets the records below offset.
func (l *Log) Trim(_ context.Context, partition int, offset int64) error {
	p, err := l.part(partition)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := min(offset-p.first, int64(len(p.values))); n > 0 {
		p.values = p.values[n:]
		p.first += n
	}
	return nil
}

// End is the offset behind the last record.
func (l *Log) End(_ context.Context, partition int) (int64, error) {
	p, err := l.part(partition)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first + int64(len(p.values)), nil
}

// Consume hands all partitions to c. Every call does, whatever the group.
func (l *Log) Consume(ctx context.Context, _ string, c eventlog.Consumer) error {
	var wg sync.WaitGroup
	for i := range l.parts {
		wg.Go(func() { eventlog.Drive(ctx, i, c, l.open, l.logger) })
	}
	wg.Wait()
	return ctx.Err()
}

// Close makes every later call fail.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}

func (l *Log) open(_ context.Context, partition int, offset int64) (eventlog.Reader, error) {
	p, err := l.part(partition)
	if err != nil {
		return nil, err
	}
	return &reader{l: l, p: p, next: offset}, nil
}

// reader is an eventlog.Reader.
type reader struct {
	l    *Log
	p    *part
	next int64
	recs []record.Entry
}

func (r *reader) Close() error { return nil }

func (r *reader) Next(ctx context.Context, wait time.Duration) ([]record.Entry, bool, error) {
	if closed, _ := r.l.state(); closed {
		return nil, false, eventlog.ErrClosed
	}
	recs, atEnd, changed, err := r.take()
	if err != nil || len(recs) > 0 {
		return recs, atEnd, err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-t.C:
		return nil, true, nil
	case <-changed:
		recs, atEnd, _, err = r.take()
		return recs, atEnd, err
	}
}

// take returns what is there, and the channel that closes when more comes.
func (r *reader) take() ([]record.Entry, bool, <-chan struct{}, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	end := r.p.first + int64(len(r.p.values))
	if r.next < r.p.first {
		return nil, false, nil, &eventlog.OffsetError{Wanted: r.next, Next: r.p.first, Reason: eventlog.ErrTrimmed}
	}
	if r.next > end {
		return nil, false, nil, &eventlog.OffsetError{Wanted: r.next, Next: end, Reason: eventlog.ErrBeyondEnd}
	}
	r.recs = r.recs[:0]
	for size := 0; r.next < end && len(r.recs) < eventlog.DefaultMaxBatch && size < eventlog.MaxBatchBytes; r.next++ {
		v := r.p.values[r.next-r.p.first]
		size += len(v)
		r.recs = append(r.recs, record.Entry{Offset: r.next, Value: v})
	}
	return r.recs, r.next == end, r.p.changed, nil
}
