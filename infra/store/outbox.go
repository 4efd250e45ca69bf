package store

import (
	"context"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// outboxChannel is notified with every transaction that writes to the outbox.
const outboxChannel = "tokiflow_outbox"

// lookAhead is how many due deliveries a look for claims goes through at a time, once those at the head were found to wait
// for earlier ones.
const lookAhead = 256

// FanOut makes a delivery to each of the receivers from up to limit outbox rows, in order, and returns how many rows it took.
// Without receivers the rows are only marked: nobody is to be told. Safe to call from many processes.
func (s *Store) FanOut(ctx context.Context, receivers []string, limit int) (int, error) {
	if receivers == nil {
		receivers = []string{}
	}
	n, err := s.q.FanOut(ctx, db.FanOutParams{MaxRows: rowLimit(limit), Receivers: receivers})
	return int(n), wrap("fan out alerts", err)
}

// ClaimDeliveries leases up to limit deliveries to the receiver that are due: the first attempts or, with retries, the
// others. Nobody else gets them before the lease is over; an attempt is counted for each. A delivery waits while an earlier one
// of its incident has not been taken by the same receiver.
func (s *Store) ClaimDeliveries(ctx context.Context, receiver string, retries bool, limit int, lease time.Duration) ([]alert.Delivery, error) {
	look := limit
	for {
		out, looked, err := s.claim(ctx, receiver, retries, look, limit, lease)
		if err != nil || len(out) > 0 || looked < look {
			return out, err
		}
		// All that was looked at waits for earlier ones and has been put off: what comes behind it may not.
		look = max(limit, lookAhead)
	}
}

// claim goes through up to look due deliveries and leases up to limit of them.
func (s *Store) claim(ctx context.Context, receiver string, retries bool, look, limit int, lease time.Duration) (out []alert.Delivery, looked int, err error) {
	err = s.inTx(ctx, "claim deliveries", func(q *db.Queries) error {
		ids, err := q.LockDueDeliveries(ctx, db.LockDueDeliveriesParams{Receiver: receiver, Retries: retries, MaxRows: rowLimit(look)})
		looked = len(ids)
		if err != nil || looked == 0 {
			return err
		}
		rows, err := q.ClaimDeliveries(ctx, db.ClaimDeliveriesParams{Ids: ids, LeaseSeconds: lease.Seconds(), MaxRows: rowLimit(limit)})
		for _, r := range rows {
			out = append(out, alert.Delivery{
				ID: r.ID, Outbox: r.OutboxID, Org: r.OrgID, Incident: r.IncidentID, Receiver: r.Receiver,
				Type: r.Type, Payload: r.Payload, CreatedAt: r.CreatedAt, Attempt: int(r.Attempts),
			})
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return out, looked, nil
}

// RecordAttempt writes the attempt down and marks its delivery taken or, RetryIn from now, due again. It returns how many
// deliveries became due because they had waited for this one. A delivery that has been removed is no error.
func (s *Store) RecordAttempt(ctx context.Context, a alert.Attempt) (int, error) {
	var status *int32
	if a.StatusCode != 0 {
		code := int32(a.StatusCode) // three digits
		status = &code
	}
	attempt := int32(min(a.Attempt, 1<<30))
	if !a.Taken() {
		err := s.q.RecordNotTaken(ctx, db.RecordNotTakenParams{
			OrgID: a.Org, ID: a.ID, Attempt: attempt, At: a.At, StatusCode: status, Error: a.Error,
			LatencySeconds: a.Latency.Seconds(), RetryInSeconds: a.RetryIn.Seconds(),
		})
		return 0, wrap("record attempt", err)
	}
	if _, err := s.q.RecordTaken(ctx, db.RecordTakenParams{
		OrgID: a.Org, ID: a.ID, Attempt: attempt, At: a.At, StatusCode: status, LatencySeconds: a.Latency.Seconds(),
	}); err != nil {
		return 0, wrap("record attempt", err)
	}
	n, err := s.q.ReleaseWaiting(ctx, db.ReleaseWaitingParams{OrgID: a.Org, ID: a.ID})
	return int(n), wrap("release what waited", err)
}

// Backlogs returns what no receiver has taken yet, by receiver, of all that anything waits for.
func (s *Store) Backlogs(ctx context.Context) ([]alert.Backlog, error) {
	rows, err := s.q.Backlogs(ctx)
	if err != nil {
		return nil, wrap("backlogs", err)
	}
	out := make([]alert.Backlog, len(rows))
	for i, r := range rows {
		out[i] = alert.Backlog{
			Receiver: r.Receiver, Waiting: int(r.Waiting), Retrying: int(r.Retrying), Attempts: int(r.Attempts), Oldest: r.OldestAt,
		}
	}
	return out, nil
}

// PruneOutbox removes up to limit outbox rows that are older than age, taken by every receiver and fed to alerting, with their
// deliveries and attempts, the oldest first, and returns how many it removed.
func (s *Store) PruneOutbox(ctx context.Context, age time.Duration, limit int) (int, error) {
	n, err := s.q.PruneOutbox(ctx, db.PruneOutboxParams{AgeSeconds: age.Seconds(), MaxRows: rowLimit(limit)})
	return int(n), wrap("prune the outbox", err)
}

// ListenOutbox calls wake once it hears of new outbox rows, and then whenever there may be some. It holds one connection
// of its own. It returns ctx's error when ctx ends and another when the connection is lost; wake is called from this
// goroutine only and must not block.
func (s *Store) ListenOutbox(ctx context.Context, wake func()) error {
	return s.listen(ctx, "listen for alerts", outboxChannel, func(string) { wake() })
}
