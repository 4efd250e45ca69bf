package disklog

import (
	"context"
	"fmt"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// gather is the least time between two batches of a consumer that keeps up: some thousand appends a second make some
// hundred batches. What comes after a quiet time is no later for it.
const gather = 5 * time.Millisecond

// reader is an eventlog.Reader of one partition. It reads segment files beside the appends and never waits for them.
type reader struct {
	p     *partition
	limit int    // records of a batch
	next  int64  // offset of the next record to hand over
	cur   cursor // stands at the entry that holds it

	ended time.Time // when the end was last reached with records

	ahead []record.Entry // of an entry that did not fit into the last batch
	recs  []record.Entry
	arena []byte // what the values share memory with
}

// reader opens the partition for reading.
func (p *partition) reader(offset int64, limit int) (*reader, error) {
	end, last, closed := p.tip.get()
	if closed {
		return nil, eventlog.ErrClosed
	}
	if offset > end {
		// Whatever was appended since the log was opened is certainly new to the consumer.
		return nil, &eventlog.OffsetError{Wanted: offset, Next: p.born, Reason: eventlog.ErrBeyondEnd}
	}
	r := &reader{p: p, limit: limit, next: offset, cur: cursor{p: p, index: last + 1}}
	if offset == end {
		return r, nil
	}
	err := p.withChain(func(c *chain) error {
		var err error
		if r.cur.index, err = p.find(c, offset); err != nil {
			return err
		}
		h, err := p.head(c, r.cur.index)
		if err == nil && offset < h.base {
			return &eventlog.OffsetError{Wanted: offset, Next: h.base, Reason: eventlog.ErrTrimmed}
		}
		return err
	})
	return r, err
}

// withChain calls f with the chain, which stays open until it returns.
func (p *partition) withChain(f func(c *chain) error) error {
	p.chainMu.RLock()
	defer p.chainMu.RUnlock()
	if p.chain == nil {
		return eventlog.ErrClosed
	}
	return f(p.chain)
}

// Close lets the reader's file go.
func (r *reader) Close() error { return r.cur.close() }

// Next is eventlog.Reader's.
func (r *reader) Next(ctx context.Context, wait time.Duration) ([]record.Entry, bool, error) {
	if end, _, closed := r.p.tip.get(); !closed && end == r.next {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-t.C:
			return nil, true, nil
		case <-r.p.tip.wait(end):
		}
	}
	if early := gather - time.Since(r.ended); early > 0 {
		t := time.NewTimer(early)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-t.C:
		}
	}
	end, last, closed := r.p.tip.get()
	if closed {
		return nil, false, eventlog.ErrClosed
	}
	if err := r.fill(last); err != nil {
		return nil, false, err
	}
	if len(r.recs) == 0 && r.next < end {
		return nil, false, corrupt(r.p.dir, fmt.Errorf("%w: entries up to %d hold no offset %d", errDamaged, last, r.next))
	}
	if r.next == end && len(r.recs) > 0 {
		r.ended = time.Now()
	}
	return r.recs, r.next == end, nil
}

// fill collects a batch of the entries up to last.
func (r *reader) fill(last uint64) error {
	r.recs = append(r.recs[:0], r.ahead...)
	r.ahead = nil
	if len(r.recs) == 0 {
		r.arena = r.arena[:0]
		if cap(r.arena) > keepBuffer {
			r.arena = nil
		}
	}
	if r.cur.index <= last && len(r.recs) < r.limit {
		if err := r.cur.place(); err != nil {
			return err
		}
	}
	for r.cur.index <= last && len(r.recs) < r.limit && len(r.arena) < eventlog.MaxBatchBytes {
		if err := r.take(); err != nil {
			return err
		}
	}
	if len(r.recs) > r.limit {
		r.recs, r.ahead = r.recs[:r.limit], r.recs[r.limit:]
	}
	if n := len(r.recs); n > 0 {
		r.next = r.recs[n-1].Offset + 1
	}
	return nil
}

// take appends the records of the next entry from the expected offset on.
func (r *reader) take() error {
	entry, done, err := r.cur.entry()
	if err != nil {
		return err
	}
	if done {
		// Of the entries up to last, which count, the next stands in the segment that follows.
		if err := r.cur.close(); err != nil {
			return err
		}
		return r.cur.place()
	}
	expected := r.next
	if n := len(r.recs); n > 0 {
		expected = r.recs[n-1].Offset + 1
	}
	start, n := len(r.arena), len(r.recs)
	r.arena = append(r.arena, entry...)
	recs, err := parseEntry(r.recs, r.arena[start:], r.p.seed)
	if err != nil {
		return corrupt(r.cur.path, fmt.Errorf("the entry that should hold offset %d: %w", expected, err))
	}
	skip := 0 // a reader may begin in the middle of an entry
	if n == 0 {
		skip = int(expected - recs[0].Offset)
	}
	if skip < 0 || skip >= len(recs)-n || recs[n+skip].Offset != expected {
		return corrupt(r.cur.path, fmt.Errorf("%w: offset %d stands where %d should", errDamaged, recs[n].Offset, expected))
	}
	r.recs = append(recs[:n], recs[n+skip:]...)
	return nil
}
