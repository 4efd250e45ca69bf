package store

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// drainPage is how many waiting monitors one look at the queue finds.
const drainPage = 200

// DrainControls moves queued changes into the log by way of appendTo, which returns once a record is durable: those of
// one monitor, or with nil of every monitor that nobody else is draining at the moment. It returns how many it moved.
//
// A monitor's changes are appended in the order in which they were committed, deleted and announced to WatchTargets in one
// transaction, and one drainer at a time works on a monitor. An error of appendTo leaves all changes of that monitor in
// the queue; those already appended will be appended again, and the evaluator knows them by their version. With nil the
// other monitors are still tried, and the errors come joined.
func (s *Store) DrainControls(ctx context.Context, monitor *uuid.UUID, appendTo func(context.Context, record.Control) error) (int, error) {
	if monitor != nil {
		return s.drainOne(ctx, *monitor, true, appendTo)
	}
	var errs []error
	total, after := 0, int64(0)
	for {
		waiting, err := s.q.QueuedMonitors(ctx, db.QueuedMonitorsParams{After: after, MaxRows: drainPage})
		if err != nil {
			return total, wrap("drain controls", errors.Join(append(errs, err)...))
		}
		for _, w := range waiting {
			after = w.FirstID
			n, err := s.drainOne(ctx, w.MonitorID, false, appendTo)
			total += n
			if err != nil {
				errs = append(errs, err)
			}
			if ctx.Err() != nil {
				return total, errors.Join(errs...)
			}
		}
		if len(waiting) < drainPage {
			return total, errors.Join(errs...)
		}
	}
}

// drainOne moves the changes of one monitor. Without wait, a monitor that another drainer holds is passed over.
func (s *Store) drainOne(ctx context.Context, monitor uuid.UUID, wait bool, appendTo func(context.Context, record.Control) error) (int, error) {
	n := 0
	err := s.inTx(ctx, "drain controls", func(q *db.Queries) error {
		locked, err := lockControls(ctx, q, monitor, wait)
		if err != nil || !locked {
			return err
		}
		rows, err := q.QueuedControls(ctx, monitor)
		if err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]int64, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
			c := record.Control{Org: r.OrgID, Monitor: r.MonitorID, Action: record.Action(r.Action), Version: r.Version, Config: r.Payload}
			if err := appendTo(ctx, c); err != nil {
				return err
			}
		}
		if err := q.DeleteControls(ctx, db.DeleteControlsParams{MonitorID: monitor, Ids: ids}); err != nil {
			return err
		}
		n = len(rows)
		return q.NotifyTarget(ctx, monitor.String())
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func lockControls(ctx context.Context, q *db.Queries, monitor uuid.UUID, wait bool) (bool, error) {
	if wait {
		return true, q.LockControls(ctx, monitor.String())
	}
	return q.TryLockControls(ctx, monitor.String())
}
