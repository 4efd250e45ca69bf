package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Pauses between attempts to reach the source of monitors.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run keeps what is known of monitors up to date until ctx ends, and returns nil then. It never gives up: without its
// source, known monitors are served on.
func (g *Ingest) Run(ctx context.Context) error {
	pause := firstPause
	for {
		heard := false
		err := g.o.Targets.WatchTargets(ctx, func(change tenant.PingTargets) {
			back := !heard && change.Full
			heard = heard || change.Full
			g.cache.apply(change)
			if back {
				pause = firstPause
				g.log.Info("monitors loaded", "monitors", g.cache.size(), "projects", len(change.Projects))
			}
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end is what was asked for
		}
		if err == nil {
			err = errors.New("the source of monitors ended without an error")
		}
		if heard || pause == firstPause {
			g.log.Warn("the source of monitors is lost: known monitors are served on, pings to others are answered 503 until it is back", "error", err)
		}
		g.cache.lose(g.now(g.clock()))
		if !sleep(ctx, pause/2+rand.N(pause)) { //nolint:gosec // jitter needs no secrecy
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// sleep waits for d; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
