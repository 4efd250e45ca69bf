// Package guard runs the installation guard (core/guard): every process that takes pings counts what it accepted, one process at a
// time judges each minute, and every process reads what came of it. While the pings of the whole installation have fallen, alerts
// of monitors that were missed or late are held back, for a while.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	core "github.com/tokiflow/tokiflow/core/guard"
)

// DefaultHold is how long an alert is held back at most.
const DefaultHold = 15 * time.Minute

const (
	every = 5 * time.Second // between two looks at the state
	// after is how long after its end a minute is judged: until then every process has written what it accepted in it.
	after = 10 * time.Second
	// settle is how long nothing is judged after a start and after an error: what counted the pings, and could not write it down
	// any more than we could read it, goes first.
	settle = 25 * time.Second
	// reach is how long it may take until every process knows what was found.
	reach = after + 2*every
	// burst is how many minutes are judged in a row where some were left out.
	burst = 60
)

// Store keeps the guard's state. Safe for concurrent use.
type Store interface {
	// GuardState returns the state; the zero state while no minute was judged yet.
	GuardState(ctx context.Context) (core.State, error)
	// StepGuard has next judge the first minute that was not judged yet and is not after the minute through, and stores what came
	// of it. It returns false where there is none, or another process is at it.
	StepGuard(ctx context.Context, through time.Time, next func(core.State, core.Minute, core.History) core.State) (bool, error)
}

// Options of a Guard. Store is required.
type Options struct {
	Store      Store
	Judge      bool          // this process judges minutes, too; of several that do, one at a time
	Hold       time.Duration // how long after its start an alert is held back at most; 0: DefaultHold, negative: none is
	Rules      core.Rules
	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is registered
	Clock      func() time.Time      // nil: time.Now
}

// Guard knows where the installation's guard stands. Safe for concurrent use.
type Guard struct {
	o     Options
	state atomic.Pointer[core.State]
}

// New makes a Guard, which believes everything until Run has read the state.
func New(o Options) (*Guard, error) {
	if o.Store == nil {
		return nil, errors.New("guard: Store must be set")
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	g := &Guard{o: o}
	g.state.Store(&core.State{Phase: core.Normal})
	if o.Registerer != nil {
		if err := o.Registerer.Register(newCollector(g)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// State is where the guard stood when it was looked at last, at most 5 s ago where the database is there.
func (g *Guard) State() core.State { return *g.state.Load() }

// Detail is what /readyz shows: empty while all is normal. A fall does not make a process unready: it takes pings, if only they came.
func (g *Guard) Detail() string {
	s := g.State()
	if s.Phase == core.Normal {
		return ""
	}
	return "guard: " + s.String()
}

// Run reads the state every 5 s, and judges the minutes, until ctx ends. Where the database is away it says so once, and what was read
// last holds.
func (g *Guard) Run(ctx context.Context) error {
	t := time.NewTicker(every)
	defer t.Stop()
	judgeFrom := g.o.Clock().Add(settle)
	failing := false
	for {
		now := g.o.Clock()
		err := g.look(ctx, now, g.o.Judge && !now.Before(judgeFrom))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if !failing {
				g.o.Logger.ErrorContext(ctx, "the installation guard cannot look at the database", "error", err)
			}
			failing, judgeFrom = true, now.Add(settle)
		case failing:
			failing, judgeFrom = false, now.Add(settle)
			g.o.Logger.InfoContext(ctx, "the installation guard looks at the database again")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// look judges what is to be judged and reads the state.
func (g *Guard) look(ctx context.Context, now time.Time, judge bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if judge {
		through := now.Add(-after).Truncate(time.Minute).Add(-time.Minute)
		for range burst {
			stepped, err := g.o.Store.StepGuard(ctx, through, g.next)
			if err != nil {
				return err
			}
			if !stepped {
				break
			}
		}
	}
	s, err := g.o.Store.GuardState(ctx)
	if err != nil {
		return err
	}
	if s.Phase == "" {
		s.Phase = core.Normal
	}
	g.tell(ctx, g.State(), s)
	g.state.Store(&s)
	return nil
}

func (g *Guard) next(s core.State, m core.Minute, h core.History) core.State {
	return g.o.Rules.Next(s, m, h)
}

// tell logs a change of the phase.
func (g *Guard) tell(ctx context.Context, was, is core.State) {
	if was.Phase == is.Phase {
		return
	}
	level := slog.LevelWarn
	if is.Phase == core.Normal {
		level = slog.LevelInfo
	}
	g.o.Logger.Log(ctx, level, "the pings of the whole installation", "guard", is.Phase, "was", was.Phase,
		"minute", is.Minute.UTC(), "pings", is.Pings, "expected", int64(is.Expected), "processes", is.Processes, "since", is.Since.UTC())
}
