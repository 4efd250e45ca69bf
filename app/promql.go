package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/forward"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/tsdb"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// makePromAPI makes what answers PromQL: for people, for rules, and for what is forwarded.
func (a *App) makePromAPI() (*promapi.API, error) {
	stored := samples.NewStore(a.pool, samples.Options{MaxSeries: a.o.Series.QueryMaxSeries, MaxSamples: a.o.Series.QueryMaxSamples})
	return promapi.New(promapi.Options{
		Timelines: tsdb.NewReader(a.pool), Stored: stored.Queryable, Limited: beyondLimit, Metadata: stored, Rules: a.store, Keys: a.keys,
		Horizon:   func(ctx context.Context, _ tenant.OrgID) (time.Time, error) { return a.horizon.at(ctx) },
		Retention: a.o.Retention.History, Version: a.o.Version, Logger: a.log, Registerer: a.registry,
		Limits: promapi.Limits{
			Timeout: a.o.Series.QueryTimeout, MaxSamples: a.o.Series.QueryMaxSamples, MaxSeries: a.o.Series.QueryMaxSeries,
		},
	})
}

// beyondLimit reports whether a query asked the stored series for too much.
func beyondLimit(err error) bool { return errors.Is(err, samples.ErrLimit) }

func (a *App) startRules() error {
	e, err := rules.New(rules.Options{
		Store: a.store, Samples: a.samples, Horizon: a.horizon.at, BaseURL: a.o.BaseURL, Logger: a.log, Registerer: a.registry,
		Written: newWritten(a.pool, a.samples.log).at,
		Querier: rules.EngineQuerier{Engine: a.promql.Engine(), Storage: a.promql.Queryable},
	})
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	a.background("rules", e.Run)
	return nil
}

func (a *App) startForwards() error {
	f, err := forward.New(forward.Options{
		Store: a.store, Source: a.promql, Secrets: a.secrets, Horizon: a.horizon.at, Logger: a.log, Registerer: a.registry,
		Client: safehttp.New(safehttp.Options{AllowPrivate: a.o.Series.AllowPrivateForwards}), Version: a.o.Version,
	})
	if err != nil {
		return fmt.Errorf("forwards: %w", err)
	}
	a.background("forwards", f.Run)
	return nil
}

// openSecrets makes the box that keeps customers' secrets.
func (a *App) openSecrets() (*seal.Box, error) {
	if a.o.Series.SecretKey == "" {
		key, err := seal.FileKey(a.o.DataDir)
		if err != nil {
			return nil, err
		}
		return seal.New(key)
	}
	key, err := seal.ParseKey(a.o.Series.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("--secret-key: %w", err)
	}
	return seal.New(key)
}

// horizonLife is how long the watermark is remembered: it moves by the evaluator's checkpoints, and every query asks for it.
const horizonLife = 250 * time.Millisecond

// horizon is the instant up to which the evaluator has judged everything.
type horizon struct {
	store      *store.Store
	logID      string
	partitions int

	mu    sync.Mutex
	known time.Time
	asked time.Time
}

func (h *horizon) at(ctx context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) < horizonLife {
		return h.known, nil
	}
	t, err := h.store.Watermark(ctx, h.logID, h.partitions)
	if err != nil {
		return time.Time{}, err
	}
	h.known, h.asked = t, time.Now()
	return t, nil
}
