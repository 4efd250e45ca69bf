package pushgateway

import (
	"context"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// How many groups are changed at once, by all and by one organisation, and how long a push waits for its turn. A change holds a
// connection of the database while it waits for its group and for the log: pushes must not take all of them from the evaluator.
const (
	changesAtOnce = 6
	changesOfOne  = 4
	turnWait      = 10 * time.Second
)

// turns hands out who may change a group.
type turns struct {
	all chan struct{}
	mu  sync.Mutex
	of  map[tenant.OrgID]*turn
}

// turn is an organisation's own; it is forgotten when nobody has or awaits it.
type turn struct {
	slots chan struct{}
	users int
}

func newTurns() *turns {
	return &turns{all: make(chan struct{}, changesAtOnce), of: map[tenant.OrgID]*turn{}}
}

// take waits for a turn; done gives it back and must be called once. The error is the context's.
func (t *turns) take(ctx context.Context, org tenant.OrgID) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	own := t.join(org)
	if err := enter(ctx, own.slots); err != nil {
		t.quit(org, own)
		return nil, err
	}
	if err := enter(ctx, t.all); err != nil {
		<-own.slots
		t.quit(org, own)
		return nil, err
	}
	return func() {
		<-t.all
		<-own.slots
		t.quit(org, own)
	}, nil
}

func enter(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turns) join(org tenant.OrgID) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.of[org]
	if own == nil {
		own = &turn{slots: make(chan struct{}, changesOfOne)}
		t.of[org] = own
	}
	own.users++
	return own
}

func (t *turns) quit(org tenant.OrgID, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.of, org)
	}
}

// alter changes a group when it is this change's turn.
func (g *Gateway) alter(ctx context.Context, org tenant.OrgID, key []series.Label, f func(*series.LockedGroup) error) error {
	done, err := g.turns.take(ctx, org)
	if err != nil {
		return err
	}
	defer done()
	return g.o.Groups.ChangePushGroup(ctx, org, key, f)
}
