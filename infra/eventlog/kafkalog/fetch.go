package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

const (
	// gather is how long a request waits for further partitions to come along, and so the least time between two
	// requests. It is no delay in quiet times: then a request is already waiting at the broker when a record comes.
	gather = 25 * time.Millisecond
	// partitionBytes is what a request asks of one partition, compressed.
	partitionBytes = 2 << 20
)

// fetcher reads all partitions of a consumer with few requests: one for each broker that leads some of them.
type fetcher struct {
	l   *Log
	ctx context.Context //nolint:containedctx // the call of Consume this belongs to

	mu      sync.Mutex
	hungry  []*reader
	started bool // a round is about to begin
}

// serving is what a reader gets for its request.
type serving struct {
	records protocol.RecordReader // nil: none
	end     int64                 // offset behind the last record that can be read
	err     error
}

// ask queues a reader for the next request.
func (f *fetcher) ask(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hungry = append(f.hungry, r)
	if !f.started {
		f.started = true
		go f.round()
	}
}

// round lets the hungry come together and sends them off.
func (f *fetcher) round() {
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.ctx.Done():
	}
	f.mu.Lock()
	hungry := f.hungry
	f.hungry, f.started = nil, false
	f.mu.Unlock()
	byLeader := map[int][]*reader{}
	for _, r := range hungry {
		leader, err := f.l.leaders.of(f.ctx, r.partition)
		if err != nil {
			r.served <- serving{err: err}
			continue
		}
		byLeader[leader] = append(byLeader[leader], r)
	}
	for _, rs := range byLeader {
		go f.fetch(rs)
	}
}

// fetch sends one request for some partitions of one leader and serves each reader, with an error if need be.
func (f *fetcher) fetch(rs []*reader) {
	req := &fetch.Request{
		ReplicaID: -1, SessionID: 0, SessionEpoch: -1, // no session: every request names all it wants
		MaxWaitTime: int32(eventlog.IdleWait.Milliseconds()), MinBytes: 1, MaxBytes: partitionBytes * int32(len(rs)),
		Topics: []fetch.RequestTopic{{Topic: f.l.o.Topic}},
	}
	for _, r := range rs {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetch.RequestPartition{
			Partition: int32(r.partition), CurrentLeaderEpoch: -1, FetchOffset: r.next, LogStartOffset: -1, PartitionMaxBytes: partitionBytes,
		})
	}
	ctx, cancel := context.WithTimeout(f.ctx, eventlog.IdleWait+5*time.Second)
	defer cancel()
	m, err := f.l.transport.RoundTrip(ctx, f.l.client.Addr, req)
	if err != nil {
		for _, r := range rs {
			r.served <- serving{err: err}
		}
		return
	}
	res := m.(*fetch.Response)
	parts := map[int]*fetch.ResponsePartition{}
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			parts[int(p.Partition)] = p
		}
	}
	for _, r := range rs {
		p := parts[r.partition]
		switch {
		case res.ErrorCode != 0:
			r.served <- serving{err: kafka.Error(res.ErrorCode)}
		case p == nil:
			r.served <- serving{err: errors.New("the broker's answer leaves out the partition")}
		case p.ErrorCode != 0:
			r.served <- serving{err: kafka.Error(p.ErrorCode)}
		default:
			r.served <- serving{records: p.RecordSet.Records, end: p.HighWatermark}
		}
	}
}

// reader is an eventlog.Reader of one partition.
type reader struct {
	f         *fetcher
	partition int
	next      int64        // offset of the next record to fetch
	served    chan serving // with room for the one answer that can be outstanding
	asked     bool
	stale     bool // the outstanding request is older than the last return of Next

	end   int64          // as of the last answer
	ahead []record.Entry // fetched and not yet handed over
	arena []byte         // what the values share memory with
}

// open is an eventlog.OpenReader. The reader must be used within the fetcher's ctx.
func (f *fetcher) open(_ context.Context, partition int, offset int64) (eventlog.Reader, error) {
	if err := f.l.check(partition); err != nil {
		return nil, err
	}
	return &reader{f: f, partition: partition, next: offset, served: make(chan serving, 1)}, nil
}

// Close ends the reader's interest. An answer still to come is dropped.
func (r *reader) Close() error { return nil }

