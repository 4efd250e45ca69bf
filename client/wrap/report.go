package wrap

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tokiflow/tokiflow/client"
)

// reporter sends the start ping of a run in the background, then its finish. The finish never overtakes the start.
type reporter struct {
	sender  Sender
	out     *tail
	ctx     context.Context //nolint:containedctx // both pings belong to one run: its end is theirs
	abandon context.CancelFunc
	settle  context.CancelFunc // ends the repeating of the start, not the attempt under way
	settled chan struct{}      // closed when no start will be sent any more
}

// report begins to send start. It is repeated until the server takes or refuses it, or until finish is called.
func report(ctx context.Context, s Sender, start client.Ping, out *tail) *reporter {
	r := &reporter{sender: s, out: out, settled: make(chan struct{})}
	ctx, r.abandon = context.WithCancel(ctx)
	r.ctx = ctx
	repeat, settle := context.WithCancel(ctx)
	r.settle = settle
	go func() {
		defer close(r.settled)
		pace := backoff.NewExponentialBackOff()
		pace.InitialInterval, pace.MaxInterval = 500*time.Millisecond, time.Minute
		answer, err := backoff.Retry(repeat, func() (client.Answer, error) {
			a, err := s.Once(ctx, start)
			if errors.Is(err, client.ErrRefused) {
				err = backoff.Permanent(err)
			}
			return a, err
		}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(0))
		if err == nil {
			out.setLimit(answer.BodyLimit)
		}
	}()
	return r
}

// finish waits for the attempt at the start that is under way, if any, and sends p with the tail of the output. The
// start's own failure is not told: the finish says all that it would have said but when the run began.
func (r *reporter) finish(p client.Ping) error {
	defer r.abandon()
	r.settle()
	<-r.settled
	p.Body = r.out.bytes()
	_, err := r.sender.Send(r.ctx, p)
	if err != nil && r.ctx.Err() != nil {
		return errors.New("stopped by a signal before the server had answered")
	}
	return err
}
