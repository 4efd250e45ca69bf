// Package remotewrite takes samples by Prometheus' remote write protocol, versions 1.0 and 2.0, and appends them to the log. It
// answers 2xx only when they are durable. What is wrong with one series is told and does not keep the others out.
package remotewrite

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// Path is where samples are written to.
const Path = "/prometheus/api/v1/write"

// Appender makes samples durable. Safe for concurrent use.
type Appender interface {
	// AppendSamples returns once all of it is durable. After an error some of it may be. It keeps nothing of what it was
	// given.
	AppendSamples(ctx context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error
}

// Keys finds out who a request acts for: saas/auth.Keys.
type Keys interface {
	Request(r *http.Request, scope tenant.Scope) (tenant.Identity, error)
}

// Options are what a Handler is made of. Zero fields take the defaults.
type Options struct {
	Appender Appender // required
	Keys     Keys     // required
	Limiter  *admit.Limiter
	Rules    admit.Rules

	MaxBody     int // bytes of a request as it comes, by default 10 MiB
	MaxUnpacked int // bytes of what it unpacks to, by default 64 MiB
	MaxAtOnce   int // bytes of all requests being dealt with, unpacked, by default 256 MiB

	Clock   func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: nowhere
}

func (o *Options) validate() error {
	if o.Appender == nil || o.Keys == nil {
		return errors.New("remote write: Options need an Appender and Keys")
	}
	o.Rules = o.Rules.WithDefaults()
	if o.Limiter == nil {
		o.Limiter = admit.NewLimiter(admit.Limits{}, o.Clock)
	}
	for _, f := range []struct {
		v         *int
		byDefault int
	}{{&o.MaxBody, 10 << 20}, {&o.MaxUnpacked, 64 << 20}, {&o.MaxAtOnce, 256 << 20}} {
		if *f.v == 0 {
			*f.v = f.byDefault
		}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Handler answers remote write. Safe for concurrent use.
type Handler struct {
	o       Options
	metrics *metrics
	known   *admit.Described
	atOnce  atomic.Int64 // bytes being dealt with
	logged  atomic.Int64 // when a refusal was logged last, Unix seconds
	bodies  sync.Pool    // *[]byte
	batches sync.Pool    // *batch
}

// New makes a Handler and registers its metrics.
func New(o Options) (*Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	h := &Handler{o: o, metrics: newMetrics(o.Limiter), known: admit.NewDescribed()}
	if err := h.metrics.register(o.Metrics); err != nil {
		return nil, err
	}
	return h, nil
}

// Routes adds the path to r.
func (h *Handler) Routes(r chi.Router) { r.Method(http.MethodPost, Path, h) }
