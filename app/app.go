// Package app wires one process from its options: database, log, roles and HTTP server, born in this order and shut down
// in the reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tokiflow/tokiflow/alerting/guard"
	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/evaluator"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/ingest"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/saas/auth"
	"github.com/tokiflow/tokiflow/tsdb"
)

// App is one process. Make it with New, Run it once.
type App struct {
	o        Options
	log      *slog.Logger
	registry *prometheus.Registry
	listener net.Listener
	gate     *gate
	server   *http.Server

	pool      *pg.Pool
	store     *store.Store
	eventlog  eventlog.Log
	appends   *appendMetrics
	appender  *eventlog.Appender
	publisher *publisher
	ingest    *ingest.Ingest
	samples   *sampleLog
	keys      *auth.Keys
	horizon   *horizon
	promql    *promapi.API
	secrets   *seal.Box
	routing   *routing // nil: this process neither alerts nor answers the API
	routers   []router // of the parts that serve requests besides the REST API

	cleanup []cleanup // of what was made, in order of birth
	failed  chan error
}

type cleanup struct {
	name string
	f    func(context.Context) error
}

// stopTimeout is how long an orderly end may take before what is left is abandoned.
const stopTimeout = 25 * time.Second

// New binds the listener and nothing more, so that a port in use is told at once.
func New(o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", o.Listen, err)
	}
	if o.BaseURL == "" {
		o.BaseURL = "http://" + reachable(listener.Addr())
	}
	a := &App{o: o, log: o.Logger, registry: prometheus.NewRegistry(), listener: listener, failed: make(chan error, 1)}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.gate = newGate(a.registry)
	a.appends = newAppendMetrics(a.registry)
	a.server = newServer(a.gate, o.Logger)
	return a, nil
}

// Addr is the address listened on.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Run works until ctx ends or a part fails for good, and shuts down in order.
func Run(ctx context.Context, o Options) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// Run works until ctx ends or a part fails for good, and shuts down in order.
func (a *App) Run(ctx context.Context) error {
	a.serve()
	if a.o.TuneMemory {
		a.background("memory", tuneMemory)
	}
	err := a.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
			a.log.Info("stopping")
		case err = <-a.failed:
		}
	} else if ctx.Err() != nil {
		err = nil // told to stop while starting
	}
	return errors.Join(err, a.stop())
}

// start makes everything, each thing's end registered when it is made.
func (a *App) start(ctx context.Context) error {
	if err := a.openDatabase(ctx); err != nil {
		return err
	}
	if err := a.openLog(ctx); err != nil {
		return err
	}
	boot, err := a.store.Bootstrap(ctx, a.o.BootstrapAPIKey)
	if err != nil {
		return err
	}
	if err := a.startConsumers(); err != nil {
		return err
	}
	if a.o.has(RoleAlert) {
		if err := a.startRelay(); err != nil {
			return err
		}
	}
	if a.o.appends() {
		a.makeAppender()
	}
	if err := a.startSeries(ctx); err != nil {
		return err
	}
	if a.o.has(RoleAlert) || a.o.has(RoleRead) {
		if err := a.startRouting(); err != nil {
			return err
		}
	}
	if a.o.has(RoleIngest) {
		if err := a.startIngest(ctx); err != nil {
			return err
		}
	}
	a.gate.open(opened{handler: a.routes(), ready: a.ready, detail: a.detail})
	a.startAppender()
	a.startUpkeep()
	a.announce(boot)
	return nil
}

func (a *App) announce(boot store.Bootstrapped) {
	a.log.Info("ready", "url", a.o.BaseURL, "listen", a.Addr(), "organisation", boot.Org.Name, "roles", a.o.Roles)
	if a.o.Announce != nil {
		a.o.Announce(Welcome{
			URL: a.o.BaseURL, Organisation: boot.Org.Name, ProjectKey: boot.Project.PingKey,
			APIKey: boot.APIKey, FirstStart: boot.APIKey != "",
		})
	}
}

func (a *App) startConsumers() error {
	n := a.eventlog.Partitions()
	if a.o.has(RoleWrite) {
		w := tsdb.NewWriter(a.pool, a.eventlog.ID(), a.log, a.registry)
		a.background("tsdb writer", func(ctx context.Context) error { return a.eventlog.Consume(ctx, consumerWriter, w) })
		u, err := tsdb.NewUpkeep(a.pool, tsdb.Retention{Pings: a.o.Retention.Pings, History: a.o.Retention.History}, a.log)
		if err != nil {
			return err
		}
		a.background("upkeep of the time series", func(ctx context.Context) error { u.Run(ctx); return nil })
	}
	if a.o.has(RoleEvaluate) {
		e, err := evaluator.New(evaluator.Options{
			Store: a.store.Checkpoints(a.eventlog.ID()), Partitions: n, Logger: a.log, Registerer: a.registry,
		})
		if err != nil {
			return err
		}
		a.background("evaluator", func(ctx context.Context) error { return a.eventlog.Consume(ctx, consumerEvaluator, e) })
	}
	return nil
}

