package slack

import (
	"context"
	"sync"
	"time"
)

const (
	workers     = 32               // requests of Slack that are worked on at once
	workTimeout = 25 * time.Second // a response_url takes answers for 30 minutes, a person waits for less
)

// work is what goes on after a request of Slack was answered.
type work struct {
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

func newWork() *work {
	ctx, cancel := context.WithCancel(context.Background())
	return &work{ctx: ctx, cancel: cancel, slots: make(chan struct{}, workers)}
}

// begin runs f in the background; false: there is too much to do, or it is closed. f keeps the values of ctx, not its end.
func (w *work) begin(ctx context.Context, f func(context.Context)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	select {
	case w.slots <- struct{}{}:
	default:
		return false
	}
	w.wait.Go(func() {
		defer func() { <-w.slots }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
		defer cancel()
		defer context.AfterFunc(w.ctx, cancel)() //nolint:contextcheck // ctx is to end when w does, too
		f(ctx)
	})
	return true
}

// close waits for what was begun; when the context ends it is cancelled.
func (w *work) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	defer w.cancel()
	done := make(chan struct{})
	go func() {
		w.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.cancel()
		<-done // everything begun ends with its context
		return ctx.Err()
	}
}
