package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrFenced says that another process has taken the partition over: what was read must be dropped, not written.
var ErrFenced = errors.New("the partition was assigned to another consumer meanwhile")

// Position is how far a consumer is in a partition of a log, and by which right it may say so.
type Position struct {
	LogID     string
	Consumer  string
	Partition int
	Epoch     int64  // rises with each assignment
	Offset    int64  // next to be read
	Clock     []byte // JSON of core/logclock.Clock as of Offset
}

// DB is a pool, a connection or a transaction.
type DB interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Acquire takes the partition for the caller: it raises the epoch, so that whoever held it before can commit no more,
// and returns where to read on. A partition never read before begins at offset 0 with the clock {}.
//
// It waits for a commit of the former holder that is under way, so the offset is the last one there will be of it.
func Acquire(ctx context.Context, db DB, logID, consumer string, partition int) (Position, error) {
	p := Position{LogID: logID, Consumer: consumer, Partition: partition}
	err := db.QueryRow(ctx, `
		insert into log_offsets (log_id, consumer, partition, epoch) values ($1, $2, $3, 1)
		on conflict (log_id, consumer, partition) do update set epoch = log_offsets.epoch + 1, updated_at = now()
		returning epoch, next_offset, clock`, logID, consumer, partition,
	).Scan(&p.Epoch, &p.Offset, &p.Clock)
	if err != nil {
		return Position{}, fmt.Errorf("acquire partition %d for %s: %w", partition, consumer, err)
	}
	return p, nil
}

// Commit writes, in tx, that the consumer has dealt with everything before next. The error is ErrFenced when p.Epoch is
// no longer the partition's: the caller must roll back. p itself is unchanged; its Offset is only of its assignment.
func Commit(ctx context.Context, tx pgx.Tx, p Position, next int64, clock []byte) error {
	tag, err := tx.Exec(ctx, `
		update log_offsets set next_offset = $5, clock = $6, updated_at = now()
		where log_id = $1 and consumer = $2 and partition = $3 and epoch = $4`,
		p.LogID, p.Consumer, p.Partition, p.Epoch, next, clock)
	if err != nil {
		return fmt.Errorf("commit offset %d of partition %d for %s: %w", next, p.Partition, p.Consumer, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("commit offset %d of partition %d for %s: %w", next, p.Partition, p.Consumer, ErrFenced)
	}
	return nil
}

// CommittedMin returns the least next offset of a partition over the consumers named, or over all there are if none is
// named: what lies before it is needed by none. false: a consumer named, or any at all, has never acquired the partition,
// so nothing may be let go.
func CommittedMin(ctx context.Context, db Querier, logID string, partition int, consumers ...string) (int64, bool, error) {
	var (
		lowest *int64
		known  int
	)
	if consumers == nil {
		consumers = []string{}
	}
	err := db.QueryRow(ctx, `
		select min(next_offset), count(*) from log_offsets
		where log_id = $1 and partition = $2 and (consumer = any($3) or cardinality($3::text[]) = 0)`,
		logID, partition, consumers).Scan(&lowest, &known)
	if err != nil {
		return 0, false, fmt.Errorf("read the committed offsets of partition %d: %w", partition, err)
	}
	if lowest == nil || known < len(consumers) {
		return 0, false, nil
	}
	return *lowest, true, nil
}

// ConsumerOffset is how far a consumer is in a partition.
type ConsumerOffset struct {
	Consumer  string
	Partition int
	Next      int64
}

// CommittedAll returns how far every consumer of a log is that has ever acquired one of its first partitions, as many as
// there are.
func CommittedAll(ctx context.Context, pool *Pool, logID string, partitions int) ([]ConsumerOffset, error) {
	rows, err := pool.Query(ctx, `
		select consumer, partition, next_offset from log_offsets where log_id = $1 and partition < $2
		order by consumer, partition`, logID, partitions)
	if err != nil {
		return nil, fmt.Errorf("read the committed offsets of all consumers: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ConsumerOffset])
	if err != nil {
		return nil, fmt.Errorf("read the committed offsets of all consumers: %w", err)
	}
	return list, nil
}
