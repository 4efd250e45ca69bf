package manager_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func TestMain(m *testing.M) {
	const cluster = "github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster)"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(cluster+".Start.func1"), goleak.IgnoreAnyFunction(cluster+".startWatchdog.func1"))
}

var errBroken = errors.New("broken")

func newOrg() tenant.OrgID { return tenant.OrgID{UUID: uuid.New()} }

// table is what stands in the database. Methods of it may be used from many goroutines.
type table struct {
	mu       sync.Mutex
	versions map[tenant.OrgID]int64
	configs  map[tenant.OrgID]int64
	busy     map[tenant.OrgID]bool
	broken   error                 // of every call
	badConf  map[tenant.OrgID]bool // its configuration cannot be read
	hang     chan struct{}         // not nil: changes are read when it is closed or the caller has gone
	wake     func(tenant.OrgID)
	polls    int
}

func newTable() *table {
	return &table{versions: map[tenant.OrgID]int64{}, configs: map[tenant.OrgID]int64{}, busy: map[tenant.OrgID]bool{}, badConf: map[tenant.OrgID]bool{}}
}

// change changes an organisation's row and tells those who listen.
func (t *table) change(org tenant.OrgID, f func()) {
	t.mu.Lock()
	t.versions[org]++
	if f != nil {
		f()
	}
	wake := t.wake
	t.mu.Unlock()
	if wake != nil {
		wake(org)
	}
}

func (t *table) setBusy(org tenant.OrgID, busy bool) {
	t.change(org, func() { t.busy[org] = busy })
}

func (t *table) putConfig(org tenant.OrgID, bad bool) {
	t.change(org, func() { t.configs[org], t.badConf[org] = t.versions[org], bad })
}

func (t *table) state(org tenant.OrgID) alert.State {
	return alert.State{Version: t.versions[org], ConfigVersion: t.configs[org]}
}

func (t *table) AlertingState(_ context.Context, org tenant.OrgID, _ time.Time) (alert.State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state(org), t.broken
}

func (t *table) AlertingChanges(ctx context.Context, org tenant.OrgID, since int64) (alert.State, error) {
	t.mu.Lock()
	s, err, hang := t.state(org), t.broken, t.hang
	t.mu.Unlock()
	if hang != nil && s.Version > since {
		select {
		case <-hang:
		case <-ctx.Done():
			return alert.State{}, ctx.Err()
		}
	}
	return s, err
}

func (t *table) BusyAlerting(context.Context) ([]alert.Busy, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.polls++
	var out []alert.Busy
	for org, busy := range t.busy {
		if busy {
			out = append(out, alert.Busy{Org: org, Version: t.versions[org]})
		}
	}
	return out, t.broken
}

func (t *table) AlertingVersions(_ context.Context, orgs []tenant.OrgID) (map[tenant.OrgID]int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[tenant.OrgID]int64{}
	for _, org := range orgs {
		out[org] = t.versions[org]
	}
	return out, t.broken
}

func (t *table) config(_ context.Context, org tenant.OrgID) (*config.Config, int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.badConf[org] {
		return nil, 0, errBroken
	}
	return &config.Config{Source: config.Source{YAML: fmt.Sprint(t.configs[org])}}, t.configs[org], nil
}

func (t *table) listen(ctx context.Context, wake func(tenant.OrgID)) error {
	t.mu.Lock()
	t.wake = wake
	t.mu.Unlock()
	wake(tenant.OrgID{})
	<-ctx.Done()
	return ctx.Err()
}

// registry holds the locks of all processes.
type registry struct {
	mu   sync.Mutex
	held map[int64]*locks
}

// locks are those of one process.
type locks struct {
	r    *registry
	lost chan struct{}
	down bool
}

func (r *registry) process() *locks { return &locks{r: r, lost: make(chan struct{})} }

func (l *locks) TryLock(_ context.Context, keys ...int64) (taken []int64, lost <-chan struct{}, err error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.down {
		return nil, nil, errBroken
	}
	for _, k := range keys {
		if l.r.held[k] == nil {
			l.r.held[k] = l
			taken = append(taken, k)
		}
	}
	return taken, l.lost, nil
}

func (l *locks) Unlock(_ context.Context, key int64) error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.r.held[key] == l {
		delete(l.r.held, key)
	}
	return nil
}

// lose frees all, as the server does when the connection is gone.
func (l *locks) lose(down bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	for k, holder := range l.r.held {
		if holder == l {
			delete(l.r.held, k)
		}
	}
	close(l.lost)
	l.lost, l.down = make(chan struct{}), down
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}

// process is a manager with what it has started.
type process struct {
	t        *testing.T
	table    *table
	locks    *locks
	m        *manager.Manager
	registry *prometheus.Registry
	stop     func() // returns when Run has

	mu      sync.Mutex
	started []*fake
	starts  func(ctx context.Context, org tenant.OrgID) error // what a start does; nil: nothing
}

func options(data *table) manager.Options {
	return manager.Options{
		Store: data, Listen: data.listen, Config: data.config, Keys: auth.NewKeys(keyring{}, nil), Logger: slog.New(slog.DiscardHandler),
		Instance: func(org tenant.OrgID) instance.Options { return instance.Options{Org: org, ExternalURL: &url.URL{}} },
	}
}

// newProcess runs a manager until the test or stop ends it. Within a synctest bubble.
func newProcess(t *testing.T, data *table, r *registry, edit func(*manager.Options)) *process {
	t.Helper()
	p := &process{t: t, table: data, registry: prometheus.NewRegistry()}
	o := options(data)
	o.Start, o.Registerer = p.start, p.registry
	if r != nil {
		p.locks = r.process()
		o.Locks, o.Alert = p.locks, true
	}
	if edit != nil {
		edit(&o)
	}
	m, err := manager.New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.m = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(p.stop)
	return p
}

func (p *process) start(ctx context.Context, o instance.Options, c *config.Config, s alert.State) (manager.Running, error) {
	p.mu.Lock()
	starts := p.starts
	p.mu.Unlock()
	if starts != nil {
		if err := starts(ctx, o.Org); err != nil {
			return nil, err
		}
	}
	f := &fake{p: p, org: o.Org, owner: o.Notify, started: time.Now(), version: s.Version, conf: c.Source.YAML}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.started {
		if other.org == o.Org && !other.isStopped() {
			p.t.Error("two instances of one organisation in a process")
		}
	}
	p.started = append(p.started, f)
	return f, nil
}

// running are the instances that run.
func (p *process) running() []*fake {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.started), (*fake).isStopped)
}

// only is the one that runs.
func (p *process) only() *fake {
	p.t.Helper()
	running := p.running()
	if len(running) != 1 {
		p.t.Fatalf("%d instances run, want one", len(running))
	}
	return running[0]
}

func (p *process) wantNone() {
	p.t.Helper()
	if running := p.running(); len(running) != 0 {
		p.t.Fatalf("%d instances run, want none", len(running))
	}
}

// value is a metric's, over all its labels.
func (p *process) value(name string) (sum float64) {
	p.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// sleep lets time pass in the bubble and everybody come to rest.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// keyring knows one key of each organisation: its id, with "read" before it for one that may only read.
type keyring struct{}

func (keyring) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	scopes := []tenant.Scope{tenant.ScopeRead, tenant.ScopeWrite}
	if len(key) > 4 && key[:4] == "read" {
		key, scopes = key[4:], scopes[:1]
	}
	id, err := uuid.Parse(key)
	if err != nil {
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "the API key is unknown or revoked")
	}
	return tenant.Identity{Org: tenant.OrgID{UUID: id}, Scopes: scopes}, nil
}
