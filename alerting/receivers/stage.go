package receivers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

// resender is a notifier whose receiver forgets alerts that it does not hear of for a while.
type resender interface {
	// Resend sends what fires again where that is due.
	Resend(ctx context.Context, alerts ...*amalert.Alert) (sent bool, err error)
}

// resend are the resenders of one receiver.
type resend struct {
	timeout time.Duration
	to      []target
}

type target struct {
	resender
	attempts *attempts
}

func newResend(list []built) *resend {
	var out *resend
	for _, b := range list {
		if again, ok := b.attempts.next.(resender); ok {
			if out == nil {
				out = &resend{timeout: b.attempts.timeout}
			}
			out.to = append(out.to, target{again, b.attempts})
		}
	}
	return out
}

// Stage is to be put behind everything that mutes and before what asks the notification log. A group is flushed once an interval, whether
// there is something new or not; what then fires is sent again to other Alertmanagers, where the last time was long enough ago. So nothing
// runs between flushes, nothing has to be stopped, and a restart or another owner goes on with the first flush. It is done beside the
// notifications, which may take all the time of the flush; at a group's first the alerts may go there twice, which changes nothing.
func (r *Receivers) Stage(next notify.Stage) notify.Stage {
	return notify.StageFunc(func(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
		name, _ := notify.ReceiverName(ctx)
		r.mu.Lock()
		again := r.resends[name]
		r.mu.Unlock()
		if again == nil {
			return next.Exec(ctx, l, alerts...)
		}
		var beside sync.WaitGroup
		beside.Go(func() { again.send(ctx, alerts) })
		defer beside.Wait()
		return next.Exec(ctx, l, alerts...)
	})
}

// send sends to all targets at once. What goes wrong is counted and logged: the next flush tries again.
func (r *resend) send(ctx context.Context, alerts []*amalert.Alert) {
	var firing []*amalert.Alert
	for _, a := range alerts {
		if !a.Resolved() {
			firing = append(firing, a)
		}
	}
	if len(firing) == 0 {
		return
	}
	var wait sync.WaitGroup
	for _, to := range r.to {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, r.timeout)
			defer cancel()
			leave, err := to.attempts.turn(ctx)
			if err != nil {
				to.attempts.log.metrics.resends.WithLabelValues("failed").Inc()
				return // the next flush tries again
			}
			defer leave()
			sent, err := to.Resend(ctx, firing...)
			switch {
			case err != nil:
				to.attempts.log.metrics.resends.WithLabelValues("failed").Inc()
				to.attempts.logger.WarnContext(ctx, "alerting: firing alerts could not be sent again", "error", to.attempts.describe(ctx, err))
			case sent:
				to.attempts.log.metrics.resends.WithLabelValues("delivered").Inc()
			}
		})
	}
	wait.Wait()
}
