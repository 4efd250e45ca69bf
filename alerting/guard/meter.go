package guard

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Appender makes records of pings durable: what ingest writes to.
type Appender interface {
	// Append returns once rec is durable, with the time that it was given.
	Append(ctx context.Context, partition int, rec []byte) (time.Time, error)
	// AppendAll does the same for several records at once.
	AppendAll(ctx context.Context, partition int, recs [][]byte) (time.Time, error)
}

// Counts keeps what each process accepted. Safe for concurrent use.
type Counts interface {
	// AddGuardPings adds the pings of each minute to what the process has accepted in it.
	AddGuardPings(ctx context.Context, process uuid.UUID, pings map[time.Time]int64) error
}

const (
	flushEvery = 8 * time.Second // less than `after`, so that a judged minute is whole
	// keepMinutes is how many minutes are kept while they cannot be written down.
	keepMinutes = 24 * 60
)

// Meter counts the pings that this process accepted, by the minute. Safe for concurrent use.
type Meter struct {
	store   Counts
	log     *slog.Logger
	process uuid.UUID
	clock   func() time.Time

	hot atomic.Pointer[count] // of the youngest minute: nearly every ping is counted here, without a lock

	mu     sync.Mutex
	counts map[int64]*count // by the minute since 1970
	kept   map[int64]int64  // what could not be written down yet, by the minute
	last   int64            // minute up to which it is written that we are there
}

// count is that of one minute.
type count struct {
	minute int64
	n      atomic.Int64
}

// NewMeter makes a Meter for this process. log may be nil.
func NewMeter(store Counts, log *slog.Logger) *Meter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Meter{store: store, log: log, process: uuid.New(), clock: time.Now, counts: map[int64]*count{}, kept: map[int64]int64{}}
}

// Wrap returns an Appender that counts what next made durable.
func (m *Meter) Wrap(next Appender) Appender { return metered{next, m} }

type metered struct {
	Appender
	meter *Meter
}

func (a metered) Append(ctx context.Context, partition int, rec []byte) (time.Time, error) {
	at, err := a.Appender.Append(ctx, partition, rec)
	if err == nil {
		a.meter.add(at, 1)
	}
	return at, err
}

func (a metered) AppendAll(ctx context.Context, partition int, recs [][]byte) (time.Time, error) {
	at, err := a.Appender.AppendAll(ctx, partition, recs)
	if err == nil {
		a.meter.add(at, len(recs))
	}
	return at, err
}

func (m *Meter) add(at time.Time, n int) {
	minute := minuteOf(at)
	c := m.hot.Load()
	if c == nil || c.minute != minute {
		c = m.countOf(minute)
	}
	c.n.Add(int64(n))
}

func (m *Meter) countOf(minute int64) *count {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts[minute]
	if c == nil {
		c = &count{minute: minute}
		m.counts[minute] = c
	}
	if hot := m.hot.Load(); hot == nil || hot.minute < minute {
		m.hot.Store(c)
	}
	return c
}

// take gives what was counted since the last time, and what was kept. A minute that is over is forgotten only when nobody can be
// about to add to it any more.
func (m *Meter) take(now int64) map[int64]int64 {
	counted := m.kept
	m.kept = map[int64]int64{}
	for minute, c := range m.counts {
		if n := c.n.Swap(0); n != 0 {
			counted[minute] += n
		}
		if minute < now-2 {
			delete(m.counts, minute)
			m.hot.CompareAndSwap(c, nil)
		}
	}
	return counted
}

func minuteOf(at time.Time) int64 { return at.Unix() / 60 }

// Run writes the counts down every 8 s, and once more when ctx ends. Where the database is away they are kept, for a day.
func (m *Meter) Run(ctx context.Context) error {
	m.mu.Lock()
	m.last = minuteOf(m.clock())
	m.mu.Unlock()
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	failing := false
	for {
		err := m.flush(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			m.log.ErrorContext(ctx, "the counts of pings cannot be written down for the installation guard", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			if err := m.flush(context.WithoutCancel(ctx)); err != nil {
				m.log.WarnContext(ctx, "the last counts of pings are not written down", "error", err)
			}
			return ctx.Err()
		case <-t.C:
		}
	}
}

// flush adds what was counted. After an error it is kept for the next time.
func (m *Meter) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushEvery)
	defer cancel()
	now := minuteOf(m.clock())
	m.mu.Lock()
	counted := m.take(now)
	for minute := max(m.last, now-keepMinutes); minute <= now; minute++ {
		counted[minute] += 0 // we are there, and were all the time since
	}
	m.mu.Unlock()
	write := make(map[time.Time]int64, len(counted))
	for minute, n := range counted {
		if minute > now-keepMinutes {
			write[time.Unix(minute*60, 0).UTC()] = n
		}
	}
	err := m.store.AddGuardPings(ctx, m.process, write)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		for minute, n := range counted {
			if minute > now-keepMinutes {
				m.kept[minute] += n
			}
		}
		return err
	}
	m.last = now
	return nil
}
