package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/store"
)

func (a *App) openDatabase(ctx context.Context) error {
	url := a.o.DatabaseURL
	if url == "" {
		server, err := startEmbedded(ctx, &a.o)
		if err != nil {
			return fmt.Errorf("embedded PostgreSQL: %w", err)
		}
		a.onStop("embedded PostgreSQL", server.Stop)
		url = server.URL()
	}
	pool, err := pg.Open(ctx, url, pg.Options{})
	if err != nil {
		return err
	}
	a.pool = pool
	a.onStop("database pool", func(context.Context) error { pool.Close(); return nil })
	if err := a.awaitDatabase(ctx); err != nil {
		return err
	}
	if err := pg.Migrate(ctx, pool, a.log); err != nil {
		return err
	}
	a.store = store.New(pool)
	return nil
}

// Migrate brings the schema of the database up to date and leaves.
func Migrate(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{o: o, log: o.Logger}
	return errors.Join(a.openDatabase(ctx), a.stop())
}

// awaitDatabase waits for a database that is not there yet: whoever starts both at once must not care for the order.
func (a *App) awaitDatabase(ctx context.Context) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := a.pool.Ping(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		a.log.Warn("waiting for the database", "error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
