// Package ingest takes pings over HTTP and makes them durable: it resolves the ping key from memory, keeps to the rate
// limit, caps and redacts the body, appends a record to the log and answers. The contract is docs/ping-api.md.
//
// On its way a ping touches no database, so pings of known monitors are accepted while the database is down. What ingest
// knows of monitors is a copy in memory (targets.go) that Run keeps up to date. While that copy may be out of date an
// unknown key is answered 503 and not 404: the monitor may have been made just now.
//
// Ping keys are compared by map look-up and not in constant time: a key has 122 random bits, the map's hash is seeded at
// random in each process, and a guess that shares a prefix with a key takes no longer than one that does not.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/redact"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// What an installation has where nobody said otherwise.
const (
	DefaultBodyLimit = 100_000 // bytes
	DefaultRateLimit = 60      // pings a minute and monitor
)

// maxBody is how much of a request's body is read at all, in bytes.
const maxBody = 10 << 20

// ErrLimit is what a Creator returns where the plan leaves no room for another monitor.
var ErrLimit = errors.New("the plan's number of monitors is reached")

// Appender makes records durable, and logs when it cannot. Safe for concurrent use.
type Appender interface {
	// Append returns once rec is durable in the partition. rec is the caller's again when it returned no error; after an
	// error it may still be in use.
	Append(ctx context.Context, partition int, rec []byte) (time.Time, error)
	// AppendAll does the same for several records at once.
	AppendAll(ctx context.Context, partition int, recs [][]byte) (time.Time, error)
}

// Targets tells which monitors there are.
type Targets interface {
	// WatchTargets calls apply with everything and then with each change, one call at a time. It returns only with an
	// error: the connection was lost, or ctx ended.
	WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error
}

// Creator makes monitors for ?create=1.
type Creator interface {
	// Create makes a monitor with that slug, ready to take pings, or returns the one that is there (created: false). The
	// error is ErrLimit where the plan leaves no room; one of code fault.NotFound where the project is gone; one of code
	// fault.Ambiguous where several monitors share the slug.
	Create(ctx context.Context, project tenant.ProjectKey, slug string) (t tenant.PingTarget, created bool, err error)
}

// Authenticator knows the API keys. An error of code fault.Unauthenticated says that the key is not valid, any other
// that this cannot be told now.
type Authenticator interface {
	Authenticate(ctx context.Context, key string) (tenant.Identity, error)
}

// Options are what an Ingest is made of.
type Options struct {
	Appender      Appender
	Partitions    int // of the log
	Targets       Targets
	Creator       Creator
	Authenticator Authenticator

	BodyLimit int // bytes of a body that are kept; 0: none; at most 10 MiB
	RateLimit int // pings a minute and monitor, and the size of a burst; 0: no limit
	// Redact returns an organisation's own patterns, applied after the built-in ones. It is called for each ping that has
	// a body, so it must be quick. May be nil.
	Redact func(org tenant.OrgID) []*regexp.Regexp
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix

	Logger  *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: none are registered
	Clock   func() time.Time      // nil: time.Now
}

func (o Options) validate() error {
	var errs []error
	if o.Appender == nil || o.Targets == nil || o.Creator == nil || o.Authenticator == nil {
		errs = append(errs, errors.New("Appender, Targets, Creator and Authenticator must be set"))
	}
	if o.Partitions < 1 {
		errs = append(errs, fmt.Errorf("the number of Partitions is %d: the log has at least one", o.Partitions))
	}
	if o.BodyLimit < 0 || o.BodyLimit > maxBody {
		errs = append(errs, fmt.Errorf("the body limit is %d: give 0 to %d bytes", o.BodyLimit, maxBody))
	}
	if o.RateLimit < 0 || o.RateLimit > 1_000_000_000 {
		errs = append(errs, fmt.Errorf("the rate limit is %d: give 1 to 1000000000 pings a minute, or 0 for no limit", o.RateLimit))
	}
	return errors.Join(errs...)
}

// Ingest serves the ping endpoints. Safe for concurrent use.
type Ingest struct {
	o        Options
	clock    func() time.Time
	started  time.Time // zero of now
	log      *slog.Logger
	metrics  *metrics
	answers  *answers
	cache    *cache
	limit    limiter
	redactor *redact.Redactor
	creates  singleflight.Group
	auth     *identities
	scratch  sync.Pool // of *scratch
	inflate  inflaters
}

// New makes an Ingest. It knows no monitor until Run runs.
func New(o Options) (*Ingest, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Ingest{
		o:        o,
		clock:    o.Clock,
		started:  o.Clock(),
		log:      o.Logger,
		answers:  newAnswers(o.BodyLimit),
		cache:    newCache(o.Partitions),
		limit:    newLimiter(o.RateLimit),
		redactor: redact.New(),
		auth:     newIdentities(auth.NewKeys(o.Authenticator, o.Clock)),
	}
	g.scratch.New = func() any { return new(scratch) }
	g.metrics = newMetrics(g.cache)
	if err := g.metrics.register(o.Metrics); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return g, nil
}

// Routes mounts the endpoints. Mount them before middleware that costs time: each ping pays for it.
func (g *Ingest) Routes(r chi.Router) {
	// One wildcard each, and the path taken apart by hand: chi's parameters would cost more than all of our parsing, and
	// its 404 for a path that almost fits would not be ours.
	r.Handle(pingPrefix+"*", http.HandlerFunc(g.servePing))
	r.Handle(apiPingPrefix+"*", http.HandlerFunc(g.servePing))
	r.Handle(batchPath, http.HandlerFunc(g.serveBatch))
}

// Front serves the same endpoints before a whole router, and hands everything else to next. A ping then does not pay for
// chi's context and copy of the request, and a method of which chi has never heard is answered as the contract says.
func (g *Ingest) Front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, pingPrefix), strings.HasPrefix(path, apiPingPrefix):
			g.servePing(w, r)
		case path == batchPath:
			g.serveBatch(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Ready is nil once the monitors are known. It stays nil while the database is away: known monitors are served on.
func (g *Ingest) Ready() error {
	if !g.cache.loaded.Load() {
		return errors.New("the monitors are not loaded yet: waiting for the database")
	}
	return nil
}

// now is the time since New on a clock that does not jump.
func (g *Ingest) now(t time.Time) time.Duration { return t.Sub(g.started) }
