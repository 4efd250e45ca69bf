// Package disklog keeps the event log in a folder of local disk: the log of a single process.
//
// Each partition is a folder of segment files written by hashicorp/raft-wal's segment format, one entry and one fsync for
// each batch. An append returns only when its records survive kill -9 and a power loss. What a crash leaves half-written
// is cut when the log is opened again; damage to what was answered for is never cut, and never handed to a consumer, but
// named.
package disklog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/types"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

var (
	// ErrLocked says that another process has the log open.
	ErrLocked = errors.New("the log is in use")
	// ErrCorrupt says that what the disk gives back is not what was written.
	ErrCorrupt = errors.New("the log is damaged")
)

// Options say where the log is and how it is cut.
type Options struct {
	Dir          string        // made where it is missing
	Partitions   int           // of a new log, by default 1; an existing log refuses another number, 0 takes what it has
	SegmentBytes int           // a segment file's size, by default 32 MiB; also what a new log takes of the disk at once
	Retention    time.Duration // Trim leaves segments that were filled less long ago than this
	MaxBatch     int           // records of a consumer's batch, by default eventlog.DefaultMaxBatch
	Logger       *slog.Logger

	files types.VFS        // for tests of failing disks
	now   func() time.Time // for tests of the retention
}

func (o *Options) validate() error {
	if o.Dir == "" {
		return errors.New("the log needs a folder")
	}
	if o.Partitions < 0 || o.Partitions > 1024 {
		return fmt.Errorf("%d partitions: give 1 to 1024", o.Partitions)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 32 << 20
	}
	if o.SegmentBytes < 1<<12 || o.SegmentBytes > 1<<30 {
		return fmt.Errorf("a segment of %d bytes: give 4 KiB to 1 GiB", o.SegmentBytes)
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = eventlog.DefaultMaxBatch
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.files == nil {
		o.files = osFiles{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	return nil
}

// Log is an eventlog.Log on disk.
type Log struct {
	o     Options
	id    string
	lock  *os.File
	parts []*partition

	mu     sync.Mutex
	groups map[string]bool // that are being consumed
	closed bool
}

var _ eventlog.Log = (*Log)(nil)

// Open opens the log in a folder, or makes it. Only one process can have it open.
func Open(o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	held, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, lock: held, groups: map[string]bool{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Log) load() error {
	id, err := loadIdentity(l.o.Dir, l.o.Partitions)
	if err != nil {
		return err
	}
	l.id = id.ID
	for i := range id.Partitions {
		p := &partition{
			dir: name(l.o.Dir, i), seed: seed(id.ID, i), fs: l.o.files, limit: l.o.SegmentBytes, now: l.o.now,
			log: l.o.Logger.With("partition", i),
		}
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return err
		}
		if err := p.open(); err != nil {
			return err
		}
		l.parts = append(l.parts, p)
	}
	return syncDir(l.o.Dir)
}

// ID is a UUID made with the folder.
func (l *Log) ID() string { return l.id }

// Partitions is the number the log was made with.
func (l *Log) Partitions() int { return len(l.parts) }

// Exclusive is true: the folder is locked.
func (l *Log) Exclusive() bool { return true }

// AppendBatch writes values and syncs them once. It cannot be broken off: ctx is looked at before only.
func (l *Log) AppendBatch(ctx context.Context, partition int, values [][]byte) (int64, error) {
	p, err := l.part(partition)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(values) == 0 {
		return 0, errors.New("an append without records")
	}
	return p.append(values)
}

// Trim removes whole segments that hold only records below offset and were filled before the retention began.
func (l *Log) Trim(_ context.Context, partition int, offset int64) error {
	p, err := l.part(partition)
	if err != nil {
		return err
	}
	return p.trim(offset, l.o.now().Add(-l.o.Retention))
}

// End is the offset behind the last durable record.
func (l *Log) End(_ context.Context, partition int) (int64, error) {
	p, err := l.part(partition)
	if err != nil {
		return 0, err
	}
	end, _, closed := p.tip.get()
	if closed {
		return 0, eventlog.ErrClosed
	}
	return end, nil
}

// Consume hands all partitions to c. A group has one consumer at a time.
func (l *Log) Consume(ctx context.Context, name string, c eventlog.Consumer) error {
	if err := l.join(name); err != nil {
		return err
	}
	defer l.leave(name)
	var wg sync.WaitGroup
	for i := range l.parts {
		wg.Go(func() { eventlog.Drive(ctx, i, c, l.open, l.o.Logger.With("consumer", name)) })
	}
	wg.Wait()
	return ctx.Err()
}

func (l *Log) join(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.groups[name] {
		return fmt.Errorf("consumer %q already reads this log", name)
	}
	l.groups[name] = true
	return nil
}

func (l *Log) leave(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.groups, name)
}

func (l *Log) open(_ context.Context, partition int, offset int64) (eventlog.Reader, error) {
	return l.parts[partition].reader(offset, l.o.MaxBatch)
}

func (l *Log) part(partition int) (*partition, error) {
	if partition < 0 || partition >= len(l.parts) {
		return nil, fmt.Errorf("partition %d: the log has %d", partition, len(l.parts))
	}
	return l.parts[partition], nil
}

// Close waits for the append under way, ends every reader and lets the folder go.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, p := range l.parts {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, l.lock.Close())...)
}
