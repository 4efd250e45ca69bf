// Package instance is one organisation's Alertmanager: its parts, wired together over a state that stands in PostgreSQL.
package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Builder makes the integrations of every receiver that a route uses, by the receiver's name.
type Builder func(c *config.Config, t *template.Template) (map[string][]notify.Integration, error)

// Middleware puts a stage around the pipeline.
type Middleware func(next notify.Stage) notify.Stage

// Pipeline is where a Teller stands.
type Pipeline struct {
	Next         notify.Stage                    // what comes after it: it asks the log, delivers, and writes the log
	Whole        notify.Stage                    // the first of all stages: what it tells by itself begins there, to be muted and silenced too
	Log          LogReader                       // what was told last
	Integrations map[string][]notify.Integration // by receiver
}

// LogReader reads the notification log.
type LogReader interface {
	Query(params ...nflog.QueryParam) ([]*nflogpb.Entry, error)
}

// Teller is a stage that also tells by itself, between the flushes. Each configuration has its own.
type Teller interface {
	notify.Stage
	// Stop ends what waits in it; no notification begins after that. It does not wait.
	Stop()
	// Wait returns when all that it started has ended, after Stop.
	Wait()
}

// Muter says which alerts are not to be told for now. by is shown as what inhibits the alert. Safe for concurrent use.
type Muter interface {
	Mutes(a *amalert.Alert) (by string, muted bool)
}

// Store keeps what must outlive the process. Safe for concurrent use.
type Store interface {
	// SaveLog writes down what was told, the later entry of a group and receiver over the earlier.
	SaveLog(ctx context.Context, org tenant.OrgID, entries []alert.LogEntry) error
	// SaveSilences raises the organisation's version and stores them under it.
	SaveSilences(ctx context.Context, org tenant.OrgID, silences []alert.StoredSilence) error
	// SaveAlerts does the same with alerts that somebody posted.
	SaveAlerts(ctx context.Context, org tenant.OrgID, alerts []alert.Routed) error
	// RemoveAlerts removes those that were resolved and told, unless they changed since.
	RemoveAlerts(ctx context.Context, org tenant.OrgID, told []alert.Key) error
}

// Options of an Instance. Muters, Stages (outermost first), Teller and Metrics may be nil, the rest is required. The stages come after
// everything that mutes: what is silenced, inhibited or muted never reaches them.
type Options struct {
	Org         tenant.OrgID
	Notify      bool     // false: it shows what is going on in another process, and tells nobody
	ExternalURL *url.URL // of the organisation's Alertmanager, in messages
	Build       Builder
	Muters      []Muter
	Stages      []Middleware
	Teller      func(p Pipeline) Teller // stands right before what tells, after Stages
	Store       Store
	Metrics     *Metrics // may be nil
	Logger      *slog.Logger
}

func (o *Options) validate() error {
	switch {
	case o.ExternalURL == nil:
		return errors.New("instance: ExternalURL is missing")
	case o.Build == nil:
		return errors.New("instance: Build is missing")
	case o.Store == nil:
		return errors.New("instance: Store is missing")
	case o.Logger == nil:
		return errors.New("instance: Logger is missing")
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nowhere{})
	}
	o.Logger = o.Logger.With("org", o.Org)
	return nil
}

const (
	// startDelay is how long after a start nobody is told anything: so that the groups are whole before they are first flushed.
	startDelay = 500 * time.Millisecond
	// stopGrace is how long what is being delivered may take when an instance stops or gets another configuration; after as long again
	// it is given up.
	stopGrace = 1500 * time.Millisecond
	// upkeepInterval is how often what has expired is forgotten.
	upkeepInterval = 10 * time.Minute
	// settleDelay is how long after an alert changed Alertmanager is given it once more. Its dispatcher takes changes in with several
	// goroutines: of two that follow one another closely the earlier may come to stand. Prometheus repeats itself, this does not.
	settleDelay = time.Second
	// forgetResolved is how long after its end an alert is forgotten at the latest: the table has forgotten it by then.
	forgetResolved = 25 * time.Hour
	// forgetShown is the same where another process tells people of it.
	forgetShown = 5 * time.Minute
	// maxSilences and maxSilenceBytes bound what the API takes.
	maxSilences     = 10_000
	maxSilenceBytes = 64 << 10
)

// Instance is one organisation's Alertmanager while it runs. Safe for concurrent use.
type Instance struct {
	o        Options
	book     *book
	log      *logbook
	saver    *saver
	silences *silence.Silences
	silencer *silence.Silencer
	alerts   *mem.Alerts
	groups   marker.GroupMarker
	front    *front
	changed  chan struct{} // holds one: there are alerts to be given once more

	feeding  sync.Mutex // held while Alertmanager is given alerts, so that an earlier version never follows a later one
	applying sync.Mutex // held while the graph is changed
	stopped  bool       // guarded by applying
	graph    atomic.Pointer[graph]
	quit     chan struct{}
	running  sync.WaitGroup
}