// Next is eventlog.Reader's.
func (r *reader) Next(ctx context.Context, wait time.Duration) ([]record.Entry, bool, error) {
	if len(r.ahead) > 0 {
		r.stale = true // what is left of an earlier answer says nothing of the end
		recs, atEnd := r.hand()
		return recs, atEnd, nil
	}
	if !r.asked {
		r.f.ask(r)
		r.asked, r.stale = true, false
	}
	// The broker answers within wait, if only that there is nothing; the rest is for the way and the gathering. When it
	// does not, the request stays where it is.
	t := time.NewTimer(wait + wait/4 + gather)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-t.C:
		r.stale = true
		return nil, false, nil
	case s := <-r.served:
		r.asked = false
		if err := r.take(ctx, s); err != nil {
			return nil, false, err
		}
		recs, atEnd := r.hand()
		return recs, atEnd, nil
	}
}

// hand returns the next batch of what was fetched.
func (r *reader) hand() (recs []record.Entry, atEnd bool) {
	n := min(len(r.ahead), r.f.l.o.MaxBatch)
	recs, r.ahead = r.ahead[:n], r.ahead[n:]
	return recs, len(r.ahead) == 0 && r.next >= r.end && !r.stale
}

// take decodes an answer.
func (r *reader) take(ctx context.Context, s serving) error {
	if errors.Is(s.err, kafka.OffsetOutOfRange) {
		return r.outOfRange(ctx)
	}
	if s.err != nil {
		return fmt.Errorf("kafka: topic %s, partition %d: %w", r.f.l.o.Topic, r.partition, s.err)
	}
	r.end = s.end
	r.ahead, r.arena = r.ahead[:0], r.arena[:0]
	if cap(r.arena) > 2*eventlog.MaxBatchBytes {
		r.arena = nil
	}
	if s.records == nil {
		return nil // nothing new, or other partitions took all the room of the answer
	}
	before := r.next
	if err := r.decode(s.records); err != nil {
		return fmt.Errorf("kafka: topic %s, partition %d, offset %d: %w", r.f.l.o.Topic, r.partition, r.next, err)
	}
	if r.next == before {
		return fmt.Errorf("kafka: topic %s, partition %d: the record at offset %d cannot be decoded", r.f.l.o.Topic, r.partition, r.next)
	}
	return nil
}

// decode copies the records from r.next on into the arena. A batch may begin before it.
func (r *reader) decode(records protocol.RecordReader) error {
	stream, ok := records.(*protocol.RecordStream)
	if !ok {
		return r.decodeBatch(records)
	}
	for _, batch := range stream.Records {
		if c, ok := batch.(*protocol.ControlBatch); ok {
			// Marks of somebody's transaction. They take an offset and carry nothing.
			if err := skip(c, &r.next); err != nil {
				return err
			}
			continue
		}
		if err := r.decodeBatch(batch); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) decodeBatch(records protocol.RecordReader) error {
	for {
		rec, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Key != nil {
			_ = rec.Key.Close()
		}
		if rec.Offset >= r.next {
			if err := r.add(rec); err != nil {
				return err
			}
		}
		if rec.Value != nil {
			_ = rec.Value.Close()
		}
	}
}

func (r *reader) add(rec *protocol.Record) error {
	start := len(r.arena)
	if rec.Value != nil {
		n := rec.Value.Len()
		r.arena = append(r.arena, make([]byte, n)...)
		if _, err := io.ReadFull(rec.Value, r.arena[start:]); err != nil {
			return err
		}
	}
	end := len(r.arena)
	r.ahead = append(r.ahead, record.Entry{Offset: rec.Offset, Value: r.arena[start:end:end]})
	r.next = rec.Offset + 1
	return nil
}

// skip moves next behind a control batch.
func skip(c *protocol.ControlBatch, next *int64) error {
	for {
		rec, err := c.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		*next = max(*next, rec.Offset+1)
	}
}

// outOfRange says on which side of what is kept the reader stands.
func (r *reader) outOfRange(ctx context.Context) error {
	first, end, err := r.f.l.bounds(ctx, r.partition)
	switch {
	case err != nil:
		return err
	case r.next < first:
		return &eventlog.OffsetError{Wanted: r.next, Next: first, Reason: eventlog.ErrTrimmed}
	case r.next > end:
		return &eventlog.OffsetError{Wanted: r.next, Next: end, Reason: eventlog.ErrBeyondEnd}
	}
	return fmt.Errorf("kafka: topic %s, partition %d: the broker denies offset %d and has %d to %d", r.f.l.o.Topic, r.partition, r.next, first, end)
}
