// Package manager decides which organisations' Alertmanagers run in this process, and keeps each on what stands in PostgreSQL.
//
// An organisation with alerts has one owner among the processes: whoever holds its advisory lock runs an instance that notifies. A
// process that is asked for another organisation's alerts runs an instance that only shows them, a viewer. Both begin with the stored
// state and follow its version; both are thrown away when nobody has needed them for a while. When the connection that holds the locks
// is lost every owned instance stops at once, and whoever gets the lock goes on with what the notification log says was told.
package manager

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Store holds what instances begin with and follow.
type Store interface {
	// AlertingState is all that an instance begins with.
	AlertingState(ctx context.Context, org tenant.OrgID, now time.Time) (alert.State, error)
	// AlertingChanges is what changed after a version.
	AlertingChanges(ctx context.Context, org tenant.OrgID, since int64) (alert.State, error)
	// BusyAlerting lists the organisations that have alerts.
	BusyAlerting(ctx context.Context) ([]alert.Busy, error)
	// AlertingVersions tells the versions of organisations.
	AlertingVersions(ctx context.Context, orgs []tenant.OrgID) (map[tenant.OrgID]int64, error)
}

// Locks are held by one process at a time.
type Locks interface {
	// TryLock takes those that are free. The channel is closed when they are lost.
	TryLock(ctx context.Context, keys ...int64) (taken []int64, lost <-chan struct{}, err error)
	// Unlock frees one. It is no error that it was lost.
	Unlock(ctx context.Context, key int64) error
}

// Running is an organisation's Alertmanager at work: an *instance.Instance. Safe for concurrent use.
type Running interface {
	// Update takes over alerts and silences that changed.
	Update(ctx context.Context, s alert.State) error
	// Apply puts a configuration in force, or changes nothing and says why.
	Apply(c *config.Config) error
	// Handler serves Alertmanager's API below /api/v2.
	Handler() http.Handler
	// Busy reports whether it has alerts, or has yet to write something down. A viewer is not kept for that.
	Busy() bool
	// Stop ends it: from its return on nobody is told anything.
	Stop()
}

// Options of a Manager. Store, Config, Instance, Keys and Logger are required, Locks too where Alert is set; zero values of the rest
// stand for the defaults named.
type Options struct {
	Store Store
	Locks Locks
	// Listen calls wake with each organisation whose alerting has changed, the zero value for any, and returns when it can no longer
	// tell or when ctx ends. Nil: versions are polled only.
	Listen func(ctx context.Context, wake func(org tenant.OrgID)) error
	// Config reads an organisation's configuration, or the default, and its version: another one when it has changed.
	Config func(ctx context.Context, org tenant.OrgID) (*config.Config, int64, error)
	// Instance gives the options of an organisation's instance. Notify is the manager's to say.
	Instance func(org tenant.OrgID) instance.Options
	// Start makes an instance run; ctx ends when it is to stop. Nil: instance.Start.
	Start      func(ctx context.Context, o instance.Options, c *config.Config, s alert.State) (Running, error)
	Keys       *auth.Keys
	Alert      bool // this process may own organisations
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	PollInterval time.Duration // how often to look without being woken; 1 s
	IdleAfter    time.Duration // how long an instance outlives its last alert or request; 5 min
	StartTimeout time.Duration // of one instance; 30 s
	StartsAtOnce int           // instances being started at a time, without those that take longer than a second; 8
}

const (
	pollSpacing   = 50 * time.Millisecond // between polls when many organisations change
	followTimeout = 10 * time.Second      // of one step of an instance
	slowStart     = time.Second           // a start that takes longer holds up no other
	lockBatch     = 256                   // locks in one statement
	retryFirst    = time.Second           // of a start that failed, doubled each time
	retryMost     = time.Minute
	// The first polls may come before there is a connection for locks.
	failuresToTell = 3
	failurePause   = 200 * time.Millisecond // after a poll that failed, and as much more after each further
	retryConfig    = 5 * time.Second        // of a configuration that cannot be read
)

// errStopping says that the process is about to end.
var errStopping = fault.New(fault.Unavailable, "the process is stopping, try again")

// Manager runs instances. Make it with New and Run it once; requests may come before that and after.
type Manager struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	starts  chan struct{} // a token for each start under way
	wake    chan struct{} // it is time to poll
	life    context.Context
	end     context.CancelFunc

	mu       sync.Mutex
	closed   bool
	sessions map[tenant.OrgID]*session
	failed   map[tenant.OrgID]failure
	running  sync.WaitGroup
}

// failure is when an organisation may be tried again whose instance did not start.
type failure struct {
	until time.Time
	wait  time.Duration
}

