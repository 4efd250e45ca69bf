package promapi

import (
	"context"
	"sync"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// gates hold each organisation to a number of queries at once. One that has none at work costs no memory.
type gates struct {
	most int
	mu   sync.Mutex
	open map[tenant.OrgID]*gate
}

type gate struct {
	slots chan struct{}
	users int // at work or waiting
}

// enter waits for a slot; leave gives it back, and must be called once.
func (g *gates) enter(ctx context.Context, org tenant.OrgID) (leave func(), err error) {
	x := g.join(org)
	select {
	case x.slots <- struct{}{}:
		return func() { <-x.slots; g.quit(org, x) }, nil
	default:
	}
	select {
	case x.slots <- struct{}{}:
		return func() { <-x.slots; g.quit(org, x) }, nil
	case <-ctx.Done():
		g.quit(org, x)
		return nil, ctx.Err()
	}
}

func (g *gates) join(org tenant.OrgID) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.open[org]
	if x == nil {
		x = &gate{slots: make(chan struct{}, g.most)}
		if g.open == nil {
			g.open = map[tenant.OrgID]*gate{}
		}
		g.open[org] = x
	}
	x.users++
	return x
}

func (g *gates) quit(org tenant.OrgID, x *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x.users--; x.users == 0 {
		delete(g.open, org)
	}
}
