package store

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// HoldMail adds what was not told to what is held for the same group, integration and reason; h.ID becomes that of what there was.
// Nothing is held for an address that wants nothing.
func (s *Store) HoldMail(ctx context.Context, org tenant.OrgID, h *recipient.Held) error {
	return s.inTx(ctx, "hold mail", func(q *db.Queries) error {
		r, err := q.LockRecipient(ctx, db.LockRecipientParams{OrgID: org, Address: h.Address})
		if err != nil {
			return err
		}
		if r.RemovedAt != nil || r.UnsubscribedAt != nil {
			return nil
		}
		if h.DueAt.IsZero() && r.VerifiedAt != nil { // verified while the alert was on its way
			h.DueAt = h.HeldAt
		}
		if err := hold(ctx, q, org, h); err != nil || h.DueAt.IsZero() {
			return err
		}
		return q.HastenRecipient(ctx, db.HastenRecipientParams{OrgID: org, Address: h.Address, DueAt: h.DueAt})
	})
}

// hold inserts or merges, under the recipient's lock.
func hold(ctx context.Context, q *db.Queries, org tenant.OrgID, h *recipient.Held) error {
	old, err := q.HeldOfGroup(ctx, db.HeldOfGroupParams{
		OrgID: org, Address: h.Address, GroupKey: h.GroupKey, Receiver: h.Via.Receiver, Integration: h.Index, Reason: string(h.Reason),
	})
	fresh := errors.Is(err, pgx.ErrNoRows)
	if err != nil && !fresh {
		return err
	}
	if !fresh {
		was, err := heldOf(old)
		if err != nil {
			return err
		}
		more := 0
		h.ID, h.HeldAt, h.Message = was.ID, was.HeldAt, nil // two messages are told as one, of what is last known
		h.Alerts, more = recipient.Merge(was.Alerts, h.Alerts)
		h.More += was.More + more
		if !was.DueAt.IsZero() && (h.DueAt.IsZero() || was.DueAt.Before(h.DueAt)) {
			h.DueAt = was.DueAt
		}
	}
	alerts, err := json.Marshal(h.Alerts)
	if err != nil {
		return fmt.Errorf("store: hold mail: %w", err)
	}
	var message []byte
	if h.Message != nil {
		if message, err = json.Marshal(h.Message); err != nil {
			return fmt.Errorf("store: hold mail: %w", err)
		}
	}
	if !fresh {
		return q.UpdateHeld(ctx, db.UpdateHeldParams{
			OrgID: org, ID: h.ID, Kind: h.Via.Kind, Sender: h.Via.Sender, Why: h.Why, DueAt: orNull(h.DueAt), Alerts: alerts,
			More: count32(h.More), Message: message,
		})
	}
	labels, err := json.Marshal(h.Group)
	if err != nil {
		return fmt.Errorf("store: hold mail: %w", err)
	}
	return q.InsertHeld(ctx, db.InsertHeldParams{
		ID: h.ID, OrgID: org, Address: h.Address, Receiver: h.Via.Receiver, Kind: h.Via.Kind, Sender: h.Via.Sender, Integration: h.Index,
		GroupKey: h.GroupKey, GroupLabels: labels, Reason: string(h.Reason), Why: h.Why, HeldAt: h.HeldAt, DueAt: orNull(h.DueAt),
		Alerts: alerts, More: count32(h.More), Message: message,
	})
}

func heldOf(r db.HeldMail) (recipient.Held, error) {
	h := recipient.Held{
		ID: r.ID, Address: r.Address, Version: r.Version, Via: recipient.Via{Receiver: r.Receiver, Kind: r.Kind, Sender: r.Sender}, Index: r.Integration,
		GroupKey: r.GroupKey, Reason: recipient.Reason(r.Reason), Why: r.Why, HeldAt: r.HeldAt, DueAt: orZero(r.DueAt), More: int(r.More),
	}
	err := errors.Join(json.Unmarshal(r.Alerts, &h.Alerts), json.Unmarshal(r.GroupLabels, &h.Group))
	if r.Message != nil {
		h.Message = &mail.Message{}
		err = errors.Join(err, json.Unmarshal(r.Message, h.Message))
	}
	if err != nil {
		return h, fmt.Errorf("store: held mail: %w", err)
	}
	return h, nil
}

