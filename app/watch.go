package app

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

// watch is the source of monitors for this process's ingest, which also tells who waits for a change that ingest has taken
// it in: whoever made a monitor here can ping it the moment he has his answer.
type watch struct {
	store *store.Store

	mu      sync.Mutex
	waiters map[uuid.UUID][]chan struct{}
}

// WatchTargets passes the store's changes on.
func (w *watch) WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error {
	return w.store.WatchTargets(ctx, func(t tenant.PingTargets) {
		apply(t)
		w.applied(t)
	})
}

func (w *watch) applied(t tenant.PingTargets) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for monitor, list := range w.waiters {
		if !t.Full && monitor != t.Monitor {
			continue
		}
		for _, c := range list {
			close(c)
		}
		delete(w.waiters, monitor)
	}
}

// expect returns a channel that is closed when the monitor's next change has been taken in.
func (w *watch) expect(monitor uuid.UUID) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiters == nil {
		w.waiters = map[uuid.UUID][]chan struct{}{}
	}
	c := make(chan struct{})
	w.waiters[monitor] = append(w.waiters[monitor], c)
	return c
}
