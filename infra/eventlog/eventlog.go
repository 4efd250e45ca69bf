// Package eventlog is the one order of everything that happens: a topic of records, cut into partitions, that is written
// durably before a ping is answered and read by the evaluator and the time-series writer.
//
// A Log is one topic: disklog keeps it in a folder, kafkalog in Apache Kafka, memlog in memory for the tests of others.
// An Appender groups the appends of many callers into few durable writes. Drive is the loop that hands one partition to
// a Consumer; every Log uses it, so all behave alike after an error.
package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokiflow/tokiflow/core/record"
)

var (
	// ErrUnavailable is what an append fails with: nothing was promised, the caller may try again. It wraps the cause.
	ErrUnavailable = errors.New("the log cannot take records now")
	// ErrTrimmed says that records a consumer asked for are no longer kept.
	ErrTrimmed = errors.New("records are missing from the log")
	// ErrBeyondEnd says that the log ends before the place a consumer has already read to: it has lost records.
	ErrBeyondEnd = errors.New("the log ends before what was already read from it")
	// ErrClosed is returned by every call to a closed log.
	ErrClosed = errors.New("the log is closed")
)

// Log is one topic of records. Safe for concurrent use.
type Log interface {
	// ID is the stable identity of this log's content: for disk a UUID made with the directory, for Kafka the cluster's
	// id, a slash and the topic's name.
	ID() string
	// Partitions is the number of partitions, numbered from 0. It never changes while the log is open.
	Partitions() int
	// AppendBatch makes values durable in one partition, in order, and returns the offset of the first. On an error
	// nothing may be assumed: all, some or none may be in the log. At most one call per partition may be in flight; the
	// Appender sees to it.
	AppendBatch(ctx context.Context, partition int, values [][]byte) (first int64, err error)
	// Consume hands partitions to c until ctx ends, and then returns ctx's error. group is the consumer's name;
	// processes that share it share the partitions.
	Consume(ctx context.Context, group string, c Consumer) error
	// Trim lets records below offset go: the disk log removes whole segments, Kafka keeps to the topic's own retention.
	Trim(ctx context.Context, partition int, offset int64) error
	// End is the offset behind the last durable record of a partition.
	End(ctx context.Context, partition int) (int64, error)
	// Exclusive reports that this process is the only appender.
	Exclusive() bool
	Close() error
}

// Consumer is what Consume drives. One goroutine for each assigned partition calls Assigned, then Batch any number of
// times, then Revoked; so calls for one partition never overlap, those for different partitions do.
//
// After an error of Assigned or Batch the consumer is told Revoked and, after a pause, Assigned again: it reloads its
// state. No record is ever skipped.
type Consumer interface {
	// Assigned returns the offset to read from.
	Assigned(ctx context.Context, partition int) (offset int64, err error)
	// Batch gets records in order and without holes. Without records it is called at least every 250 ms. atEnd says that
	// everything durable at the time of the read has been handed over. recs and the values in it are valid until Batch
	// returns.
	Batch(ctx context.Context, partition int, recs []record.Entry, atEnd bool) error
	// Revoked is called once for every call of Assigned, whatever that returned. ctx of the other two has not
	// necessarily ended.
	Revoked(partition int)
}

// LossObserver may be implemented by a Consumer that wants to be told when records are missing. The loop logs the same
// at error level in any case.
type LossObserver interface {
	// Lost is called between Assigned and the next Batch, from the partition's goroutine. err wraps ErrTrimmed or
	// ErrBeyondEnd; reading goes on at next.
	Lost(partition int, err error, next int64)
}

// OffsetError is returned by a Reader when it cannot read where it was asked to. It wraps ErrTrimmed or ErrBeyondEnd.
type OffsetError struct {
	Wanted int64 // what was asked for
	Next   int64 // where reading can go on: the oldest kept record, or the log's end
	Reason error // ErrTrimmed or ErrBeyondEnd
}

// Error names both offsets.
func (e *OffsetError) Error() string {
	if errors.Is(e.Reason, ErrBeyondEnd) {
		return fmt.Sprintf("%v: asked for offset %d, the log ends at %d; was an older copy of it restored?", e.Reason, e.Wanted, e.Next)
	}
	return fmt.Sprintf("%v: asked for offset %d, the oldest kept is %d", e.Reason, e.Wanted, e.Next)
}

// Unwrap returns Reason.
func (e *OffsetError) Unwrap() error { return e.Reason }