// makeAppender gives the process its way into the log.
func (a *App) makeAppender() {
	a.appender = eventlog.NewAppender(a.eventlog, eventlog.AppenderOptions{
		Logger: a.log, Observe: a.appends.of("pings"),
	})
	a.publisher = &publisher{store: a.store, log: a.appender, partitions: a.eventlog.Partitions(), logger: a.log}
}

// startAppender begins the markers, where the process takes pings: they are its word that it could since now. So it comes
// after the gate is opened, and is stopped after the requests under way have ended.
func (a *App) startAppender() {
	if a.o.has(RoleIngest) {
		a.background("appender", a.appender.Run)
	}
	if a.o.appends() {
		a.background("publisher", a.publisher.run)
	}
}

func (a *App) startIngest(ctx context.Context) error {
	proxies, err := prefixes(a.o.TrustedProxies)
	if err != nil {
		return err
	}
	a.publisher.watch = &watch{store: a.store}
	meter := guard.NewMeter(a.store, a.log)
	a.background("count of pings", meter.Run)
	a.ingest, err = ingest.New(ingest.Options{
		Appender: meter.Wrap(a.appender), Partitions: a.eventlog.Partitions(), Targets: a.publisher.watch,
		Creator: creator{store: a.store, publisher: a.publisher}, Authenticator: a.store,
		BodyLimit: a.o.PingBodyLimit, RateLimit: a.o.PingRateLimit, TrustedProxies: proxies,
		Logger: a.log, Metrics: a.registry,
	})
	if err != nil {
		return err
	}
	a.background("ingest", a.ingest.Run)
	return a.awaitTargets(ctx)
}

// awaitTargets waits until the monitors are known, so that nobody is told "ready" before a ping is taken.
func (a *App) awaitTargets(ctx context.Context) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for a.ingest.Ready() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-a.failed:
			return err
		case <-t.C:
		}
	}
	return nil
}

// routes are everything that is served once the process is ready.
func (a *App) routes() http.Handler {
	r := newRouter()
	if a.o.has(RoleRead) {
		o := api.Options{
			Store: a.store, History: tsdb.NewReader(a.pool), Publisher: a.publisher, Logger: a.log,
			Rules: rules.NewFormat(false), Secrets: a.secrets, Receivers: a.routing, Alerting: a.routing.configs, BaseURL: a.o.BaseURL, Version: a.o.Version,
		}
		if a.routing.slack != nil {
			o.Slack = a.routing.slack
		}
		api.New(o).Routes(r)
	}
	for _, part := range a.routers {
		part.Routes(r)
	}
	// A browser that knows a key by basic authentication must not be made to use it by another site.
	safe := http.NewCrossOriginProtection().Handler(r)
	if a.ingest != nil {
		return a.ingest.Front(safe) // a ping does not pay for the router, and may come from a page of anybody's
	}
	return safe
}

// ready names what keeps the process from its work.
func (a *App) ready(ctx context.Context) []error {
	var errs []error
	if a.ingest != nil {
		errs = append(errs, a.ingest.Ready(), a.appender.Healthy())
	}
	if a.o.has(RoleRead) || a.o.consumes() || a.o.has(RoleAlert) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := a.pool.Ping(ctx); err != nil {
			errs = append(errs, fmt.Errorf("database: %w", err))
		}
	}
	return errs
}

// detail is what a process that is ready has to say all the same.
func (a *App) detail() string {
	if a.routing == nil {
		return ""
	}
	return a.routing.guard.Detail()
}

// onStop registers the end of what was just made.
func (a *App) onStop(name string, f func(context.Context) error) {
	a.cleanup = append(a.cleanup, cleanup{name, f})
}

// background runs f until the process stops; if it ends before, the process does.
func (a *App) background(name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var once sync.Once
	go func() {
		err := f(ctx)
		if ctx.Err() == nil {
			once.Do(func() { a.fail(fmt.Errorf("%s ended: %w", name, orEnded(err))) })
		}
		done <- err
	}()
	a.onStop(name, func(stop context.Context) error {
		cancel()
		select {
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-stop.Done():
			return errors.New("it did not end in time")
		}
	})
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// stop ends everything in the reverse order of its birth.
func (a *App) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(a.cleanup) {

		a.log.Debug("stopping", "part", c.name)
		if err := c.f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}
