package app

import (
	"context"
	"fmt"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/exporter"
	"github.com/tokiflow/tokiflow/ingest/admit"
	"github.com/tokiflow/tokiflow/ingest/pushgateway"
	"github.com/tokiflow/tokiflow/ingest/remotewrite"
	"github.com/tokiflow/tokiflow/saas/auth"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// router is a part that serves requests.
type router interface {
	Routes(r chi.Router)
}

// startSeries makes what speaks Prometheus' protocols, each part in the processes of its role.
func (a *App) startSeries(ctx context.Context) error {
	var err error
	if a.samples, err = a.openSamples(ctx); err != nil {
		return err
	}
	a.keys = auth.NewKeys(a.store, nil)
	a.horizon = &horizon{store: a.store, logID: a.eventlog.ID(), partitions: a.eventlog.Partitions()}
	if a.o.has(RoleRead) || a.o.has(RoleEvaluate) || a.o.has(RoleAlert) {
		if a.promql, err = a.makePromAPI(); err != nil {
			return err
		}
		if a.secrets, err = a.openSecrets(); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		role  Role
		start func() error
	}{
		{RoleWrite, a.startSampleWriter},
		{RoleEvaluate, a.startRules},
		{RoleAlert, a.startForwards},
		{RoleRead, a.startExporter},
		{RoleIngest, a.startSampleIngest},
	} {
		if a.o.has(part.role) {
			if err := part.start(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *App) startSampleWriter() error {
	l := a.samples.log
	w := samples.NewWriter(a.pool, l.ID(), a.log, a.registry)
	a.background("samples writer", func(ctx context.Context) error { return l.Consume(ctx, samples.Consumer, w) })
	u, err := samples.NewUpkeep(a.pool, a.o.Retention.Samples, a.log)
	if err != nil {
		return err
	}
	a.background("upkeep of samples", func(ctx context.Context) error { u.Run(ctx); return nil })
	return nil
}

func (a *App) startExporter() error {
	e, err := exporter.New(exporter.Options{
		States: a.store, Keys: a.keys, BaseURL: a.o.BaseURL, MaxSeries: a.o.Series.ScrapeMaxSeries, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.background("exporter", e.Run)
	a.routers = append(a.routers, e, a.promql)
	return nil
}

func (a *App) startSampleIngest() error {
	limiter := admit.NewLimiter(admit.Limits{
		SamplesPerSecond: a.o.Series.WriteRateLimit, ActiveSeries: a.o.Series.WriteMaxSeries,
	}, time.Now)
	w, err := remotewrite.New(remotewrite.Options{
		Appender: a.samples, Keys: a.keys, Limiter: limiter, Logger: a.log, Metrics: a.registry,
	})
	if err != nil {
		return fmt.Errorf("remote write: %w", err)
	}
	g, err := pushgateway.New(pushgateway.Options{
		Appender: a.samples, Groups: a.store, Standing: a.store, Keys: a.keys, Limiter: limiter, Logger: a.log, Metrics: a.registry,
	})
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	a.background("pushed groups", g.Run)
	a.routers = append(a.routers, w, g)
	return nil
}
