// Package forward sends the series of an organisation's monitors on: by Prometheus remote write, or to Datadog. It begins where
// it stopped, whatever ended it: the position of a forward moves when the receiver has confirmed a step, so a step that was
// under way is sent again, and nothing is left out.
package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Source reads the samples of an organisation's series at the multiples of step since 1970 after from up to to, in pieces: of
// one series all samples are in one piece, in order of time, a staleness marker where it ended; of a monitor, info comes first.
// What f gets is valid until f returns; its error ends the reading and is returned.
type Source interface {
	Samples(ctx context.Context, org tenant.OrgID, from, to time.Time, step time.Duration, f func([]series.Series) error) error
}

// Claims says who works on which forward.
type Claims interface {
	ClaimForwards(ctx context.Context, holder uuid.UUID, limit int, lease time.Duration) ([]forward.Claim, error)
	RenewForwards(ctx context.Context, holder uuid.UUID, lease time.Duration) (map[forward.Key]int64, error)
	ReleaseForward(ctx context.Context, org tenant.OrgID, c *forward.Claim) error
}

// Journal writes down what was done. Both return forward.ErrLost to who is not the claim's holder any more.
type Journal interface {
	AdvanceForward(ctx context.Context, org tenant.OrgID, c *forward.Claim, step forward.Step) error
	FailForward(ctx context.Context, org tenant.OrgID, c *forward.Claim, why string) error
}

// Store keeps the forwards.
type Store interface {
	Claims
	Journal
}

// Opener opens what was sealed about something.
type Opener interface {
	Open(sealed, about []byte) ([]byte, error)
}

// Client makes requests to where customers say. It must refuse private addresses, and must not follow redirects.
type Client interface {
	Do(req *http.Request) (*http.Response, error)
}

// Options are what a Forwarder needs.
type Options struct {
	Store   Store
	Source  Source
	Secrets Opener
	Client  Client
	// Horizon is the instant up to which what Source reads is right.
	Horizon    func(ctx context.Context) (time.Time, error)
	Clock      func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
	Version    string                // of Tokiflow, for the User-Agent

	// For tests; 0: as they are in production.
	Most     int           // forwards at a time; 200
	Poll     time.Duration // between looks for work; 2 s
	Lease    time.Duration // 30 s
	Patience time.Duration // with a receiver, before a step is given up and begun again later; 20 s
	Pause    time.Duration // after the first failure, growing; 500 ms
	Timeout  time.Duration // of a request; 30 s
}

