// Package pushgateway takes metrics by the Pushgateway's push API. What is pushed stands until it is pushed again, deleted, or its
// time to live is over: a Pushgateway shows it to whoever scrapes; here nobody scrapes, so Run appends the values of all groups
// once a minute to the log of samples, as if somebody did, and ends their series with staleness markers when they go.
package pushgateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// Appender makes samples durable. Safe for concurrent use.
type Appender interface {
	// AppendSamples returns once all of it is durable. After an error some of it may be. It keeps nothing of what it was
	// given.
	AppendSamples(ctx context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error
}

// Groups keeps the groups: infra/store.
type Groups interface {
	// ChangePushGroup locks a group, has f change it and stores what came of it; an error of f is returned as it is.
	ChangePushGroup(ctx context.Context, org tenant.OrgID, labels []series.Label, f func(*series.LockedGroup) error) error
	// PushGroups lists groups by their keys, behind one.
	PushGroups(ctx context.Context, org tenant.OrgID, after []byte, limit int) ([]series.Group, error)
}

// Standing is what Run needs: groups of all organisations. infra/store has it too.
type Standing interface {
	// ClaimPushBeat reports whether the caller is to write all groups' values for the instant at.
	ClaimPushBeat(ctx context.Context, at time.Time, every time.Duration) (bool, error)
	// BeatPushGroups hands f some groups that stood at the instant, which nobody changes meanwhile, and moves the cursor.
	BeatPushGroups(ctx context.Context, at time.Time, c *series.GroupCursor, limit int, f func([]series.Group) error) (more bool, err error)
	// ExpirePushGroups hands f some groups whose time is over, and deletes them.
	ExpirePushGroups(ctx context.Context, now time.Time, limit int, f func([]series.Group) error) (n int, err error)
	// NextPushExpiry is when the first group expires, the zero time if none does.
	NextPushExpiry(ctx context.Context) (time.Time, error)
}

// Keys finds out who a request acts for: saas/auth.Keys.
type Keys interface {
	Request(r *http.Request, scope tenant.Scope) (tenant.Identity, error)
}

// Options are what a Gateway is made of. Zero fields take the defaults.
type Options struct {
	Appender Appender // required
	Groups   Groups   // required
	Standing Standing // required by Run
	Keys     Keys     // required
	Limiter  *admit.Limiter
	Rules    admit.Rules

	MaxBody   int           // bytes of a request, unpacked, by default 16 MiB
	MaxSeries int           // of one group, by default 20,000
	Every     time.Duration // how often values are appended again, by default a minute

	Clock   func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

func (o *Options) validate() error {
	if o.Appender == nil || o.Groups == nil || o.Keys == nil {
		return errors.New("push: Options need an Appender, Groups and Keys")
	}
	o.Rules = o.Rules.WithDefaults()
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Limiter == nil {
		o.Limiter = admit.NewLimiter(admit.Limits{}, o.Clock)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 16 << 20
	}
	if o.MaxSeries == 0 {
		o.MaxSeries = 20_000
	}
	if o.Every == 0 {
		o.Every = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Gateway answers the push API. Safe for concurrent use.
type Gateway struct {
	o       Options
	metrics *metrics
	known   *admit.Described
	turns   *turns
}

// New makes a Gateway and registers its metrics.
func New(o Options) (*Gateway, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{o: o, metrics: newMetrics(), known: admit.NewDescribed(), turns: newTurns()}
	if err := g.metrics.register(o.Metrics); err != nil {
		return nil, err
	}
	return g, nil
}

// Routes adds the paths to r. To a client of a Pushgateway /push is the Pushgateway.
func (g *Gateway) Routes(r chi.Router) {
	r.Put(prefix+"*", g.put)
	r.Post(prefix+"*", g.post)
	r.Delete(prefix+"*", g.delete)
	r.Get("/push/api/v1/metrics", g.list)
}

// now is the time to the millisecond, as samples have it.
func (g *Gateway) now() time.Time { return g.o.Clock().UTC().Truncate(time.Millisecond) }