// New returns a manager, or an error if the options make no sense or its metrics are registered already.
func New(o Options) (*Manager, error) {
	if o.Store == nil || o.Config == nil || o.Instance == nil || o.Keys == nil || o.Logger == nil {
		return nil, errors.New("alerting's manager needs a store, configurations, options of instances, API keys and a logger")
	}
	if o.Alert && o.Locks == nil {
		return nil, errors.New("alerting's manager needs locks to own organisations")
	}
	if o.PollInterval < 0 || o.IdleAfter < 0 || o.StartTimeout < 0 || o.StartsAtOnce < 0 {
		return nil, errors.New("times and numbers of alerting's manager must not be negative")
	}
	setDefault(&o.PollInterval, time.Second)
	setDefault(&o.IdleAfter, 5*time.Minute)
	setDefault(&o.StartTimeout, 30*time.Second)
	setDefault(&o.StartsAtOnce, 8)
	if o.Start == nil {
		o.Start = startInstance
	}
	m := &Manager{
		o: o, log: o.Logger, starts: make(chan struct{}, o.StartsAtOnce), wake: make(chan struct{}, 1),
		sessions: map[tenant.OrgID]*session{}, failed: map[tenant.OrgID]failure{},
	}
	var err error
	if m.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	m.life, m.end = context.WithCancel(context.Background())
	return m, nil
}

func setDefault[T int | time.Duration](to *T, value T) {
	if *to == 0 {
		*to = value
	}
}

// Run owns and follows organisations until ctx ends, stops all instances, frees their locks and returns nil. A database that does not
// answer is waited for.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if m.o.Listen != nil {
		wg.Go(func() { m.listen(ctx) })
	}
	wg.Go(func() { m.look(ctx) })
	<-ctx.Done()
	wg.Wait()
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.end()
	m.running.Wait()
	return nil
}

// Instance gives the organisation's instance, the owner's where this process owns it, and starts one that only shows if there is none.
func (m *Manager) Instance(ctx context.Context, org tenant.OrgID) (Running, error) {
	s, err := m.session(ctx, org)
	if err != nil {
		return nil, err
	}
	return s.instance, nil
}

// Reload has every instance ask for its configuration again, and put it in force where its version is another. It is for what does not
// stand in the database; changes there are followed. It does not wait.
func (m *Manager) Reload() {
	for _, s := range m.all() {
		s.reread.Store(true)
		loop.Poke(s.poked)
	}
}

// listen keeps Listen going.
func (m *Manager) listen(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := m.o.Listen(ctx, m.changed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = retryFirst
		}
		m.log.WarnContext(ctx, "listening for changes of alerting failed; they are polled meanwhile", "error", err)
		loop.Pause(ctx, wait, nil)
		wait = min(2*wait, retryMost)
	}
}

// changed takes note that an organisation's alerting has changed, or with the zero value any's.
func (m *Manager) changed(org tenant.OrgID) {
	m.mu.Lock()
	s := m.sessions[org]
	m.mu.Unlock()
	if s != nil {
		loop.Poke(s.poked)
	}
	if s == nil || !s.owner && m.o.Alert {
		loop.Poke(m.wake)
	}
}

// look polls, now and then or when woken.
func (m *Manager) look(ctx context.Context) {
	failures := 0 // in a row
	for ctx.Err() == nil {
		err := m.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			loop.Pause(ctx, pollSpacing, nil)
			loop.Pause(ctx, m.o.PollInterval-pollSpacing, m.wake)
			continue
		}
		if failures++; failures == failuresToTell {
			m.log.WarnContext(ctx, "organisations with alerts cannot be looked for; trying again", "error", err)
		}
		loop.Pause(ctx, min(m.o.PollInterval, time.Duration(failures)*failurePause), nil)
	}
}

// poll looks which organisations have alerts and how far they are.
func (m *Manager) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	busy, err := m.o.Store.BusyAlerting(ctx)
	if err != nil {
		return err
	}
	versions := make(map[tenant.OrgID]int64, len(busy))
	for _, b := range busy {
		versions[b.Org] = b.Version
	}
	var quiet []tenant.OrgID
	sessions := m.all()
	for _, s := range sessions {
		if _, ok := versions[s.org]; !ok {
			quiet = append(quiet, s.org)
		}
	}
	others := map[tenant.OrgID]int64{}
	if len(quiet) > 0 {
		if others, err = m.o.Store.AlertingVersions(ctx, quiet); err != nil {
			return err
		}
	}
	now := time.Now()
	for _, s := range sessions {
		version, isBusy := versions[s.org]
		if !isBusy {
			version = others[s.org]
		}
		m.tend(s, isBusy, version, now)
	}
	if !m.o.Alert {
		return nil
	}
	return m.own(ctx, busy, now)
}

// tend brings a session to a version, or ends it when nobody has needed it for long enough.
func (m *Manager) tend(s *session, busy bool, version int64, now time.Time) {
	if busy && s.owner {
		s.touch(now)
	}
	if version != s.version.Load() {
		loop.Poke(s.poked)
	}
	if s.idle(now, m.o.IdleAfter) {
		m.log.Info("alerting of an organisation has nothing to do and stops", "org", s.org.String(), "owner", s.owner)
		s.cancel()
	}
}

func (m *Manager) all() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*session, 0, len(m.sessions))
	for _, s := range m.sessions {
		out = append(out, s)
	}
	return out
}
