// Package exporter serves an organisation's monitors to Prometheus: GET /metrics/monitors is the scrape, GET /sd/prometheus
// the service discovery for it. The contract is docs/prometheus.md.
//
// What is exposed, and what each sample is worth, is said by core/metric. This package keeps the monitors of the
// organisations that are scraped in memory, no more than 2 s old, and writes them down: in blocks of 64 monitors and one
// family, kept as they were sent (compressed, mostly) until a monitor of the block changes in that family. So a scrape
// costs no query, and little more than copying its answer.
//
// A state that can no longer be refreshed is not shown for long: a scrape that fails is seen in `up`, old figures are not.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// What an installation has where nobody said otherwise.
const (
	DefaultMaxSeries  = 1_000_000
	DefaultCacheBytes = 256 << 20
)

// Source reads the checkpointed states of an organisation's monitors: all of them with since 0, else those that changed since
// the reading that gave this cursor.
type Source interface {
	MonitorStates(ctx context.Context, org tenant.OrgID, since int64) (inventory.States, error)
}

// Options are what an Exporter is made of.
type Options struct {
	States Source
	Keys   *auth.Keys
	// BaseURL is where clients reach this server, as https://tokiflow.example.com: the target of the service discovery. Empty:
	// as the request says.
	BaseURL string
	// MaxSeries is how many series an organisation's scrape may have; 0: no limit. Beyond it the monitors with the greatest
	// ids are left out.
	MaxSeries int
	// CacheBytes is how much of written answers is kept, in bytes; 0: DefaultCacheBytes. Beyond it they are written anew for
	// each scrape.
	CacheBytes int64

	Clock      func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: none
}

func (o Options) validate() error {
	var errs []error
	if o.States == nil || o.Keys == nil {
		errs = append(errs, errors.New("the options States and Keys must be set"))
	}
	if o.MaxSeries < 0 {
		errs = append(errs, fmt.Errorf("the limit of series is %d: give a positive number, or 0 for none", o.MaxSeries))
	}
	if o.BaseURL != "" {
		if u, err := url.Parse(o.BaseURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("the base URL is %q: give one as https://tokiflow.example.com", o.BaseURL))
		}
	}
	return errors.Join(errs...)
}

// Exporter serves scrapes. Safe for concurrent use.
type Exporter struct {
	keys      *auth.Keys
	base      *url.URL // nil: unknown
	now       func() time.Time
	log       *slog.Logger
	layout    *layout
	packers   *packers
	pens      pens
	fleets    *fleets
	metrics   *metrics
	maxCached int64
	// writers are those who may write answers at the same time: more than there are processors would only hold more memory,
	// and take the processors from the pings.
	writers chan struct{}
}

// New makes an Exporter. Its states stay fresh while Run runs.
func New(o Options) (*Exporter, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	e := &Exporter{
		keys: o.Keys, now: o.Clock, log: o.Logger, layout: newLayout(), maxCached: o.CacheBytes,
		writers: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	if o.BaseURL != "" {
		base, err := url.Parse(o.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("exporter: %w", err)
		}
		e.base = base
	}
	var err error
	if e.packers, err = newPackers(); err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	e.fleets = newFleets(o.States, e.layout, o.MaxSeries, o.Clock, o.Logger)
	e.metrics = newMetrics(e.fleets)
	if err := e.metrics.register(o.Registerer); err != nil {
		return nil, fmt.Errorf("exporter: %w", err)
	}
	return e, nil
}

// Routes adds what it serves to r.
func (e *Exporter) Routes(r chi.Router) {
	r.Get("/metrics/monitors", e.scrape)
	r.Head("/metrics/monitors", e.scrape)
	r.Get("/sd/prometheus", e.discover)
	r.Head("/sd/prometheus", e.discover)
}

// Run keeps the states of the organisations that are scraped fresh, until ctx ends; then nothing of it is left running. It
// runs once.
func (e *Exporter) Run(ctx context.Context) error { return e.fleets.run(ctx) }
