package kafkalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// What a record and a batch take beside the values, at most.
const (
	recordOverhead = 24
	batchOverhead  = 128
	// requestBytes is about what a request holds; brokers refuse 100 MiB.
	requestBytes = 32 << 20
)

// AppendBatch sends values to the partition's leader and waits until all in-sync replicas have them.
func (l *Log) AppendBatch(ctx context.Context, partition int, values [][]byte) (int64, error) {
	if err := l.check(partition); err != nil {
		return 0, err
	}
	if len(values) == 0 {
		return 0, errors.New("an append without records")
	}
	first := int64(-1)
	for len(values) > 0 {
		n, err := l.fit(values)
		if err != nil {
			return 0, err
		}
		offset, err := l.producers.append(ctx, partition, values[:n])
		if err != nil {
			return 0, fmt.Errorf("kafka: topic %s, partition %d: %w", l.o.Topic, partition, err)
		}
		if first < 0 {
			first = offset
		}
		values = values[n:]
	}
	return first, nil
}

// fit returns how many of values the topic takes in one batch, however badly they compress.
func (l *Log) fit(values [][]byte) (int, error) {
	size := batchOverhead
	for i, v := range values {
		size += len(v) + recordOverhead
		if size <= l.topic.maxBytes {
			continue
		}
		if i == 0 {
			return 0, fmt.Errorf("kafka: a record of %d bytes is over the max.message.bytes (%d) of topic %s: raise it",
				len(v), l.topic.maxBytes, l.o.Topic)
		}
		return i, nil
	}
	return len(values), nil
}

// producers bring the appends of all partitions together into few requests: a request costs far more than the records
// in it, and a broker takes those of all its partitions at once.
type producers struct {
	l *Log

	mu       sync.Mutex
	byLeader map[int]*producer
}

// producer sends to one broker, one request at a time.
type producer struct {
	l *Log

	mu      sync.Mutex
	waiting []*delivery
	sending bool
}

// delivery is one partition's part of a request.
type delivery struct {
	ctx       context.Context //nolint:containedctx // a request under way, not a thing that lives on
	partition int
	values    [][]byte
	done      chan struct{} // closed when the rest is final
	offset    int64
	err       error
}

func (s *producers) append(ctx context.Context, partition int, values [][]byte) (int64, error) {
	leader, err := s.l.leaders.of(ctx, partition)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	p := s.byLeader[leader]
	if p == nil {
		if s.byLeader == nil {
			s.byLeader = map[int]*producer{}
		}
		p = &producer{l: s.l}
		s.byLeader[leader] = p
	}
	s.mu.Unlock()
	d := &delivery{ctx: ctx, partition: partition, values: values, done: make(chan struct{})}
	p.put(d)
	select {
	case <-d.done:
		return d.offset, d.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.l.done:
		return 0, eventlog.ErrClosed
	}
}

func (p *producer) put(d *delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, d)
	if !p.sending {
		p.sending = true
		go p.send()
	}
}

// send sends until nothing waits.
func (p *producer) send() {
	for {
		runtime.Gosched() // what is about to be appended goes along
		ds := p.take()
		if len(ds) == 0 {
			return
		}
		p.deliver(ds)
		for _, d := range ds {
			close(d.done)
		}
	}
}

// take returns what goes into the next request: a partition may be in it once.
func (p *producer) take() []*delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ds, later []*delivery
	seen := make(map[int]bool, len(p.waiting))
	size := 0
	for _, d := range p.waiting {
		switch {
		case d.ctx.Err() != nil: // its caller has gone
		case seen[d.partition] || size > requestBytes:
			seen[d.partition] = true // what follows in the partition must not overtake
			later = append(later, d)
		default:
			seen[d.partition] = true
			for _, v := range d.values {
				size += len(v)
			}
			ds = append(ds, d)
		}
	}
	p.waiting = later
	p.sending = len(ds) > 0 // with nothing to send, nothing is left for later either
	return ds
}

// deliver sends one request and notes in each delivery how it went.
func (p *producer) deliver(ds []*delivery) {
	// As long as the most patient of them waits: one that gives up earlier has its own ctx.
	var deadline time.Time
	parts := make([]produce.RequestPartition, len(ds))
	for i, d := range ds {
		if t, ok := d.ctx.Deadline(); ok && t.After(deadline) {
			deadline = t
		}
		parts[i] = produce.RequestPartition{Partition: int32(d.partition), RecordSet: protocol.RecordSet{
			Attributes: protocol.Attributes(p.l.codec),
			Records:    &valueReader{values: d.values},
		}}
		d.err = errors.New("the broker's answer leaves out the partition")
	}
	if deadline.IsZero() {
		deadline = time.Now().Add(10 * time.Second)
	}
	ctx, cancel := context.WithDeadline(p.l.transport.Context, deadline)
	defer cancel()
	res, err := p.l.transport.RoundTrip(ctx, p.l.client.Addr, &produce.Request{
		Acks:    int16(kafka.RequireAll),
		Timeout: int32(max(time.Until(deadline).Milliseconds(), 1)),
		Topics:  []produce.RequestTopic{{Topic: p.l.o.Topic, Partitions: parts}},
	})
	if err != nil {
		for _, d := range ds {
			d.err = err
		}
		return
	}
	for _, t := range res.(*produce.Response).Topics {
		for i := range t.Partitions {
			note(ds, &t.Partitions[i])
		}
	}
}

func note(ds []*delivery, r *produce.ResponsePartition) {
	for _, d := range ds {
		if d.partition != int(r.Partition) {
			continue
		}
		d.offset, d.err = r.BaseOffset, nil
		if r.ErrorCode != 0 {
			d.err = kafka.Error(r.ErrorCode)
			if r.ErrorMessage != "" {
				d.err = fmt.Errorf("%w (%s)", d.err, r.ErrorMessage)
			}
		}
	}
}

// valueReader is a protocol.RecordReader of records that are nothing but values.
type valueReader struct {
	values [][]byte
	rec    protocol.Record
	value  valueBytes
}

// ReadRecord returns the next record, valid until the next call.
func (r *valueReader) ReadRecord() (*protocol.Record, error) {
	if len(r.values) == 0 {
		return nil, io.EOF
	}
	r.value.Reset(r.values[0])
	r.values = r.values[1:]
	r.rec.Value = &r.value
	return &r.rec, nil
}

// valueBytes is a protocol.Bytes.
type valueBytes struct{ bytes.Reader }

// Close does nothing.
func (*valueBytes) Close() error { return nil }
