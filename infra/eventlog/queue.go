package eventlog

import (
	"fmt"
	"log/slog"
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
