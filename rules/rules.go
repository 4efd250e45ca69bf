// Package rules evaluates recording and alerting rules: Prometheus' own, on its engine, over computed and written series, with a
// state machine of ours (core/rule) whose state is stored.
//
// A group is evaluated for its instants, an interval apart, and for each only when the watermark of the evaluator of monitors has
// passed it: a backlog of pings delays an alert and never invents one. Due groups are claimed from the store by a lease, so any
// number of processes may run an Evaluator on one database. What an evaluation gives is stored in one transaction behind a fence;
// its samples are appended to the log before that, where a repeat is harmless. docs/rules.md says what users can rely on.
package rules

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Store keeps the groups and their state. It serves all organisations.
type Store interface {
	// ClaimRuleGroups leases up to limit groups whose instant is not after the horizon: nobody else gets them before the lease is
	// over or they were committed or released.
	ClaimRuleGroups(ctx context.Context, horizon time.Time, limit int, lease time.Duration) ([]rule.Claim, error)
	// CommitRuleGroup stores what an evaluation gave, with the messages, unless the group was changed or evaluated by another
	// since it was claimed: then it stores nothing and stored is false.
	CommitRuleGroup(ctx context.Context, org tenant.OrgID, e rule.Evaluated) (stored bool, err error)
	// ReleaseRuleGroup ends a lease: the group may be claimed again after a while.
	ReleaseRuleGroup(ctx context.Context, org tenant.OrgID, c rule.Claim, after time.Duration) error
}

// Samples takes recorded samples: they are durable when it returns.
type Samples interface {
	AppendSamples(ctx context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error
}

// Options of an Evaluator. Store, Querier, Samples, Horizon and Logger are required; zero values of the rest stand for the defaults
// named.
type Options struct {
	Store   Store
	Querier Querier // an OverQuerier, if rules shall see what those before them in their group have just recorded
	Samples Samples
	// Horizon is the instant up to which everything is known. The zero time: nothing is yet.
	Horizon func(ctx context.Context) (time.Time, error)
	// Written is the instant up to which all that others have written is stored: a group that asks for more than the series of
	// monitors is not evaluated for a later one. nil: the Horizon is right for these too.
	Written    func(ctx context.Context) (time.Time, error)
	BaseURL    string           // under which people and programs reach this server, for the links in alerts
	Clock      func() time.Time // time.Now
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	Concurrency  int           // groups under way at a time; 4
	PollInterval time.Duration // how often to look for due groups; 1 s
	Timeout      time.Duration // of one evaluation of a group, its templates included; 30 s
	MaxResults   int           // series or alerts of one rule; 10,000
}

// What is left of a lease when the evaluation has timed out is for storing it.
const (
	leaseMargin   = 15 * time.Second
	appendTries   = 3
	appendTimeout = 8 * time.Second
	retryAfter    = 5 * time.Second
	releaseGrace  = 2 * time.Second
	claimTimeout  = 5 * time.Second
	writtenPause  = 3 * time.Second
	longestPause  = 10 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Concurrency == 0 {
		o.Concurrency = 4
	}
	if o.PollInterval == 0 {
		o.PollInterval = time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxResults == 0 {
		o.MaxResults = 10_000
	}
	return o
}

func (o Options) validate() error {
	if o.Store == nil || o.Querier == nil || o.Samples == nil || o.Horizon == nil || o.Logger == nil {
		return errors.New("rules need a store, a querier, samples, a horizon and a logger")
	}
	if o.Concurrency < 0 || o.PollInterval < 0 || o.Timeout < 0 || o.MaxResults < 0 {
		return errors.New("concurrency, times and limits of rules must not be negative")
	}
	return nil
}

// Evaluator is the worker. Make it with New and Run it once.
type Evaluator struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	groups  *cache
	slots   chan struct{} // one token for each evaluation that may still start
}

// New returns an evaluator, or an error if the options make no sense or its metrics are registered already.
func New(o Options) (*Evaluator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	e := &Evaluator{
		o: o, log: o.Logger, metrics: m, slots: make(chan struct{}, o.Concurrency),
		groups: newCache(Surroundings{ExternalURL: o.BaseURL, MaxResults: o.MaxResults}),
	}
	for range o.Concurrency {
		e.slots <- struct{}{}
	}
	return e, nil
}
