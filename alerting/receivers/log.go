package receivers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Saver stores notifications: a later one of the same ID over the earlier.
type Saver interface {
	SaveNotification(ctx context.Context, org tenant.OrgID, n alert.Notification) error
}

// LogOptions of a Log. Store is required.
type LogOptions struct {
	Store      Saver
	Registerer prometheus.Registerer // nil: the metrics are registered nowhere
	Logger     *slog.Logger          // nil: none
	// Capacity is how many notifications may wait to be saved; 0: 10,000. What comes when it is full is lost, and counted.
	Capacity int
	// Keep is how long a notification that cannot be saved is tried; 0: 10 min.
	Keep time.Duration
}

// Log writes notifications down behind the back of those who send them: neither a slow nor a missing database delays or fails a
// notification. One serves all organisations of a process. Safe for concurrent use.
type Log struct {
	o       LogOptions
	metrics *metrics
	wake    chan struct{}

	mu      sync.Mutex
	waiting map[uuid.UUID]*entry
	order   []uuid.UUID // of waiting, the oldest first
}

type entry struct {
	n     alert.Notification
	until time.Time
}

// NewLog makes a Log; nothing is saved before Run. The error is that of registering its metrics.
func NewLog(o LogOptions) (*Log, error) {
	if o.Store == nil {
		return nil, errors.New("a log of notifications needs a store")
	}
	if o.Capacity == 0 {
		o.Capacity = 10_000
	}
	if o.Keep == 0 {
		o.Keep = 10 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, wake: make(chan struct{}, 1), waiting: map[uuid.UUID]*entry{}}
	l.metrics = newMetrics(l.backlog)
	return l, l.metrics.register(o.Registerer)
}

// Run saves what is added, in its order, until ctx ends, and then for up to 5 s what is left. It always returns nil.
func (l *Log) Run(ctx context.Context) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	again := first
	for ctx.Err() == nil {
		n, ok := l.next()
		if !ok {
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
			continue
		}
		if l.save(ctx, n) {
			again = first
			continue
		}
		select {
		case <-time.After(again):
			again = min(2*again, longest)
		case <-ctx.Done():
		}
	}
	l.drain(context.WithoutCancel(ctx))
	return nil
}

// drain saves what is left, each once.
func (l *Log) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for range l.backlog() {
		n, ok := l.next()
		if !ok || ctx.Err() != nil {
			break
		}
		l.save(ctx, n)
	}
	if left := l.backlog(); left > 0 {
		l.metrics.lost.Add(float64(left))
		l.o.Logger.ErrorContext(ctx, "alerting: notifications could not be written down before the end", "notifications", left)
	}
}

// add takes a notification, or a later state of one that waits. It does not block.
func (l *Log) add(n alert.Notification) {
	l.mu.Lock()
	if e := l.waiting[n.ID]; e != nil {
		e.n = n
		l.mu.Unlock()
		return
	}
	if len(l.order) >= l.o.Capacity {
		l.mu.Unlock()
		l.metrics.lost.Inc()
		return
	}
	l.put(&entry{n: n, until: time.Now().Add(l.o.Keep)})
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// put appends, under the lock.
func (l *Log) put(e *entry) {
	l.waiting[e.n.ID] = e
	l.order = append(l.order, e.n.ID)
}

// next takes the oldest out.
func (l *Log) next() (*entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.order) == 0 {
		l.order = nil // lets the array go
		return nil, false
	}
	id := l.order[0]
	l.order = l.order[1:]
	e := l.waiting[id]
	delete(l.waiting, id)
	return e, true
}

// save writes one down, or puts it back behind the others.
func (l *Log) save(ctx context.Context, e *entry) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := l.o.Store.SaveNotification(ctx, e.n.Org, e.n)
	if err == nil {
		return true
	}
	l.metrics.saveErrors.Inc()
	if time.Now().After(e.until) {
		l.metrics.lost.Inc()
		l.o.Logger.ErrorContext(ctx, "alerting: a notification cannot be written down and is left out of the log",
			"org", e.n.Org, "receiver", e.n.Receiver, "integration", e.n.Integration, "error", err)
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[e.n.ID] == nil { // else a later state of it waits
		l.put(e)
	}
	return false
}

func (l *Log) backlog() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.order)
}
