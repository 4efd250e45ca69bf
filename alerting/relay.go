// Package alerting carries what must be said about incidents from the outbox to every receiver: at least once, in order
// for each incident, and until it is taken.
//
// An outbox row is fanned out into one delivery for each configured receiver. Each receiver has lanes of its own, so a
// broken or hanging one holds up no other; and within a receiver only the deliveries of one incident wait for one
// another. A delivery is claimed by a lease in a short transaction, so several processes may run a Relay on one
// database, and one that dies delays what it held but loses nothing. docs/adr/0007-outbox.md has the why.
package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
)

// Receiver takes messages: a folder below this one for each kind. Safe for concurrent use.
type Receiver interface {
	// Name is stable over restarts and holds no secret: it is stored, logged and exported.
	Name() string
	// Notify makes one attempt and returns when ctx ends at the latest. A nil error says that the message was taken. The
	// error's text is stored and logged: it holds no secret. The answer tells what is known of one in any case.
	Notify(ctx context.Context, d alert.Delivery) (alert.Answer, error)
}

// Store keeps outbox, deliveries and attempts. It serves all organisations: receivers are those of the installation.
type Store interface {
	// FanOut makes deliveries to these receivers of up to limit outbox rows and returns how many rows it took. Without
	// receivers the rows are only marked.
	FanOut(ctx context.Context, receivers []string, limit int) (int, error)
	// ClaimDeliveries leases up to limit deliveries that are due, for first attempts or for retries: nobody else gets
	// them before the lease is over. A delivery is not due while an earlier one of its incident waits at its receiver.
	ClaimDeliveries(ctx context.Context, receiver string, retries bool, limit int, lease time.Duration) ([]alert.Delivery, error)
	// RecordAttempt writes the attempt down and marks the delivery taken or due again. It returns how many deliveries
	// became due by that. An attempt whose lease was lost to another one does not change when that is due.
	RecordAttempt(ctx context.Context, a alert.Attempt) (int, error)
	// Backlogs returns what waits, by receiver, those that are no longer configured included.
	Backlogs(ctx context.Context) ([]alert.Backlog, error)
	// PruneOutbox removes up to limit outbox rows older than age that every receiver has taken, with their deliveries
	// and attempts, and returns how many it removed.
	PruneOutbox(ctx context.Context, age time.Duration, limit int) (int, error)
}

// Options of a Relay. Store and Logger are required; zero values of the rest stand for the defaults named.
type Options struct {
	Store     Store
	Receivers []Receiver
	// Listen calls wake whenever there may be new outbox rows, and returns when it can no longer tell or when ctx ends. It is
	// called again after a pause. Nil: the outbox is polled only.
	Listen     func(ctx context.Context, wake func()) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	Concurrency    int           // first attempts at a time and receiver, and as many retries; 16
	AttemptTimeout time.Duration // of one attempt; 10 s
	PollInterval   time.Duration // how often to look without being woken; 1 s
	ReportInterval time.Duration // how often the backlog is counted; 15 s
	Retention      time.Duration // of what was taken; 90 days; negative: for ever
	StopGrace      time.Duration // what attempts under way get to end in after ctx's end; 5 s
}

const (
	leaseMargin  = 15 * time.Second // what a claim outlives its attempt by: time to write down what came of it
	recordGrace  = 3 * time.Second  // what attempts cut short by the end get to be written down
	fanOutLimit  = 500
	pruneLimit   = 1000
	pruneEvery   = time.Hour
	longestPause = 5 * time.Second // between tries while the database does not answer
)

func (o Options) withDefaults() Options {
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	setDefault(&o.AttemptTimeout, 10*time.Second)
	setDefault(&o.PollInterval, time.Second)
	setDefault(&o.ReportInterval, 15*time.Second)
	setDefault(&o.Retention, 90*24*time.Hour)
	setDefault(&o.StopGrace, 5*time.Second)
	return o
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (o Options) validate() error {
	if o.Store == nil || o.Logger == nil {
		return errors.New("alerting needs a store and a logger")
	}
	if o.Concurrency < 0 || o.AttemptTimeout < 0 || o.PollInterval < 0 || o.ReportInterval < 0 || o.StopGrace < 0 {
		return errors.New("concurrency and times of alerting must not be negative")
	}
	seen := map[string]bool{}
	for _, r := range o.Receivers {
		if seen[r.Name()] {
			return fmt.Errorf("the receiver %s is configured twice: leave one", r.Name())
		}
		seen[r.Name()] = true
	}
	return nil
}

// Relay is the worker. Make it with NewRelay and Run it once.
type Relay struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	names   []string
	lanes   []*lane
	wake    chan struct{} // there may be outbox rows
}