func (o *Options) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Poll, 2*time.Second)
	def(&o.Lease, 30*time.Second)
	def(&o.Patience, 20*time.Second)
	def(&o.Pause, 500*time.Millisecond)
	def(&o.Timeout, 30*time.Second)
	if o.Most == 0 {
		o.Most = 200
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Forwarder works on the forwards of all organisations, those that no other process has.
type Forwarder struct {
	o       Options
	holder  uuid.UUID
	metrics *metrics
	horizon cachedHorizon

	tasks   map[forward.Key]*task // Run's own
	renewed time.Time             // when the leases were last made new
}

// task is a forward being worked on.
type task struct {
	worker *worker
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a Forwarder.
func New(o Options) (*Forwarder, error) {
	if o.Store == nil || o.Source == nil || o.Secrets == nil || o.Client == nil || o.Horizon == nil {
		return nil, errors.New("forward: Store, Source, Secrets, Client and Horizon are needed")
	}
	o.defaults()
	return &Forwarder{
		o: o, holder: uuid.New(), metrics: newMetrics(o.Registerer), tasks: map[forward.Key]*task{},
		horizon: cachedHorizon{read: o.Horizon, now: o.Clock, life: o.Poll / 2},
	}, nil
}

// Run works until ctx ends, and then lets go of all that it has.
func (f *Forwarder) Run(ctx context.Context) error {
	defer f.stop() //nolint:contextcheck // ctx has ended: that is why
	look := time.NewTicker(f.o.Poll)
	defer look.Stop()
	for {
		f.look(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// look keeps what the process has, drops what it has lost and takes what is free.
func (f *Forwarder) look(ctx context.Context) {
	now := f.o.Clock()
	mine, err := f.o.Store.RenewForwards(ctx, f.holder, f.o.Lease)
	switch {
	case err == nil:
		f.renewed = now
	case ctx.Err() == nil:
		f.o.Logger.WarnContext(ctx, "forward: the leases cannot be renewed", "error", err)
	}
	over := now.Sub(f.renewed) >= f.o.Lease
	for key, t := range f.tasks {
		epoch, ok := mine[key]
		if (err == nil && (!ok || epoch != t.worker.claim.Epoch)) || over || t.ended() {
			t.stop()
			delete(f.tasks, key)
		}
	}
	if err == nil {
		f.release(ctx, mine)
		f.take(ctx)
	}
	f.observe(now)
}

// release gives back what is this process's by the store's word, but that it does not work on any more.
func (f *Forwarder) release(ctx context.Context, mine map[forward.Key]int64) {
	for key, epoch := range mine {
		if f.tasks[key] == nil {
			f.letGo(ctx, &forward.Claim{Forward: forward.Forward{Org: key.Org, Name: key.Name}, Holder: f.holder, Epoch: epoch})
		}
	}
}

func (f *Forwarder) letGo(ctx context.Context, c *forward.Claim) {
	if err := f.o.Store.ReleaseForward(ctx, c.Org, c); err != nil {
		f.o.Logger.WarnContext(ctx, "forward: not released: others have it when its lease is over", "forward", c.Name, "error", err)
	}
}

func (f *Forwarder) take(ctx context.Context) {
	room := f.o.Most - len(f.tasks)
	if room <= 0 {
		return
	}
	claims, err := f.o.Store.ClaimForwards(ctx, f.holder, room, f.o.Lease)
	if err != nil {
		if ctx.Err() == nil {
			f.o.Logger.WarnContext(ctx, "forward: no forwards can be taken", "error", err)
		}
		return
	}
	for i := range claims {
		c := &claims[i]
		if old := f.tasks[c.Key()]; old != nil {
			old.stop()
		}
		taskCtx, cancel := context.WithCancel(ctx)
		t := &task{worker: newWorker(f, c), cancel: cancel, done: make(chan struct{})}
		f.tasks[c.Key()] = t
		go func() {
			defer close(t.done)
			t.worker.run(taskCtx)
		}()
	}
}

// observe shows how far behind the forwards of each kind are.
func (f *Forwarder) observe(now time.Time) {
	for _, k := range forward.Kinds() {
		n, lag := 0, time.Duration(0)
		for _, t := range f.tasks {
			if t.worker.claim.Config.Kind == k {
				n++
				lag = max(lag, now.Sub(t.worker.at()))
			}
		}
		f.metrics.held.WithLabelValues(string(k)).Set(float64(n))
		f.metrics.lag.WithLabelValues(string(k)).Set(lag.Seconds())
	}
}

func (f *Forwarder) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for key, t := range f.tasks {
		t.stop()
		f.letGo(ctx, t.worker.claim)
		delete(f.tasks, key)
	}
}

func (t *task) stop() {
	t.cancel()
	<-t.done
}

func (t *task) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// cachedHorizon asks for the horizon once for all forwards.
type cachedHorizon struct {
	read func(ctx context.Context) (time.Time, error)
	now  func() time.Time
	life time.Duration

	mu    sync.Mutex
	known time.Time
	until time.Time
}

func (h *cachedHorizon) get(ctx context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); now.Before(h.until) {
		return h.known, nil
	}
	at, err := h.read(ctx)
	if err != nil {
		return time.Time{}, err
	}
	h.known, h.until = at, h.now().Add(h.life)
	return at, nil
}
