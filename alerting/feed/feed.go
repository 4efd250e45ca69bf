// Package feed turns what the outbox says into the alerts of organisations, which their Alertmanagers follow. It also clears away what
// those no longer need.
package feed

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

// Store holds the outbox and the alerts.
type Store interface {
	// FeedAlerts turns up to limit outbox rows into alerts, in one transaction. While another process feeds it takes none.
	FeedAlerts(ctx context.Context, limit int, baseURL string) (alert.Fed, error)
	// OldestUnfed is when the oldest outbox row was written that is in no alert yet; zero: there is none.
	OldestUnfed(ctx context.Context) (time.Time, error)
	// PruneAlerting removes what has expired, up to limit rows of each sort, and returns how many it removed of one sort at most.
	PruneAlerting(ctx context.Context, now time.Time, limit int) (int, error)
}

// Options of a Feeder. Store and Logger are required; zero values of the rest stand for the defaults named.
type Options struct {
	Store Store
	// Listen calls wake whenever there may be new outbox rows, and returns when it can no longer tell or when ctx ends. It is
	// called again after a pause. Nil: the outbox is polled only.
	Listen     func(ctx context.Context, wake func()) error
	BaseURL    string // where people reach this installation, without a slash at its end
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	Batch          int           // outbox rows in one transaction; 500
	PollInterval   time.Duration // how often to look without being woken; 1 s
	ReportInterval time.Duration // how often the lag is measured; 15 s
	PruneInterval  time.Duration // how often what has expired is removed; 1 h
}

const (
	pruneLimit   = 1000
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second // between tries while the database does not answer
)

// Feeder is the worker. Make it with New and Run it once.
type Feeder struct {
	o       Options
	log     *slog.Logger
	wake    chan struct{}
	metrics *metrics
}

// New returns a feeder, or an error if the options make no sense or its metrics are registered already.
func New(o Options) (*Feeder, error) {
	if o.Store == nil || o.Logger == nil {
		return nil, errors.New("the feeder of alerts needs a store and a logger")
	}
	if o.Batch < 0 || o.PollInterval < 0 || o.ReportInterval < 0 || o.PruneInterval < 0 {
		return nil, errors.New("batch and times of the feeder of alerts must not be negative")
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	setDefault(&o.PollInterval, time.Second)
	setDefault(&o.ReportInterval, 15*time.Second)
	setDefault(&o.PruneInterval, time.Hour)
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Feeder{o: o, log: o.Logger, wake: make(chan struct{}, 1), metrics: m}, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run works until ctx ends and returns nil. Several processes may: they take turns. A database that does not answer is waited for.
func (f *Feeder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if f.o.Listen != nil {
		wg.Go(func() { f.listen(ctx) })
	}
	wg.Go(func() { f.feed(ctx) })
	wg.Go(func() { f.report(ctx) })
	wg.Go(func() { f.prune(ctx) })
	wg.Wait()
	return nil
}

func (f *Feeder) listen(ctx context.Context) {
	again := retry{log: f.log, what: "listening for new alerts failed; the outbox is polled meanwhile"}
	for ctx.Err() == nil {
		began := time.Now()
		err := f.o.Listen(ctx, func() { loop.Poke(f.wake) })
		if time.Since(began) > time.Minute {
			again.succeeded()
		}
		if ctx.Err() == nil {
			loop.Pause(ctx, again.failed(ctx, err), nil)
		}
	}
}

func (f *Feeder) feed(ctx context.Context) {
	again := retry{log: f.log, what: "alerts cannot be read from the outbox"}
	for ctx.Err() == nil {
		fed, err := f.o.Store.FeedAlerts(ctx, f.o.Batch, f.o.BaseURL)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			loop.Pause(ctx, again.failed(ctx, err), nil)
			continue
		}
		again.succeeded()
		f.metrics.fed.Add(float64(fed.Rows))
		f.metrics.unreadable.Add(float64(len(fed.Unreadable)))
		for _, u := range fed.Unreadable {
			f.log.ErrorContext(ctx, "an alert cannot be read and is told to nobody",
				"outbox", u.Outbox, "org", u.Org.String(), "type", u.Type, "error", u.Err)
		}
		if fed.Rows < f.o.Batch {
			loop.Pause(ctx, f.o.PollInterval, f.wake)
		}
	}
}

// report measures how far the alerts are behind the outbox.
func (f *Feeder) report(ctx context.Context) {
	for ctx.Err() == nil {
		at, err := f.o.Store.OldestUnfed(ctx)
		switch {
		case err != nil: // the figure stays; that the database does not answer is said where it matters
		case at.IsZero():
			f.metrics.lag.Set(0)
		default:
			f.metrics.lag.Set(max(0, time.Since(at).Seconds()))
		}
		loop.Pause(ctx, f.o.ReportInterval, nil)
	}
}

// prune removes what has expired.
func (f *Feeder) prune(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := f.o.Store.PruneAlerting(ctx, time.Now(), pruneLimit)
		if err != nil && ctx.Err() == nil {
			f.log.WarnContext(ctx, "what alerting no longer needs cannot be removed; trying again later", "error", err)
		}
		if err != nil || n < pruneLimit {
			loop.Pause(ctx, f.o.PruneInterval, nil)
		}
	}
}

// retry paces what fails, and logs the first failure of a row and the end of it.
type retry struct {
	log  *slog.Logger
	what string
	wait time.Duration // 0: the last try succeeded
}

func (r *retry) failed(ctx context.Context, err error) time.Duration {
	if r.wait == 0 {
		r.log.WarnContext(ctx, r.what, "error", err)
		r.wait = firstPause
		return r.wait
	}
	r.wait = min(2*r.wait, longestPause)
	return r.wait
}

func (r *retry) succeeded() { r.wait = 0 }

// metrics are of the process: no organisation is named.
type metrics struct {
	fed, unreadable prometheus.Counter
	lag             prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		fed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_fed_total",
			Help: "Rows of the outbox that this process has fed to the organisations' alerts.",
		}),
		unreadable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokiflow_alerting_unreadable_total",
			Help: "Rows of them that cannot be read, so that nobody is told: each is an error in the log.",
		}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokiflow_alerting_oldest_unfed_seconds",
			Help: "Age of the oldest row of the outbox that is in no alert yet; 0: none. The same in every process.",
		}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.fed, m.unreadable, m.lag} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("the metrics of the feeder of alerts cannot be registered: %w", err)
		}
	}
	return m, nil
}