// NewRelay returns a relay, or an error if the options make no sense or its metrics are registered already.
func NewRelay(o Options) (*Relay, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	r := &Relay{o: o, log: o.Logger, wake: make(chan struct{}, 1)}
	for _, receiver := range o.Receivers {
		r.names = append(r.names, receiver.Name())
	}
	m, err := newMetrics(o.Registerer, r.names)
	if err != nil {
		return nil, err
	}
	r.metrics = m
	for _, receiver := range o.Receivers {
		h := &health{receiver: receiver.Name(), log: o.Logger, metrics: m}
		first, retries := newLane(r, receiver, h, false), newLane(r, receiver, h, true)
		first.peer, retries.peer = retries, first
		r.lanes = append(r.lanes, first, retries)
	}
	return r, nil
}

// Run works until ctx ends, lets attempts under way end within StopGrace, and returns nil. What it has not delivered by
// then it delivers when it is run again. A database that does not answer is waited for.
func (r *Relay) Run(ctx context.Context) error {
	attempts, stopAttempts := outlive(ctx, r.o.StopGrace)
	defer stopAttempts()
	records, stopRecords := outlive(ctx, r.o.StopGrace+recordGrace)
	defer stopRecords()

	var wg sync.WaitGroup
	if r.o.Listen != nil {
		wg.Go(func() { r.listen(ctx) })
	}
	wg.Go(func() { r.fanOut(ctx) })
	wg.Go(func() { r.report(ctx) })
	wg.Go(func() { r.prune(ctx) })
	for _, l := range r.lanes {
		wg.Go(func() { l.run(ctx, attempts, records) })
	}
	wg.Wait()
	return nil
}

// outlive returns a context that ends d after parent, or when stop is called.
func outlive(parent context.Context, d time.Duration) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	context.AfterFunc(parent, func() {
		loop.Pause(ctx, d, nil)
		cancel()
	})
	return ctx, cancel
}

// listen keeps Listen going.
func (r *Relay) listen(ctx context.Context) {
	streak := streak{log: r.log, what: "listening for new alerts failed; the outbox is polled meanwhile"}
	for ctx.Err() == nil {
		began := time.Now()
		err := r.o.Listen(ctx, func() { loop.Poke(r.wake) })
		if time.Since(began) > time.Minute {
			streak.succeeded()
		}
		if ctx.Err() == nil {
			loop.Pause(ctx, streak.failed(err), nil)
		}
	}
}

// fanOut turns outbox rows into deliveries.
func (r *Relay) fanOut(ctx context.Context) {
	streak := streak{log: r.log, what: "alerts cannot be read from the outbox"}
	for ctx.Err() == nil {
		n, err := r.o.Store.FanOut(ctx, r.names, fanOutLimit)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			loop.Pause(ctx, streak.failed(err), nil)
		default:
			streak.succeeded()
			if n > 0 {
				r.wakeLanes()
			}
			if n < fanOutLimit {
				loop.Pause(ctx, r.o.PollInterval, r.wake)
			}
		}
	}
}

func (r *Relay) wakeLanes() {
	for _, l := range r.lanes {
		loop.Poke(l.wake)
	}
}

// prune removes what is long done.
func (r *Relay) prune(ctx context.Context) {
	if r.o.Retention < 0 {
		return
	}
	for ctx.Err() == nil {
		n, err := r.o.Store.PruneOutbox(ctx, r.o.Retention, pruneLimit)
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "old alerts cannot be removed; trying again in an hour", "error", err)
		}
		if n < pruneLimit {
			loop.Pause(ctx, pruneEvery, nil)
		}
	}
}
