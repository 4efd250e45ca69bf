package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
)

// The most instants that are read at once while a forward catches up. More would be quicker still, but a step that is begun again
// sends its first instants twice, and a receiver that takes samples in order only refuses those.
const longestStep = 20

// worker does the work on one forward, in one goroutine.
type worker struct {
	f        *Forwarder
	claim    *forward.Claim
	log      *slog.Logger
	position atomic.Int64 // milliseconds
	speaker  speaker
	sender   *sender
	instants int // of the next step
	failures int // in a row
}

func newWorker(f *Forwarder, c *forward.Claim) *worker {
	w := &worker{
		f: f, claim: c, instants: 1,
		log: f.o.Logger.With("organisation", c.Org.String(), "forward", c.Name, "kind", string(c.Config.Kind)),
	}
	w.moveTo(c.Status.Position.Truncate(c.Config.Interval)) // an interval divides a day, so this is the grid since 1970
	return w
}

func (w *worker) at() time.Time      { return time.UnixMilli(w.position.Load()).UTC() }
func (w *worker) moveTo(t time.Time) { w.position.Store(t.UnixMilli()) }

// run works until ctx ends or the claim is lost.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := w.once(ctx)
		switch {
		case err == nil:
			w.failures = 0
		case errors.Is(err, forward.ErrLost) || ctx.Err() != nil:
			return
		default:
			if wait = w.failed(ctx, err); wait < 0 {
				return
			}
		}
		sleep(ctx, wait)
	}
}

// once does one step, if there is one to do, and returns how long there is none.
func (w *worker) once(ctx context.Context) (time.Duration, error) {
	if w.speaker == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	horizon, err := w.f.horizon.get(ctx)
	if err != nil {
		return 0, fmt.Errorf("how far the monitors are judged is not known: %w", err)
	}
	interval := w.claim.Config.Interval
	last := horizon.Truncate(interval)
	if err := w.skip(ctx, last); err != nil {
		return 0, err
	}
	from := w.at()
	if !last.After(from) {
		return w.f.o.Poll, nil
	}
	to := from.Add(time.Duration(w.instants) * interval)
	if to.After(last) {
		to = last
	}
	if err := w.step(ctx, from, to); err != nil {
		return 0, err
	}
	w.moveTo(to)
	w.instants = min(2*w.instants, longestStep)
	return 0, nil
}

// open reads the secret and makes what speaks to the receiver.
func (w *worker) open() error {
	plain, err := w.f.o.Secrets.Open(w.claim.Sealed, forward.About(w.claim.Org, w.claim.Name))
	if err != nil {
		return fmt.Errorf("the secret cannot be read: %w", err)
	}
	var secret forward.Secret
	if err := json.Unmarshal(plain, &secret); err != nil {
		return errors.New("the secret cannot be read: it is not what was written") // err could tell of it
	}
	w.speaker = newSpeaker(&w.claim.Config)
	w.sender = newSender(w.f, &w.claim.Config, &secret)
	return nil
}

// skip leaves out what is too old to be sent.
func (w *worker) skip(ctx context.Context, last time.Time) error {
	interval := w.claim.Config.Interval
	earliest := w.f.o.Clock().Add(-w.claim.Config.Kind.Reach()).Truncate(interval)
	if earliest.After(last) {
		earliest = last
	}
	left := earliest.Sub(w.at())
	if left <= 0 {
		return nil
	}
	err := w.f.o.Store.AdvanceForward(ctx, w.claim.Org, w.claim, forward.Step{
		To: earliest, Skipped: left, Error: fmt.Sprintf("%v until %s were left out: it is too long ago", left, earliest.Format(time.RFC3339)),
	})
	if err != nil {
		return err
	}
	w.log.WarnContext(ctx, "forward: time is left out, it is too long ago", "from", w.at(), "to", earliest)
	w.f.metrics.skipped.WithLabelValues(string(w.claim.Config.Kind)).Add(left.Seconds())
	w.moveTo(earliest)
	return nil
}

// step sends the instants after from up to to, and then writes down that it has.
func (w *worker) step(ctx context.Context, from, to time.Time) error {
	done := forward.Step{To: to}
	err := w.f.o.Source.Samples(ctx, w.claim.Org, w.speaker.begin(from, to), to, w.claim.Config.Interval, func(list []series.Series) error {
		return w.speaker.add(list, func() error { return w.flush(ctx, &done) })
	})
	if err == nil {
		err = w.flush(ctx, &done)
	}
	if err != nil {
		return err
	}
	return w.f.o.Store.AdvanceForward(ctx, w.claim.Org, w.claim, done)
}

// flush sends what has been gathered.
func (w *worker) flush(ctx context.Context, done *forward.Step) error {
	body, samples, err := w.speaker.take()
	if err != nil || samples == 0 {
		return err
	}
	refused, err := w.sender.send(ctx, body)
	if err != nil {
		return err
	}
	kind := string(w.claim.Config.Kind)
	if refused == "" {
		done.Sent += int64(samples)
		w.f.metrics.sent.WithLabelValues(kind).Add(float64(samples))
		return nil
	}
	if done.Error == "" {
		w.log.WarnContext(ctx, "forward: samples are refused", "samples", samples, "to", done.To, "error", refused)
	}
	done.Rejected += int64(samples)
	done.Error = refused
	w.f.metrics.rejected.WithLabelValues(kind).Add(float64(samples))
	return nil
}

// failed writes down why it does not go on, and returns how long to wait; below 0: for ever.
func (w *worker) failed(ctx context.Context, err error) time.Duration {
	w.instants = 1
	w.failures++
	wait := backoff(max(w.f.o.Pause, w.f.o.Patience/4), w.failures, 5*time.Minute)
	text := "something went wrong on our side; it is in the server's log"
	if a, ok := errors.AsType[*awayError](err); ok {
		wait, text = max(wait, a.after), a.text
	} else {
		w.log.WarnContext(ctx, "forward: a step failed", "error", err)
	}
	if errors.Is(w.f.o.Store.FailForward(ctx, w.claim.Org, w.claim, text), forward.ErrLost) {
		return -1
	}
	return wait
}

// backoff grows with the failures in a row, up to the most, and differs from one forward to the next by a fifth.
func backoff(first time.Duration, failures int, most time.Duration) time.Duration {
	d := most
	if failures < 20 {
		d = min(first<<(failures-1), most)
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // spreading requests is no secret
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
