package alerting

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
)

// lane makes the first attempts or the retries at one receiver, a bounded number at a time. There are two, so that
// deliveries that hang or fail again and again leave room for those that were never tried.
type lane struct {
	relay    *Relay
	receiver Receiver
	health   *health
	retries  bool
	peer     *lane
	wake     chan struct{} // something may be due
	slots    chan struct{} // one token for each attempt that may still start
}

func newLane(r *Relay, receiver Receiver, h *health, retries bool) *lane {
	l := &lane{
		relay: r, receiver: receiver, health: h, retries: retries,
		wake: make(chan struct{}, 1), slots: make(chan struct{}, r.o.Concurrency),
	}
	for range r.o.Concurrency {
		l.slots <- struct{}{}
	}
	return l
}

// run claims and attempts until ctx ends, and returns when no attempt is under way any more. attempts bounds those,
// records what is written to the store.
func (l *lane) run(ctx, attempts, records context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	o := l.relay.o
	streak := streak{log: l.relay.log.With("receiver", l.receiver.Name()), what: "alerts cannot be claimed for delivery"}
	more := false // the last claim got all it asked for
	for {
		if more {
			l.gather(ctx)
		}
		free := l.takeSlots(ctx)
		if free == 0 {
			return
		}
		began := time.Now() // before the lease begins, so that it ends after all that is counted from here
		ds, err := l.claim(records, free)
		more = len(ds) == free
		l.giveSlots(free - len(ds))
		for _, d := range ds {
			wg.Go(func() {
				defer l.giveSlots(1)
				l.attempt(attempts, records, d, began)
			})
		}
		switch {
		case err != nil:
			loop.Pause(ctx, streak.failed(err), nil)
		case len(ds) == 0:
			streak.succeeded()
			loop.Pause(ctx, o.PollInterval, l.wake)
		default:
			streak.succeeded()
		}
	}
}

// claim is not cut short by the end of ctx: a claim that was made but not heard of would only be due again when its
// lease is over.
func (l *lane) claim(records context.Context, limit int) ([]alert.Delivery, error) {
	o := l.relay.o
	ctx, cancel := context.WithTimeout(records, leaseMargin)
	defer cancel()
	return o.Store.ClaimDeliveries(ctx, l.receiver.Name(), l.retries, limit, o.AttemptTimeout+leaseMargin)
}

// gather waits a moment for some slots to be free, so that a backlog is not claimed one by one.
func (l *lane) gather(ctx context.Context) {
	const moment, tries = 2 * time.Millisecond, 5
	for range tries {
		if len(l.slots) >= cap(l.slots)/2 || ctx.Err() != nil {
			return
		}
		loop.Pause(ctx, moment, nil)
	}
}

// takeSlots waits for a slot and takes all that are free. It returns 0 when ctx has ended.
func (l *lane) takeSlots(ctx context.Context) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case <-ctx.Done():
		return 0
	case <-l.slots:
	}
	for n := 1; ; n++ {
		select {
		case <-l.slots:
		default:
			return n
		}
	}
}

func (l *lane) giveSlots(n int) {
	for range n {
		l.slots <- struct{}{}
	}
}

// attempt makes one attempt at a delivery claimed at began, and writes down what came of it.
func (l *lane) attempt(attempts, records context.Context, d alert.Delivery, began time.Time) {
	o := l.relay.o
	// Counted from the claim: a process that was frozen meanwhile must not send what another one has claimed since.
	ctx, cancel := context.WithDeadline(attempts, began.Add(o.AttemptTimeout))
	defer cancel()
	at := time.Now()
	answer, err := l.receiver.Notify(ctx, d)
	a := alert.Attempt{Delivery: d, At: at, Latency: time.Since(at), StatusCode: answer.StatusCode}
	switch {
	case err == nil:
		l.health.taken(ctx, a)
	case attempts.Err() != nil:
		a.Error = "cut short: Tokiflow was stopped" // due at once: nothing is wrong with the receiver
	default:
		a.Error = clean(err.Error())
		a.RetryIn = retryIn(d.Attempt, answer, rand.Float64()) //nolint:gosec // spreads load: no secret depends on it
		l.health.failed(ctx, a)
	}
	l.record(records, a, began.Add(o.AttemptTimeout+leaseMargin))
}

// record writes the attempt down, trying until the lease is over: from then on the delivery is due again, whoever
// claims it, and is sent once more if it was taken.
func (l *lane) record(records context.Context, a alert.Attempt, leaseEnd time.Time) {
	ctx, cancel := context.WithDeadline(records, leaseEnd)
	defer cancel()
	log := l.relay.log.With("receiver", a.Receiver, "org", a.Org, "incident", a.Incident, "type", a.Type, "attempt", a.Attempt)
	for try := 1; ; try++ {
		due, err := l.relay.o.Store.RecordAttempt(ctx, a)
		if err == nil {
			if due > 0 {
				loop.Poke(l.wake)
				loop.Poke(l.peer.wake)
			}
			log.DebugContext(ctx, "attempt at a notification", "status_code", a.StatusCode, "error", a.Error, "latency", a.Latency)
			return
		}
		if ctx.Err() != nil {
			log.ErrorContext(ctx, "an attempt at a notification could not be written down; the notification is sent again",
				"taken", a.Taken(), "error", err)
			return
		}
		loop.Pause(ctx, min(100*time.Millisecond<<min(try, 6), time.Second), nil)
	}
}

// clean makes an error's text fit to be stored: valid UTF-8, without control characters, not endless.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
