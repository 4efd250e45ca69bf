package exporter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	refreshEvery = time.Second
	// maxAge is how old a state is shown without trying to get a fresher one first.
	maxAge = 2 * time.Second
	// maxStale is how old a state is shown at all.
	maxStale = 10 * time.Second
	// unused is for how long nobody may have scraped an organisation that is kept fresh.
	unused = 5 * time.Minute

	// Within firstPatience a scrape waits for states that it cannot do without; within laterPatience for fresher ones.
	// Prometheus gives up after 10 s.
	firstPatience = 8 * time.Second
	laterPatience = time.Second

	loadTimeout = 30 * time.Second
	loadsAtOnce = 8
)

// fleets are those of the organisations that were scraped lately, kept fresh. Safe for concurrent use.
type fleets struct {
	source    Source
	layout    *layout
	maxSeries int
	now       func() time.Time
	log       *slog.Logger
	loads     chan struct{} // limits how many queries run at the same time
	bytes     atomic.Int64  // what is kept of written answers, at most

	failures atomic.Int64 // readings that failed

	mu      sync.Mutex
	orgs    map[tenant.OrgID]*organisation
	stopped bool
	flights sync.WaitGroup
	// base is the context of every reading, for none of them is any one scrape's; stop ends it.
	base context.Context
	stop context.CancelFunc
}

// organisation is one that was scraped.
type organisation struct {
	id    tenant.OrgID
	fleet atomic.Pointer[fleet]
	fresh atomic.Int64 // as of when fleet is, in nanoseconds since 1970; 0: never
	used  atomic.Int64

	// What follows is for the flight alone.
	cursor  int64
	builder fleetBuilder
	failing bool

	flight *flight // under way; guarded by fleets.mu
}

// flight is a reading that is under way, for all who wait for it.
type flight struct {
	done chan struct{}
	err  error // once done
}

func newFleets(s Source, l *layout, maxSeries int, now func() time.Time, log *slog.Logger) *fleets {
	base, stop := context.WithCancel(context.Background())
	return &fleets{
		source: s, layout: l, maxSeries: maxSeries, now: now, log: log, loads: make(chan struct{}, loadsAtOnce),
		orgs: map[tenant.OrgID]*organisation{}, base: base, stop: stop,
	}
}

// of is the organisation's monitors, and as of when they are. It reads them where they are not known or too old. The error is
// a fault of code unavailable.
func (f *fleets) of(ctx context.Context, org tenant.OrgID) (*fleet, time.Time, error) {
	o := f.organisation(org)
	o.used.Store(f.now().UnixNano())
	if f.age(o) <= maxAge {
		return o.known()
	}
	patience := laterPatience
	if f.age(o) > maxStale {
		patience = firstPatience
	}
	err := f.await(ctx, o, patience)
	if f.age(o) <= maxStale {
		return o.known()
	}
	return nil, time.Time{}, &fault.Error{
		Code: fault.Unavailable, Message: "the monitors' states cannot be read now, and what is known of them is too old to be shown: try again", Err: err,
	}
}

func (o *organisation) known() (*fleet, time.Time, error) {
	return o.fleet.Load(), time.Unix(0, o.fresh.Load()), nil
}

func (f *fleets) organisation(id tenant.OrgID) *organisation {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.orgs[id]
	if o == nil {
		o = &organisation{id: id, builder: fleetBuilder{layout: f.layout, maxSeries: f.maxSeries}}
		f.orgs[id] = o
	}
	return o
}

// age is how old the states are that are known of the organisation.
func (f *fleets) age(o *organisation) time.Duration {
	fresh := o.fresh.Load()
	if fresh == 0 {
		return 1<<63 - 1
	}
	return time.Duration(f.now().UnixNano() - fresh)
}

var errStopped = errors.New("the exporter is stopped")

// await waits until the organisation has been read again.
func (f *fleets) await(ctx context.Context, o *organisation, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fl := f.refresh(o) //nolint:contextcheck // it goes on when this caller loses patience
	if fl == nil {
		return errStopped
	}
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refresh begins to read the organisation, if that is not under way. It goes on when those who wait lose patience: what it
// brings is for the next. nil: the exporter is stopped.
func (f *fleets) refresh(o *organisation) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil
	}
	if o.flight == nil {
		fl := &flight{done: make(chan struct{})}
		o.flight = fl
		f.flights.Go(func() {
			fl.err = f.load(o)
			f.mu.Lock()
			o.flight = nil
			f.mu.Unlock()
			close(fl.done)
		})
	}
	return o.flight
}

// load reads what changed.
func (f *fleets) load(o *organisation) error {
	ctx, cancel := context.WithTimeout(f.base, loadTimeout)
	defer cancel()
	select {
	case f.loads <- struct{}{}:
		defer func() { <-f.loads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := f.now()
	st, err := f.source.MonitorStates(ctx, o.id, o.cursor)
	if err != nil {
		f.failed(o, err)
		return err
	}
	o.cursor = st.Cursor
	if fleet := o.builder.apply(&st, began); fleet != nil {
		o.fleet.Store(fleet)
	} else if o.fleet.Load() == nil {
		o.fleet.Store(o.builder.fleet())
	}
	o.fresh.Store(began.UnixNano())
	if o.failing {
		o.failing = false
		f.log.Info("the states of an organisation's monitors can be read again", "org_id", o.id)
	}
	return nil
}

func (f *fleets) failed(o *organisation, err error) {
	if f.base.Err() != nil {
		return // that is why
	}
	f.failures.Add(1)
	if !o.failing { // once, not once a second
		o.failing = true
		f.log.Warn("the states of an organisation's monitors cannot be read: its scrapes fail until they can", "org_id", o.id, "error", err)
	}
}

// run refreshes the organisations in use until ctx ends.
func (f *fleets) run(ctx context.Context) error {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for passes := 0; ; passes++ {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.stopped = true
			f.mu.Unlock()
			f.stop()
			f.flights.Wait()
			return nil
		case <-tick.C:
		}
		for _, o := range f.inUse() {
			f.refresh(o) //nolint:contextcheck // f.stop ends it, after which it is awaited
		}
		if passes%10 == 0 {
			f.measure()
		}
	}
}

// inUse forgets the organisations that nobody scrapes any more, and returns the others.
func (f *fleets) inUse() []*organisation {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().UnixNano()
	var all []*organisation
	for id, o := range f.orgs {
		if now-o.used.Load() > int64(unused) {
			delete(f.orgs, id)
			continue
		}
		all = append(all, o)
	}
	return all
}

func (f *fleets) all() []*organisation {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*organisation
	for _, o := range f.orgs {
		all = append(all, o)
	}
	return all
}

// measure counts what is kept. Between two counts bytes only grows, so it is never less than what is kept.
func (f *fleets) measure() {
	before, n := f.bytes.Load(), int64(0)
	for _, o := range f.all() {
		fl := o.fleet.Load()
		if fl == nil {
			continue
		}
		for _, b := range fl.blocks {
			for i := range b.kept {
				if c := b.kept[i].Load(); c != nil {
					n += c.size()
				}
			}
		}
	}
	f.bytes.Add(n - before) // and what was added meanwhile
}

// oldest is how old the oldest states are that are kept fresh.
func (f *fleets) oldest() time.Duration {
	var worst time.Duration
	for _, o := range f.all() {
		if o.fresh.Load() != 0 {
			worst = max(worst, f.age(o))
		}
	}
	return worst
}
