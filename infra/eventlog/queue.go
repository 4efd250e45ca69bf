package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
)

// queue is one partition's side of an Appender.
//
// Callers put their records into the batch being collected and wait for its done channel. The first that finds nobody
// sending starts the sender, a goroutine that lives until the queue is empty: under load one goroutine sends without
// end, in quiet times there is none.
type queue struct {
	log       Log
	o         *AppenderOptions
	partition int
	logger    *slog.Logger

	mu      sync.Mutex
	waiting []*batch // in order; the last is being collected
	flying  *batch   // being sent; nil between two
	sending bool     // send is at work
	records int      // waiting
	bytes   int      // waiting
	spare   [][]byte // a values slice to use again
	closed  bool

	seq    uint64 // last stamped
	at     int64  // last stamped, µs
	err    error  // of the last batch
	streak streak // failures of AppendBatch in a row

	marking  bool  // Run is at work
	marker   int64 // stamp of the last marker, µs
	since    int64 // what the next marker says, µs
	leaving  bool  // no ping is let in any more, so no marker may claim that one could come
	broken   bool  // something was refused since; nothing stamped later has become durable yet
	expiring *time.Timer
}

// batch is what one AppendBatch takes.
type batch struct {
	values  [][]byte
	bytes   int
	first   int64     // oldest stamp, µs
	last    int64     // newest stamp, µs
	born    time.Time // when collecting began, by the monotonic clock
	markers []marker
	done    chan struct{} // closed when err is final
	err     error
	cause   error // why the last attempt failed
}

// marker is a place in a batch that is filled in when the batch is sent, because what it says must still be true then.
type marker struct {
	index   int
	seq     uint64
	at      int64
	closing bool
}

func newQueue(log Log, o *AppenderOptions, partition int) *queue {
	return &queue{log: log, o: o, partition: partition, logger: o.Logger.With("partition", partition), broken: true}
}

// append queues recs as one unit and waits until they are durable.
func (q *queue) append(recs ...[]byte) (time.Time, error) {
	size := 0
	for _, r := range recs {
		size += len(r)
	}
	q.mu.Lock()
	if err := q.refuse(len(recs), size); err != nil {
		q.mu.Unlock()
		return time.Time{}, err
	}
	at := q.stamp()
	if q.marking && at-q.marker > q.o.FreezeLimit.Microseconds() {
		// The whole process stood still: say so before any record that came afterwards is judged by.
		q.putMarker(at, false)
	}
	b := q.collect(len(recs), size, at)
	for _, r := range recs {
		q.seq++
		record.Stamp(r, q.o.ID, q.seq, time.UnixMicro(at))
		b.values = append(b.values, r)
	}
	q.mu.Unlock()
	<-b.done
	return time.UnixMicro(at).UTC(), b.err
}

// refuse reports why nothing more is taken, if so. A full queue is a break in what markers may claim.
func (q *queue) refuse(n, size int) error {
	if q.closed {
		return unavailable(ErrClosed)
	}
	if q.records == 0 || q.records+n <= q.o.MaxQueue && q.bytes+size <= q.o.MaxQueueBytes {
		return nil
	}
	q.interrupt()
	return unavailable(fmt.Errorf("%d records (%d bytes) already wait for partition %d", q.records, q.bytes, q.partition))
}

// stamp is the time for what is queued next: it never goes back.
func (q *queue) stamp() int64 {
	q.at = max(q.at, q.o.Clock().UnixMicro())
	return q.at
}

// collect returns the batch that n records join, and sees to it that somebody sends it.
func (q *queue) collect(n, size int, at int64) *batch {
	var b *batch
	if k := len(q.waiting); k > 0 {
		b = q.waiting[k-1]
	}
	// A batch lives as long as its oldest record: one that has waited for a while must not drag the new ones along.
	if b == nil || len(b.values)+n > q.o.MaxBatch || b.bytes+size > MaxBatchBytes || at-b.first > q.o.AppendTimeout.Microseconds()/10 {
		b = &batch{first: at, born: time.Now(), done: make(chan struct{}), values: q.spare}
		q.spare = nil
		q.waiting = append(q.waiting, b)
	}
	b.last = at
	b.bytes += size
	q.records += n
	q.bytes += size
	if !q.sending {
		q.sending = true
		go q.send()
	}
	return b
}

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

// startMarkers begins the watch for a standstill.
func (q *queue) startMarkers() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.marking, q.marker = true, q.stamp()
}

// leave ends what markers claim.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaving = true
}

// mark queues a marker and does not wait for it.
func (q *queue) mark() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.putMarker(q.stamp(), false)
}

func (q *queue) putMarker(at int64, closing bool) *batch {
	if at-q.marker > q.o.FreezeLimit.Microseconds() {
		q.logger.Warn("the process stood still: the time is recorded as a gap", "seconds", float64(at-q.marker)/1e6)
		q.since = at
	}
	q.marker = at
	b := q.collect(1, 0, at)
	q.seq++
	b.markers = append(b.markers, marker{index: len(b.values), seq: q.seq, at: at, closing: closing})
	b.values = append(b.values, nil)
	return b
}

// close lets nothing more in and appends the closing marker behind all that waits.
func (q *queue) close() error {
	q.mu.Lock()
	q.marking = false
	b := q.putMarker(q.stamp(), true)
	q.closed = true
	q.mu.Unlock()
	<-b.done
	if b.err != nil {
		return fmt.Errorf("closing partition %d: %w", q.partition, b.err)
	}
	return nil
}

func (q *queue) healthy() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// unavailable makes err one that callers know.
func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