// HeldMails returns what is held for an address, the oldest first.
func (s *Store) HeldMails(ctx context.Context, org tenant.OrgID, address string) ([]recipient.Held, error) {
	return heldMails(ctx, s.q, org, address)
}

func heldMails(ctx context.Context, q *db.Queries, org tenant.OrgID, address string) ([]recipient.Held, error) {
	rows, err := q.HeldMails(ctx, db.HeldMailsParams{OrgID: org, Address: address})
	if err != nil {
		return nil, wrap("held mails", err)
	}
	out := make([]recipient.Held, len(rows))
	for i, r := range rows {
		if out[i], err = heldOf(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ClaimRecipients gives up to limit recipients, of any organisation but the busy ones, for whom there is something to send, to one
// caller for the lease.
func (s *Store) ClaimRecipients(
	ctx context.Context, limit int, at time.Time, lease time.Duration, busy ...tenant.OrgID,
) ([]recipient.Recipient, error) {
	orgs := make([]uuid.UUID, len(busy))
	for i, org := range busy {
		orgs[i] = org.UUID
	}
	rows, err := s.q.ClaimRecipients(ctx, db.ClaimRecipientsParams{At: at, Until: at.Add(lease), Busy: orgs, MaxRows: rowLimit(limit)})
	if err != nil {
		return nil, wrap("claim recipients", err)
	}
	out := make([]recipient.Recipient, len(rows))
	for i, r := range rows {
		if out[i], err = recipientOf(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// FinishRecipient ends a claim, and says what came of it.
func (s *Store) FinishRecipient(ctx context.Context, org tenant.OrgID, address string, done recipient.Done) error {
	return s.inTx(ctx, "finish recipient", func(q *db.Queries) error {
		r, err := q.LockRecipient(ctx, db.LockRecipientParams{OrgID: org, Address: address})
		if err != nil {
			return err
		}
		for _, h := range done.Told {
			if err := q.DeleteHeld(ctx, db.DeleteHeldParams{OrgID: org, ID: h.ID, Version: h.Version}); err != nil {
				return err
			}
		}
		for _, h := range done.Later {
			if err := q.RescheduleHeld(ctx, db.RescheduleHeldParams{OrgID: org, ID: h.ID, DueAt: h.DueAt}); err != nil {
				return err
			}
		}
		p := db.FinishRecipientParams{OrgID: org, Address: address, AskDue: r.AskDue, AskedAt: r.AskedAt, Asks: r.Asks}
		if done.Asked {
			p.AskedAt, p.Asks = &done.At, r.Asks+1
		}
		if done.Asked || done.Drop {
			p.AskDue = nil
		}
		if p.DueAt, err = nextDue(ctx, q, org, address, p.AskDue); err != nil {
			return err
		}
		if done.Error != "" {
			p.Error, p.ErrorAt, p.Tries = done.Error, &done.At, r.Tries+1
			if p.DueAt != nil && p.DueAt.Before(done.Again) {
				p.DueAt = &done.Again
			}
		}
		return q.FinishRecipient(ctx, p)
	})
}

// nextDue is when there is something to send: a verification mail, or the first of what is held.
func nextDue(ctx context.Context, q *db.Queries, org tenant.OrgID, address string, ask *time.Time) (*time.Time, error) {
	held, err := q.NextHeld(ctx, db.NextHeldParams{OrgID: org, Address: address})
	if errors.Is(err, pgx.ErrNoRows) {
		return ask, nil
	}
	if err != nil {
		return nil, err
	}
	if ask != nil && ask.Before(held) {
		return ask, nil
	}
	return &held, nil
}

// ExpireHeld removes what was kept for addresses that were not verified, since before the instant: up to limit, of any organisation.
func (s *Store) ExpireHeld(ctx context.Context, before time.Time, limit int) ([]recipient.Expired, error) {
	rows, err := s.q.ExpireHeld(ctx, db.ExpireHeldParams{Before: before, MaxRows: rowLimit(limit)})
	if err != nil {
		return nil, wrap("expire held", err)
	}
	out := make([]recipient.Expired, len(rows))
	for i, r := range rows {
		out[i].Org = r.OrgID
		if out[i].Held, err = heldOf(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// EndedAlerts tells which of the alerts fire no more, and which of the incidents were resolved.
func (s *Store) EndedAlerts(
	ctx context.Context, org tenant.OrgID, fingerprints []string, incidents []uuid.UUID, at time.Time,
) (recipient.Ended, error) {
	out := recipient.Ended{ByFingerprint: map[string]time.Time{}, ByIncident: map[uuid.UUID]time.Time{}}
	alerts, err := s.q.EndedAlerts(ctx, db.EndedAlertsParams{OrgID: org, Fingerprints: fingerprints, At: at})
	if err != nil {
		return out, wrap("ended alerts", err)
	}
	for _, a := range alerts {
		out.ByFingerprint[a.Fingerprint] = orZero(a.EndsAt)
	}
	resolved, err := s.q.EndedIncidents(ctx, db.EndedIncidentsParams{OrgID: org, Ids: incidents})
	if err != nil {
		return out, wrap("ended incidents", err)
	}
	for _, i := range resolved {
		out.ByIncident[i.ID] = orZero(i.ResolvedAt)
	}
	return out, nil
}

// SetToken stores the hash of the token about to be mailed. false: the organisation has asked recipient.MaxAsksPerDay other addresses
// within a day.
func (s *Store) SetToken(ctx context.Context, org tenant.OrgID, address string, hash []byte, at time.Time) (ok bool, err error) {
	err = s.inTx(ctx, "set token", func(q *db.Queries) error {
		if err := q.LockRecipients(ctx, org); err != nil {
			return err
		}
		n, err := q.CountAsked(ctx, db.CountAskedParams{OrgID: org, Address: address, Since: at.Add(-24 * time.Hour)})
		if err != nil || n >= recipient.MaxAsksPerDay {
			return err
		}
		ok = true
		return q.SetToken(ctx, db.SetTokenParams{OrgID: org, Address: address, TokenHash: hash, ExpiresAt: orNull(at.Add(recipient.TokenLife))})
	})
	return ok, err
}

// RecipientByID returns a recipient.
func (s *Store) RecipientByID(ctx context.Context, org tenant.OrgID, id uuid.UUID) (recipient.Recipient, error) {
	r, err := s.q.RecipientByID(ctx, db.RecipientByIDParams{OrgID: org, ID: id})
	if err != nil {
		return recipient.Recipient{}, wrap("recipient", err)
	}
	return recipientOf(r)
}

// VerifyRecipient verifies an address where the hash is that of its token, which then works no more. What was kept for it becomes due.
func (s *Store) VerifyRecipient(ctx context.Context, org tenant.OrgID, id uuid.UUID, hash []byte, at time.Time) (out recipient.Recipient, err error) {
	err = s.inTx(ctx, "verify recipient", func(q *db.Queries) error {
		r, err := q.LockRecipientByID(ctx, db.LockRecipientByIDParams{OrgID: org, ID: id})
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(r.TokenHash, hash) != 1 || r.TokenExpiresAt == nil || !at.Before(*r.TokenExpiresAt) {
			return ErrNotFound
		}
		if err := q.VerifyRecipient(ctx, db.VerifyRecipientParams{OrgID: org, ID: id, At: at}); err != nil {
			return err
		}
		if err := q.ReleaseHeld(ctx, db.ReleaseHeldParams{OrgID: org, Address: r.Address, At: at}); err != nil {
			return err
		}
		out, err = recipientOf(r)
		out.VerifiedAt, out.UnsubscribedAt = at, time.Time{}
		return err
	})
	return out, err
}

// UnsubscribeRecipient ends all mails to an address, and returns what was held for it.
func (s *Store) UnsubscribeRecipient(ctx context.Context, org tenant.OrgID, id uuid.UUID, at time.Time) (held []recipient.Held, err error) {
	err = s.inTx(ctx, "unsubscribe recipient", func(q *db.Queries) error {
		r, err := q.LockRecipientByID(ctx, db.LockRecipientByIDParams{OrgID: org, ID: id})
		if err != nil || r.UnsubscribedAt != nil {
			return err
		}
		if held, err = heldMails(ctx, q, org, r.Address); err != nil {
			return err
		}
		if err := q.DeleteAllHeld(ctx, db.DeleteAllHeldParams{OrgID: org, Address: r.Address}); err != nil {
			return err
		}
		return q.UnsubscribeRecipient(ctx, db.UnsubscribeRecipientParams{OrgID: org, ID: id, At: at})
	})
	return held, err
}
