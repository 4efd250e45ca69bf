package eventlog

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// AppenderOptions tune an Appender. Zero fields take the defaults.
type AppenderOptions struct {
	ID             uint64           // stamped into every record; by default random. No two Appenders may ever share one
	Clock          func() time.Time // by default time.Now
	MaxBatch       int              // records of one AppendBatch, by default 5,000; an AppendAll is never cut
	MaxQueue       int              // records waiting in one partition, by default 100,000: more are refused at once
	MaxQueueBytes  int              // bytes waiting in one partition, by default 256 MiB
	AppendTimeout  time.Duration    // how long a record may wait to become durable, by default 5 s
	MarkerInterval time.Duration    // by default 1 s
	FreezeLimit    time.Duration    // a pause of the whole process longer than this is a gap, by default 3 s
	Logger         *slog.Logger
	// Observe is told of every AppendBatch: its records, how long it took and its error. It must be quick.
	Observe func(records int, took time.Duration, err error)
}

func (o *AppenderOptions) setDefaults() {
	if o.ID == 0 {
		o.ID = rand.Uint64() | 1 //nolint:gosec // it must be unlike the others, not secret
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.MaxBatch = orDefault(o.MaxBatch, DefaultMaxBatch)
	o.MaxQueue = orDefault(o.MaxQueue, 100_000)
	o.MaxQueueBytes = orDefault(o.MaxQueueBytes, 256<<20)
	o.AppendTimeout = orDefault(o.AppendTimeout, 5*time.Second)
	o.MarkerInterval = orDefault(o.MarkerInterval, time.Second)
	o.FreezeLimit = orDefault(o.FreezeLimit, 3*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(int, time.Duration, error) {}
	}
}

func orDefault[T int | time.Duration](v, byDefault T) T {
	if v <= 0 {
		return byDefault
	}
	return v
}

// Appender groups concurrent appends per partition into batches, stamps them, and keeps the markers going. There is no
// linger: while one batch is on its way the next is collected, and it is sent the moment the first is answered. Safe for
// concurrent use.
type Appender struct {
	log    Log
	o      AppenderOptions
	queues []*queue
}

// NewAppender makes an Appender for log. It starts no goroutine until something is appended; markers need Run.
func NewAppender(log Log, o AppenderOptions) *Appender {
	o.setDefaults()
	a := &Appender{log: log, o: o}
	for i := range log.Partitions() {
		a.queues = append(a.queues, newQueue(log, &a.o, i))
	}
	return a
}

// ID is the number stamped into this Appender's records.
func (a *Appender) ID() uint64 { return a.o.ID }

// Append stamps rec, which an Append function of package record made, and waits until it is durable. It returns the
// time stamped.
//
// Any error wraps ErrUnavailable, and the record may or may not be in the log. ctx is looked at before the record takes
// its place in the queue; from there the AppendTimeout bounds the wait. rec is the Appender's until Append returns
// without an error; after an error it must not be written to again, since a write that hangs may still read it.
func (a *Appender) Append(ctx context.Context, partition int, rec []byte) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, unavailable(err)
	}
	return a.queues[partition].append(rec)
}

// AppendAll is Append for several records with one time, which become durable together or, as far as anyone is told,
// not at all. They may be up to 48 MiB on disk and 16 MiB, after compression, with Kafka.
func (a *Appender) AppendAll(ctx context.Context, partition int, recs [][]byte) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, unavailable(err)
	}
	if len(recs) == 0 {
		return a.o.Clock().UTC().Truncate(time.Microsecond), nil
	}
	return a.queues[partition].append(recs...)
}

// Run appends a marker to every partition at each MarkerInterval, the first at once, until ctx ends. Then it lets no
// more records in, drains the queues, appends a closing marker to each partition and returns; the caller should have
// stopped appending before. The error says which partitions could not be closed.
func (a *Appender) Run(ctx context.Context) error {
	for _, q := range a.queues {
		q.startMarkers()
	}
	t := time.NewTicker(a.o.MarkerInterval)
	defer t.Stop()
	for {
		for _, q := range a.queues {
			q.mark()
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return a.close()
		}
	}
}

// Leave says that no more pings are let in, though some may still be under way: from now on markers claim nothing but their
// own instant. Call it before the listener is closed.
func (a *Appender) Leave() {
	for _, q := range a.queues {
		q.leave()
	}
}

func (a *Appender) close() error {
	errs := make([]error, len(a.queues))
	var wg sync.WaitGroup
	for i, q := range a.queues {
		wg.Go(func() { errs[i] = q.close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Healthy is nil while the last append of every partition succeeded. The error wraps ErrUnavailable.
func (a *Appender) Healthy() error {
	for _, q := range a.queues {
		if err := q.healthy(); err != nil {
			return err
		}
	}
	return nil
}
