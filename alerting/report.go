package alerting

import (
	"context"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
)

const (
	tolerated     = time.Minute      // how old a waiting alert gets before the log speaks of it
	remindEvery   = time.Minute      // how often the log speaks of alerts that are not taken
	remindOrphans = 30 * time.Minute // and of those that wait for a receiver that is gone
)

// report counts what waits, for the metrics, and speaks up in the log.
func (r *Relay) report(ctx context.Context) {
	streak := streak{log: r.log, what: "waiting alerts cannot be counted"}
	told := map[string]time.Time{}
	for ctx.Err() == nil {
		backlogs, err := r.o.Store.Backlogs(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			streak.failed(err)
		default:
			streak.succeeded()
			r.metrics.backlog(backlogs)
			for _, b := range backlogs {
				r.remind(ctx, told, b, time.Now())
			}
		}
		loop.Pause(ctx, r.o.ReportInterval, nil)
	}
}

// remind logs what is wrong with a receiver's backlog, not too often. told holds when that was done last.
func (r *Relay) remind(ctx context.Context, told map[string]time.Time, b alert.Backlog, now time.Time) {
	every, at := remindEvery, slices.Index(r.names, b.Receiver)
	if at < 0 {
		every = remindOrphans
	}
	age := now.Sub(b.Oldest)
	if b.Waiting == 0 || age < tolerated && at >= 0 || now.Sub(told[b.Receiver]) < every {
		return
	}
	told[b.Receiver] = now
	log := r.log.With("receiver", b.Receiver, "waiting", b.Waiting, "oldest", age.Round(time.Second))
	if at < 0 {
		log.WarnContext(ctx, "alerts wait for a receiver that is not configured any more: configure it again, or delete them (docs/webhooks.md)")
		return
	}
	lastError, inARow := r.lanes[2*at].health.last()
	log.ErrorContext(ctx, "alerts are not taken by the receiver; they are tried until they are",
		"retrying", b.Retrying, "attempts", b.Attempts, "failures_in_a_row", inARow, "last_error", lastError)
}
