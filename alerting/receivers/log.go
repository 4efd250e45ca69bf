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
	"github.com/tokiflow/tokiflow/core/fault"
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
	// Capacity is how many notifications may wait to be saved; 0: 10,000. OrgCapacity is how many of one organisation; 0: 2,000. What
	// comes when an organisation has that many is lost, and counted; where all have Capacity, the oldest goes of whoever has most.
	Capacity, OrgCapacity int
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
	queues  map[tenant.OrgID]*queue // of those who have something in waiting, or have to pause
	round   []tenant.OrgID          // the keys of queues: who is first is asked next
}

// queue is what waits of one organisation.
type queue struct {
	order     []uuid.UUID // the oldest first
	pause     time.Duration
	notBefore time.Time // where the last could not be saved
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
	if o.OrgCapacity == 0 {
		o.OrgCapacity = 2000
	}
	if o.Keep == 0 {
		o.Keep = 10 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, wake: make(chan struct{}, 1), waiting: map[uuid.UUID]*entry{}, queues: map[tenant.OrgID]*queue{}}
	l.metrics = newMetrics(l.backlog)
	return l, l.metrics.register(o.Registerer)
}

const firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second

// Run saves what is added, one organisation after the other and of each in its order, until ctx ends, and then for up to 5 s what is left.
// An organisation whose notification is not taken pauses; all do while the database cannot be reached. It always returns nil.
func (l *Log) Run(ctx context.Context) error {
	away := firstPause
	for ctx.Err() == nil {
		e, wait := l.next(time.Now())
		if e != nil {
			err := l.save(ctx, e)
			if fault.CodeOf(err) != fault.Unavailable {
				away = firstPause
				continue
			}
			sleep(ctx, away, nil)
			away = min(2*away, longestPause)
			continue
		}
		sleep(ctx, wait, l.wake)
	}
	l.drain(context.WithoutCancel(ctx))
	return nil
}

// sleep returns after d, where it is positive, when ctx ends, and when wake gives something.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-wake:
	case <-ctx.Done():
	}
}

// drain saves what is left, each once.
func (l *Log) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for range l.backlog() {
		e, _ := l.next(time.Now().Add(2 * longestPause)) // whoever pauses
		if e == nil || ctx.Err() != nil {
			break
		}
		_ = l.save(ctx, e) // counted
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
	taken := l.room(n.Org)
	if taken {
		l.put(&entry{n: n, until: time.Now().Add(l.o.Keep)})
	}
	l.mu.Unlock()
	if !taken {
		l.metrics.lost.Inc()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// room makes room for one more of the organisation, under the lock, and reports whether there is some.
func (l *Log) room(org tenant.OrgID) bool {
	own := 0
	if q := l.queues[org]; q != nil {
		own = len(q.order)
	}
	if own >= l.o.OrgCapacity {
		return false
	}
	if len(l.waiting) < l.o.Capacity {
		return true
	}
	var most *queue
	for _, q := range l.queues {
		if most == nil || len(q.order) > len(most.order) {
			most = q
		}
	}
	if most == nil || len(most.order) <= own {
		return false
	}
	delete(l.waiting, most.order[0])
	most.order = most.order[1:]
	l.metrics.lost.Inc()
	return true
}

// put appends, under the lock.
func (l *Log) put(e *entry) {
	q := l.queues[e.n.Org]
	if q == nil {
		q = &queue{}
		l.queues[e.n.Org] = q
		l.round = append(l.round, e.n.Org)
	}
	l.waiting[e.n.ID] = e
	q.order = append(q.order, e.n.ID)
}

// next takes out the oldest of the organisation whose turn it is. Where nobody has one that may be saved at now, wait is how long
// that lasts; 0: nothing waits.
func (l *Log) next(now time.Time) (e *entry, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range len(l.round) {
		org := l.round[0]
		l.round = l.round[1:]
		q := l.queues[org]
		left := q.notBefore.Sub(now)
		if len(q.order) == 0 && left <= 0 {
			delete(l.queues, org)
			continue
		}
		l.round = append(l.round, org)
		if left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		id := q.order[0]
		q.order = q.order[1:]
		e = l.waiting[id]
		delete(l.waiting, id)
		return e, 0
	}
	return nil, wait
}

// save writes one down, or puts it back behind the others of its organisation, which then pauses. The error is for who waits: what can
// never be written down is dropped, and is none.
func (l *Log) save(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := l.o.Store.SaveNotification(ctx, e.n.Org, e.n)
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[e.n.Org]
	if err == nil {
		if q != nil {
			q.pause, q.notBefore = 0, time.Time{}
		}
		return nil
	}
	l.metrics.saveErrors.Inc()
	if fault.CodeOf(err) == fault.Invalid || time.Now().After(e.until) {
		l.metrics.lost.Inc()
		l.o.Logger.ErrorContext(ctx, "alerting: a notification cannot be written down and is left out of the log",
			"org", e.n.Org, "receiver", e.n.Receiver, "integration", e.n.Integration, "error", err)
		return nil
	}
	if l.waiting[e.n.ID] == nil { // else a later state of it waits
		l.put(e)
	}
	if q = l.queues[e.n.Org]; q != nil && fault.CodeOf(err) != fault.Unavailable {
		q.pause = min(max(2*q.pause, firstPause), longestPause)
		q.notBefore = time.Now().Add(q.pause)
	}
	return err
}

func (l *Log) backlog() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}