// Start wires an instance from the stored state and lets it run. ctx bounds the start only: Stop ends it.
func Start(ctx context.Context, o Options, c *config.Config, s alert.State) (*Instance, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	i := &Instance{
		o: o, book: newBook(), saver: newSaver(context.WithoutCancel(ctx), o), groups: marker.NewGroupMarker(), changed: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	var err error
	if i.log, err = newLogbook(s.Log, i.saver.entry, o.Logger); err != nil {
		return nil, err
	}
	i.silences, err = silence.New(silence.Options{
		Retention: silences.Retention, Logger: o.Logger, Metrics: nowhere{},
		Limits: silence.Limits{MaxSilences: func() int { return maxSilences }, MaxSilenceSizeBytes: func() int { return maxSilenceBytes }},
	})
	if err != nil {
		return nil, fmt.Errorf("opening the silences: %w", err)
	}
	i.silencer = silence.NewSilencer(i.silences, o.Logger, eventrecorder.NopRecorder())
	i.alerts, err = mem.NewAlerts(context.WithoutCancel(ctx), upkeepInterval, 0, i.silencer, o.Logger, eventrecorder.NopRecorder(), nowhere{}, featurecontrol.NoopFlags{})
	if err != nil {
		return nil, fmt.Errorf("opening the alerts: %w", err)
	}
	i.front = newFront(i)
	g, err := i.build(context.WithoutCancel(ctx), c)
	if err == nil {
		err = i.Update(ctx, s)
	}
	if err != nil {
		i.alerts.Close()
		i.saver.end()
		return nil, err
	}
	g.run(time.Now().Add(startDelay))
	i.graph.Store(g)
	i.running.Go(i.saver.run)
	i.running.Go(i.upkeep)
	return i, nil
}

// Update takes in alerts and silences that changed; what is known already, by version, changes nothing. Rows that are gone need not be
// told, nor the log. A silence that cannot be read is logged and left out.
func (i *Instance) Update(ctx context.Context, s alert.State) error {
	i.front.takeSilences(ctx, s.Silences)
	i.feeding.Lock()
	defer i.feeding.Unlock()
	changed := i.book.note(s.Alerts, time.Now())
	if len(changed) == 0 {
		return nil
	}
	if err := i.alerts.Put(ctx, changed...); err != nil {
		return fmt.Errorf("taking in alerts: %w", err)
	}
	select {
	case i.changed <- struct{}{}:
	default:
	}
	return nil
}

// Apply swaps the configuration, once what is being delivered by the old one has ended (at most twice stopGrace). On an error the one
// before stays in force, untouched.
func (i *Instance) Apply(c *config.Config) error {
	i.applying.Lock()
	defer i.applying.Unlock()
	if i.stopped {
		return errors.New("the instance is stopped")
	}
	g, err := i.build(context.Background(), c)
	if err != nil {
		return err
	}
	i.graph.Load().stop()
	i.book.rerouted()
	i.feeding.Lock()
	err = i.alerts.Put(context.Background(), i.book.all()...) // the provider may have forgotten a resolution that not everybody was told of
	i.feeding.Unlock()
	if err != nil {
		i.o.Logger.Error("not every alert is in the new configuration's groups", "err", err)
	}
	g.run(time.Now())
	i.graph.Store(g)
	i.front.update(c)
	return nil
}

// Handler serves Alertmanager's API v2 at /api/v2, /-/healthy and /-/ready.
func (i *Instance) Handler() http.Handler { return i.front }

// Busy reports whether it has alerts, or something still to be saved.
func (i *Instance) Busy() bool { return i.book.size() > 0 || !i.saver.idle() }

// Stop ends it within 5 s: what is being delivered may end by itself for a while, and what could not be saved yet is tried once more.
// It may be called twice.
func (i *Instance) Stop() {
	i.applying.Lock()
	defer i.applying.Unlock()
	if i.stopped {
		return
	}
	i.stopped = true
	i.graph.Load().stop()
	close(i.quit)
	i.saver.close()
	i.running.Wait()
	i.alerts.Close()
}

// upkeep gives Alertmanager what changed once more, and has the parts forget what has expired.
func (i *Instance) upkeep() {
	gc := time.NewTicker(upkeepInterval)
	defer gc.Stop()
	var given time.Time
	var settled <-chan time.Time
	for {
		select {
		case <-i.quit:
			return
		case <-i.changed:
			if settled == nil {
				settled = time.After(settleDelay)
			}
		case now := <-settled:
			settled = nil
			cut := now.Add(-settleDelay / 2)
			if i.again(given, cut) {
				settled = time.After(settleDelay)
			}
			given = cut
		case now := <-gc.C:
			i.forget(now)
		}
	}
}

// again gives Alertmanager what changed between the instants once more, and reports whether more changed after them.
func (i *Instance) again(from, to time.Time) bool {
	i.feeding.Lock()
	defer i.feeding.Unlock()
	given, more := i.book.between(from, to)
	if err := i.alerts.Put(context.Background(), given...); err != nil {
		i.o.Logger.Error("alerts were not given a second time", "err", err)
	}
	return more
}

func (i *Instance) forget(now time.Time) {
	i.log.GC()
	if _, err := i.silences.GC(); err != nil {
		i.o.Logger.Error("silences were not cleaned up", "err", err)
	}
	if i.o.Notify {
		i.book.prune(now.Add(-forgetResolved))
	} else {
		i.book.prune(now.Add(-forgetShown))
	}
}

// fingerprints returns those of all alerts there are.
func (i *Instance) fingerprints() model.Fingerprints {
	out := i.book.fingerprints()
	it := i.alerts.GetPending()
	defer it.Close()
	for a := range it.Next() {
		out = append(out, a.Data.Fingerprint())
	}
	return out
}
