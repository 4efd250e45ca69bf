package receivers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	atOnceOrg  = 64 // attempts of an organisation under way
	atOnceSlow = 32 // of those, at integrations that were slow the last time: the others always find room
	atOnceOne  = 8  // at one integration
	slowAfter  = 2 * time.Second
)

var errCrowded = errors.New("given up: until no time was left, as many attempts of the organisation were under way as may be at once")

// Turns bound how many attempts at notifications each organisation has under way in this process: 64, and 32 at integrations that took
// long the last time. They come first that asked first. One serves all organisations. Safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	orgs map[tenant.OrgID]*turns
}

// turns of one organisation, for as long as somebody has or wants one.
type turns struct {
	users     int
	all, slow chan struct{}
}

// NewTurns returns Turns that nobody has taken.
func NewTurns() *Turns { return &Turns{orgs: map[tenant.OrgID]*turns{}} }

// take waits for a turn. leave gives it back and must be called once. The error is that ctx ended before.
func (t *Turns) take(ctx context.Context, org tenant.OrgID, slow bool) (leave func(), err error) {
	t.mu.Lock()
	mine := t.orgs[org]
	if mine == nil {
		mine = &turns{all: make(chan struct{}, atOnceOrg), slow: make(chan struct{}, atOnceSlow)}
		t.orgs[org] = mine
	}
	mine.users++
	t.mu.Unlock()
	rooms := []chan struct{}{mine.all}
	if slow {
		rooms = []chan struct{}{mine.slow, mine.all} // who waits for the first has none of the second
	}
	out, err := enter(ctx, rooms...)
	leave = func() {
		out()
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.orgs, org)
		}
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// enter takes a place in each of the rooms, one after the other. out gives back those it has, also after an error.
func enter(ctx context.Context, rooms ...chan struct{}) (out func(), err error) {
	in := 0
	out = func() {
		for _, room := range rooms[:in] {
			<-room
		}
	}
	for _, room := range rooms {
		select {
		case room <- struct{}{}:
			in++
		case <-ctx.Done():
			return out, errCrowded
		}
	}
	return out, nil
}

// turn waits until an attempt may be made: no integration has more than its share of the organisation's. The time it takes is not the
// attempt's. leave is to be called after the attempt, once.
func (a *attempts) turn(ctx context.Context) (leave func(), err error) {
	out, err := enter(ctx, a.share)
	if err != nil {
		return nil, err
	}
	for {
		slow := a.slow.Load()
		back, err := a.turns.take(ctx, a.place.org, slow)
		if err != nil {
			out()
			return nil, err
		}
		if slow == a.slow.Load() {
			return func() { back(); out() }, nil
		}
		back() // what is known of it has changed while this one waited
	}
}
