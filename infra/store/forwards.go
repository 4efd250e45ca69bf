package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// PutForward makes the forward, or replaces what was said of it and ends its claim; what was sent stays counted. The error is
// forward.ErrTooMany where the organisation has forward.Most others.
func (s *Store) PutForward(ctx context.Context, org tenant.OrgID, f forward.Forward) (created bool, err error) {
	config, err := json.Marshal(f.Config)
	if err != nil {
		return false, fmt.Errorf("store: put forward: %w", err)
	}
	hints, err := json.Marshal(f.Hints)
	if err != nil {
		return false, fmt.Errorf("store: put forward: %w", err)
	}
	created, err = s.q.PutForward(ctx, db.PutForwardParams{
		OrgID: org, Name: f.Name, Kind: string(f.Config.Kind), Config: config, Hints: hints, Sealed: f.Sealed, Most: forward.Most,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, forward.ErrTooMany
	}
	return created, wrap("put forward", err)
}

// Forward returns a forward without its secret.
func (s *Store) Forward(ctx context.Context, org tenant.OrgID, name string) (forward.Forward, error) {
	if name == "" {
		return forward.Forward{}, ErrNotFound
	}
	list, err := s.forwards(ctx, org, name)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return forward.Forward{}, err
	}
	return list[0], nil
}

// Forwards returns the organisation's forwards by name, without their secrets.
func (s *Store) Forwards(ctx context.Context, org tenant.OrgID) ([]forward.Forward, error) {
	return s.forwards(ctx, org, "")
}

func (s *Store) forwards(ctx context.Context, org tenant.OrgID, name string) ([]forward.Forward, error) {
	rows, err := s.q.Forwards(ctx, db.ForwardsParams{OrgID: org, Name: name})
	if err != nil {
		return nil, wrap("forwards", err)
	}
	out := make([]forward.Forward, len(rows))
	for i, r := range rows {
		f := forward.Forward{
			Org: r.OrgID, Name: r.Name, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
			Status: forward.Status{
				Position: r.Position, SentAt: orZero(r.SentAt), Error: r.Error, ErrorAt: orZero(r.ErrorAt),
				Sent: r.Sent, Rejected: r.Rejected, FailedTries: r.FailedTries,
				Skipped: time.Duration(r.SkippedSeconds * float64(time.Second)),
			},
		}
		if err := errors.Join(json.Unmarshal(r.Config, &f.Config), json.Unmarshal(r.Hints, &f.Hints)); err != nil {
			return nil, fmt.Errorf("store: forward %s: %w", r.Name, err)
		}
		out[i] = f
	}
	return out, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// DeleteForward removes a forward and its secret; whoever works on it loses it.
func (s *Store) DeleteForward(ctx context.Context, org tenant.OrgID, name string) error {
	n, err := s.q.DeleteForward(ctx, db.DeleteForwardParams{OrgID: org, Name: name})
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return wrap("delete forward", err)
}

// ClaimForwards gives the holder up to limit forwards, of any organisation, that nobody works on. It keeps them while it renews them.
func (s *Store) ClaimForwards(ctx context.Context, holder uuid.UUID, limit int, lease time.Duration) ([]forward.Claim, error) {
	rows, err := s.q.ClaimForwards(ctx, db.ClaimForwardsParams{Holder: &holder, LeaseSeconds: lease.Seconds(), MaxRows: rowLimit(limit)})
	if err != nil {
		return nil, wrap("claim forwards", err)
	}
	out := make([]forward.Claim, len(rows))
	for i, r := range rows {
		c := forward.Claim{
			Forward: forward.Forward{Org: r.OrgID, Name: r.Name, Sealed: r.Sealed, Status: forward.Status{Position: r.Position}},
			Holder:  holder, Epoch: r.Epoch,
		}
		if err := json.Unmarshal(r.Config, &c.Config); err != nil {
			return nil, fmt.Errorf("store: forward %s: %w", r.Name, err)
		}
		out[i] = c
	}
	return out, nil
}

// RenewForwards makes the leases of all that the holder has new, and returns their epochs: what is missing it has lost.
func (s *Store) RenewForwards(ctx context.Context, holder uuid.UUID, lease time.Duration) (map[forward.Key]int64, error) {
	rows, err := s.q.RenewForwards(ctx, db.RenewForwardsParams{Holder: &holder, LeaseSeconds: lease.Seconds()})
	if err != nil {
		return nil, wrap("renew forwards", err)
	}
	out := make(map[forward.Key]int64, len(rows))
	for _, r := range rows {
		out[forward.Key{Org: r.OrgID, Name: r.Name}] = r.Epoch
	}
	return out, nil
}

// AdvanceForward writes down what the claim's holder has done. The error is forward.ErrLost where it is not the holder any more.
func (s *Store) AdvanceForward(ctx context.Context, org tenant.OrgID, c *forward.Claim, step forward.Step) error {
	n, err := s.q.AdvanceForward(ctx, db.AdvanceForwardParams{
		OrgID: org, Name: c.Name, Holder: &c.Holder, Epoch: c.Epoch,
		Position: step.To, Sent: step.Sent, Rejected: step.Rejected, SkippedSeconds: step.Skipped.Seconds(), Error: step.Error,
	})
	return held(n, wrap("advance forward", err))
}

// FailForward writes down why the claim's holder could not go on. The error is forward.ErrLost where it is not the holder any
// more.
func (s *Store) FailForward(ctx context.Context, org tenant.OrgID, c *forward.Claim, why string) error {
	n, err := s.q.FailForward(ctx, db.FailForwardParams{OrgID: org, Name: c.Name, Holder: &c.Holder, Epoch: c.Epoch, Error: why})
	return held(n, wrap("fail forward", err))
}

// ReleaseForward ends the claim, so that others may have the forward at once.
func (s *Store) ReleaseForward(ctx context.Context, org tenant.OrgID, c *forward.Claim) error {
	return wrap("release forward", s.q.ReleaseForward(ctx, db.ReleaseForwardParams{OrgID: org, Name: c.Name, Holder: &c.Holder, Epoch: c.Epoch}))
}

func held(rows int64, err error) error {
	if err == nil && rows == 0 {
		return forward.ErrLost
	}
	return err
}
