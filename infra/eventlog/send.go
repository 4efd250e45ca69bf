package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
)

// send sends one batch after the other until none waits.
func (q *queue) send() {
	for {
		// Whoever is ready to run comes first: callers that have just been answered are about to append again, and a
		// batch that waits for them is worth several that don't. In quiet times this is nothing.
		runtime.Gosched()
		b := q.take()
		if b == nil {
			return
		}
		q.finish(b, q.deliver(b))
	}
}

// take moves the oldest waiting batch to flying.
func (q *queue) take() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.sending = false
		return nil
	}
	b := q.pop()
	q.flying = b
	for _, m := range b.markers {
		b.values[m.index] = q.encode(m)
	}
	if q.expiring == nil {
		q.expiring = time.AfterFunc(q.left(b), q.expire)
	} else {
		q.expiring.Reset(q.left(b))
	}
	return b
}

func (q *queue) pop() *batch {
	b := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.records -= len(b.values)
	q.bytes -= b.bytes
	return b
}

// encode makes the record of a marker by what is known when it is sent.
func (q *queue) encode(m marker) []byte {
	since := m.at
	if !q.broken && !q.leaving {
		since = min(since, q.since)
	}
	rec := record.AppendMarker(nil, record.Marker{
		Since: time.UnixMicro(since), Closing: m.closing, Exclusive: q.log.Exclusive(),
	})
	record.Stamp(rec, q.o.ID, m.seq, time.UnixMicro(m.at))
	return rec
}

// left is how long a batch may still take: until its oldest stamp is AppendTimeout old, by either clock.
func (q *queue) left(b *batch) time.Duration {
	age := time.Duration(q.o.Clock().UnixMicro()-b.first) * time.Microsecond
	return q.o.AppendTimeout - max(age, time.Since(b.born))
}

// deliver appends a batch, again and again while there is time: with the same stamps, so that what arrives twice is
// known for one.
func (q *queue) deliver(b *batch) error {
	for {
		left := q.left(b)
		if left <= 0 {
			return cmp.Or(b.cause, errors.New("the records before took too long"))
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), left)
		_, err := q.log.AppendBatch(ctx, q.partition, b.values)
		cancel()
		q.o.Observe(len(b.values), time.Since(start), err)
		if err == nil {
			return nil
		}
		q.mu.Lock()
		b.cause = err
		q.mu.Unlock()
		if q.streak.failed() {
			q.logger.Error("appending to the log failed; pings are refused until it works again", "records", len(b.values), "err", err)
		}
		time.Sleep(min(q.streak.pause()/4, max(q.left(b), 0)))
	}
}

// finish tells a batch's callers how it went.
func (q *queue) finish(b *batch, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expiring.Stop()
	q.flying = nil
	if b.finished() {
		return // it expired on its way: they were told, and its values are never used again
	}
	if err != nil {
		q.fail(b, err)
		return
	}
	if q.streak.passed() {
		q.logger.Info("the log takes records again")
	}
	q.err = nil
	if q.broken && b.last >= q.since {
		q.broken, q.since = false, max(q.since, b.first)
	}
	close(b.done)
	clear(b.values)
	q.spare, b.values = b.values[:0], nil
}

// fail refuses a batch.
func (q *queue) fail(b *batch, cause error) {
	q.interrupt()
	q.err = unavailable(cause)
	b.err = q.err
	close(b.done)
}

// interrupt notes that something was refused now: the next markers claim nothing before.
func (q *queue) interrupt() {
	q.broken, q.since = true, max(q.at, q.o.Clock().UnixMicro())
}

// expire refuses the batch on its way, and those behind it, once they are too old, though the log has not come back
// from the write.
func (q *queue) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	hung := fmt.Errorf("the log has not answered for %v", q.o.AppendTimeout)
	if b := q.flying; b == nil {
		return
	} else if !b.finished() && q.left(b) <= 0 {
		if b.cause == nil {
			q.logger.Error("the log hangs; pings are refused until it answers", "seconds", q.o.AppendTimeout.Seconds())
		}
		q.fail(b, cmp.Or(b.cause, hung))
	}
	for len(q.waiting) > 0 && q.left(q.waiting[0]) <= 0 {
		q.fail(q.pop(), cmp.Or(q.flying.cause, hung))
	}
	next := q.o.AppendTimeout
	if len(q.waiting) > 0 {
		next = q.left(q.waiting[0])
	}
	q.expiring.Reset(next)
}

func (b *batch) finished() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}
