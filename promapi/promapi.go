// Package promapi answers PromQL over the whole history of an organisation's monitors, as a Prometheus would that had always
// scraped them: its series are computed from what happened, at the moment they are asked for, and none of it is stored
// twice. Series that others wrote are read beside them. The engine and the language are Prometheus' own; so are paths,
// parameters and JSON, under /prometheus.
//
// Computed series have samples at the multiples of 15 s since 1970, fewer where the step is long (grid says how many), each
// worth what the monitor was worth at that instant, and a staleness marker where a series ends.
package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Timelines says how an organisation's monitors stood, one after the other in the order of their ids. What f gets is valid
// until it returns; an error of f ends the reading and is returned.
type Timelines interface {
	Timelines(ctx context.Context, org tenant.OrgID, q timeline.Query, f func(*timeline.Timeline) error) error
}

// Metadata describes the metrics that were written to an organisation: the one named, or all where metric is "". At most
// limit metrics; 0 is no limit.
type Metadata interface {
	Metadata(ctx context.Context, org tenant.OrgID, metric string, limit int) (map[string][]series.Metadata, error)
}

// Rules knows an organisation's rules and their alerts, in the order in which they are shown.
type Rules interface {
	RuleGroups(ctx context.Context, org tenant.OrgID) ([]rule.Status, error)
}

// Limits keep one query from starving the others. Zero values are the defaults.
type Limits struct {
	Timeout       time.Duration // of a query, its waiting included; 2 min
	MaxSamples    int           // in memory at once; 50,000,000
	MaxSeries     int           // selected by a query; 100,000
	MaxConcurrent int           // queries of an organisation at once, others wait; 20
	SlowQuery     time.Duration // from which on a query is logged; 10 s
}

// Options are what an API needs.
type Options struct {
	Timelines Timelines
	// Stored are the series that were written to an organisation; nil: none.
	Stored func(org tenant.OrgID) storage.Queryable
	// Limited reports whether an error of Stored says that a query asks for too much: its text is then told; nil: none does.
	Limited  func(err error) bool
	Metadata Metadata // nil: only computed series have any
	Rules    Rules    // nil: there are none
	// Horizon is the instant up to which the history of an organisation is complete; nil: now.
	Horizon    func(ctx context.Context, org tenant.OrgID) (time.Time, error)
	Keys       *auth.Keys
	Clock      func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: none
	Registerer prometheus.Registerer
	Retention  time.Duration // of the history; 0: for ever
	Version    string        // of Tokiflow, shown as the revision
	Limits     Limits
}

// API answers queries. Safe for concurrent use.
type API struct {
	timelines Timelines
	stored    func(org tenant.OrgID) storage.Queryable
	limited   func(err error) bool
	metadata  Metadata
	rules     Rules
	horizon   func(ctx context.Context, org tenant.OrgID) (time.Time, error)
	keys      *auth.Keys
	clock     func() time.Time
	logger    *slog.Logger
	retention time.Duration
	version   string
	limits    Limits
	catalog   catalog
	parser    parser.Parser
	engine    *promql.Engine
	gates     gates
	metrics   *metrics
	zippers   zippers
}

// New makes an API.
func New(o Options) (*API, error) {
	if o.Timelines == nil || o.Keys == nil {
		return nil, errors.New("promapi: Timelines and Keys are required")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := o.Limits.orDefaults()
	a := &API{
		timelines: o.Timelines, stored: o.Stored, limited: o.Limited, metadata: o.Metadata, rules: o.Rules, horizon: o.Horizon, keys: o.Keys, clock: o.Clock,
		logger: o.Logger, retention: o.Retention, version: o.Version, limits: l, catalog: newCatalog(),
		parser: parser.NewParser(parser.Options{}), metrics: newMetrics(),
	}
	a.gates.most = l.MaxConcurrent
	a.engine = promql.NewEngine(promql.EngineOpts{
		Logger: o.Logger, MaxSamples: l.MaxSamples, Timeout: l.Timeout, LookbackDelta: lookback, Parser: a.parser,
		// As Prometheus does with its default evaluation_interval.
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true,
	})
	if o.Registerer != nil {
		if err := a.metrics.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("promapi: %w", err)
		}
	}
	return a, nil
}

// lookback is for how long a sample is worth something to an instant selector: Prometheus' default.
const lookback = 5 * time.Minute

func (l Limits) orDefaults() Limits {
	if l.Timeout <= 0 {
		l.Timeout = 2 * time.Minute
	}
	if l.MaxSamples <= 0 {
		l.MaxSamples = 50_000_000
	}
	if l.MaxSeries <= 0 {
		l.MaxSeries = 100_000
	}
	if l.MaxConcurrent <= 0 {
		l.MaxConcurrent = 20
	}
	if l.SlowQuery <= 0 {
		l.SlowQuery = 10 * time.Second
	}
	return l
}
