// Package kafkalog is the event log in Apache Kafka: one topic, for as many processes as there need be.
//
// An append is answered when all in-sync replicas have it (acks=all). What that survives is the topic's matter: with
// three replicas and min.insync.replicas=2, as topics made here with a replication factor of 3 have, the loss of any one
// broker with its disk; with one replica, the end of the broker's process, but not of its machine's power, unless the
// topic's flush.messages is 1.
//
// Offsets are the consumers' own matter and live in the database. Kafka's consumer groups only say who reads which
// partition.
package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Log is an eventlog.Log in Kafka.
type Log struct {
	o         Options
	log       *slog.Logger
	codec     compress.Compression
	transport *kafka.Transport
	client    *kafka.Client
	topic     topic
	leaders   leaders
	stop      context.CancelFunc // ends the connections' background work
	producers producers

	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed by Close
}

var _ eventlog.Log = (*Log)(nil)

// Open connects to the cluster and makes the topic where it does not exist. It keeps trying until ctx ends.
func Open(ctx context.Context, o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	codec, err := o.compression()
	if err != nil {
		return nil, err
	}
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, log: o.Logger.With("topic", o.Topic), codec: codec, transport: transport, done: make(chan struct{})}
	transport.Context, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.client = &kafka.Client{Addr: kafka.TCP(o.Brokers...), Transport: transport}
	l.leaders.l, l.producers.l = l, l
	if l.topic, err = l.findTopic(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ID is the cluster's id and the topic's name. A topic that was deleted and made again has the same.
func (l *Log) ID() string { return l.topic.clusterID + "/" + l.o.Topic }

// Partitions is the number the topic had when it was opened.
func (l *Log) Partitions() int { return l.topic.partitions }

// Exclusive is false: any process may append.
func (l *Log) Exclusive() bool { return false }

// Trim does nothing: the topic's retention decides.
func (l *Log) Trim(context.Context, int, int64) error { return l.check(0) }

// End is the offset behind the last record.
func (l *Log) End(ctx context.Context, partition int) (int64, error) {
	if err := l.check(partition); err != nil {
		return 0, err
	}
	_, end, err := l.bounds(ctx, partition)
	return end, err
}

// bounds returns the offset of the oldest record and that behind the newest.
func (l *Log) bounds(ctx context.Context, partition int) (first, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := l.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		l.o.Topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)},
	}})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range res.Topics[l.o.Topic] {
		if p.Partition == partition {
			return p.FirstOffset, p.LastOffset, p.Error
		}
	}
	return 0, 0, fmt.Errorf("the brokers say nothing of partition %d", partition)
}

func (l *Log) check(partition int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return eventlog.ErrClosed
	}
	if partition < 0 || partition >= l.topic.partitions {
		return fmt.Errorf("partition %d: topic %s has %d", partition, l.o.Topic, l.topic.partitions)
	}
	return nil
}

// Close closes the connections. Appends and reads under way fail.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
		l.transport.CloseIdleConnections()
		l.stop()
	}
	return nil
}

// leaders knows which broker leads which partition.
type leaders struct {
	l *Log

	mu    sync.Mutex
	asked time.Time
	ids   map[int]int // by partition
}

// of returns the id of the broker that leads a partition. What it says may be a second old.
func (s *leaders) of(ctx context.Context, partition int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) > 500*time.Millisecond {
		// The transport answers from what it has; it asks the brokers in the background.
		meta, err := s.l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{s.l.o.Topic}})
		if err != nil {
			return 0, err
		}
		s.ids = map[int]int{}
		for _, t := range meta.Topics {
			for _, p := range t.Partitions {
				if p.Leader.Host != "" {
					s.ids[p.ID] = p.Leader.ID
				}
			}
		}
		s.asked = time.Now()
	}
	id, ok := s.ids[partition]
	if !ok {
		return 0, fmt.Errorf("partition %d of topic %s has no leader now", partition, s.l.o.Topic)
	}
	return id, nil
}
