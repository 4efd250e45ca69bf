package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// ErrTooManyRecipients refuses an address more.
var ErrTooManyRecipients = fault.New(fault.Conflict,
	fmt.Sprintf("the organisation has %d recipients, which is the most there may be: delete some", recipient.MaxRecipients))

// Recipients returns the organisation's recipients by address.
func (s *Store) Recipients(ctx context.Context, org tenant.OrgID) ([]recipient.Recipient, error) {
	return recipients(ctx, s.q, org, nil)
}

// Recipient returns the one of an address.
func (s *Store) Recipient(ctx context.Context, org tenant.OrgID, address string) (recipient.Recipient, error) {
	list, err := recipients(ctx, s.q, org, []string{address})
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return recipient.Recipient{}, err
	}
	return list[0], nil
}

func recipients(ctx context.Context, q *db.Queries, org tenant.OrgID, addresses []string) ([]recipient.Recipient, error) {
	if addresses == nil {
		addresses = []string{}
	}
	rows, err := q.Recipients(ctx, db.RecipientsParams{OrgID: org, Addresses: addresses})
	if err != nil {
		return nil, wrap("recipients", err)
	}
	out := make([]recipient.Recipient, len(rows))
	for i, r := range rows {
		one, err := recipientOf(db.Recipient{
			OrgID: r.OrgID, Address: r.Address, ID: r.ID, CreatedAt: r.CreatedAt, VerifiedAt: r.VerifiedAt, UnsubscribedAt: r.UnsubscribedAt,
			AskedAt: r.AskedAt, Asks: r.Asks, AskDue: r.AskDue, Receiver: r.Receiver, Kind: r.Kind, Sender: r.Sender, Preferences: r.Preferences,
			Error: r.Error, ErrorAt: r.ErrorAt, Tries: r.Tries,
		})
		if err != nil {
			return nil, err
		}
		one.Held = int(r.Held)
		out[i] = one
	}
	return out, nil
}

func recipientOf(r db.Recipient) (recipient.Recipient, error) {
	out := recipient.Recipient{
		Org: r.OrgID, ID: r.ID, Address: r.Address, CreatedAt: r.CreatedAt, VerifiedAt: orZero(r.VerifiedAt), UnsubscribedAt: orZero(r.UnsubscribedAt),
		AskedAt: orZero(r.AskedAt), Asks: int(r.Asks), AskDue: orZero(r.AskDue), Via: recipient.Via{Receiver: r.Receiver, Kind: r.Kind, Sender: r.Sender},
		Error: r.Error, ErrorAt: orZero(r.ErrorAt), Tries: int(r.Tries),
	}
	if err := json.Unmarshal(r.Preferences, &out.Preferences); err != nil {
		return out, fmt.Errorf("store: recipient: %w", err)
	}
	out.Preferences = out.Preferences.Normalise()
	return out, nil
}

// KnowRecipients returns the recipients of the addresses, in their order, and makes those that are missing. ask: a new one, or one that
// was removed before it was ever asked, is to be asked.
func (s *Store) KnowRecipients(
	ctx context.Context, org tenant.OrgID, addresses []string, via recipient.Via, ask bool, at time.Time,
) ([]recipient.Recipient, error) {
	list, err := recipients(ctx, s.q, org, addresses)
	if err != nil {
		return nil, err
	}
	if len(list) < len(addresses) {
		list, err = s.addRecipients(ctx, org, addresses, via, ask, at)
	} else if slices.ContainsFunc(list, func(r recipient.Recipient) bool { return r.Via != via }) {
		err = wrap("name recipients", s.q.NameRecipients(ctx, db.NameRecipientsParams{
			OrgID: org, Addresses: addresses, Receiver: via.Receiver, Kind: via.Kind, Sender: via.Sender,
		}))
	}
	if err != nil {
		return nil, err
	}
	out := make([]recipient.Recipient, 0, len(addresses))
	for _, address := range addresses {
		i := slices.IndexFunc(list, func(r recipient.Recipient) bool { return r.Address == address })
		if i < 0 {
			return nil, ErrNotFound // removed meanwhile: the next time it is made again
		}
		out = append(out, list[i])
	}
	return out, nil
}

func (s *Store) addRecipients(
	ctx context.Context, org tenant.OrgID, addresses []string, via recipient.Via, ask bool, at time.Time,
) (list []recipient.Recipient, err error) {
	err = s.inTx(ctx, "add recipients", func(q *db.Queries) error {
		if err := q.LockRecipients(ctx, org); err != nil {
			return err
		}
		for _, address := range addresses {
			if _, err := addRecipient(ctx, q, org, address, via, ask, at); err != nil {
				return err
			}
		}
		list, err = recipients(ctx, q, org, addresses)
		return err
	})
	return list, err
}

// addRecipient adds one, under the organisation's lock, where it is not there.
func addRecipient(
	ctx context.Context, q *db.Queries, org tenant.OrgID, address string, via recipient.Via, ask bool, at time.Time,
) (added bool, err error) {
	p := db.InsertRecipientParams{OrgID: org, Address: address, ID: uuid.New(), Receiver: via.Receiver, Kind: via.Kind, Sender: via.Sender}
	if ask {
		p.AskDue = &at
	}
	rows, err := q.InsertRecipient(ctx, p)
	if err != nil || rows == 0 {
		return false, err
	}
	n, err := q.CountRecipients(ctx, org)
	if err == nil && n > recipient.MaxRecipients {
		err = ErrTooManyRecipients
	}
	return true, err
}

// PutRecipient writes an address' preferences, and makes it where it is missing; it is then to be asked.
func (s *Store) PutRecipient(
	ctx context.Context, org tenant.OrgID, address string, p recipient.Preferences, at time.Time,
) (created bool, err error) {
	preferences, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("store: put recipient: %w", err)
	}
	err = s.inTx(ctx, "put recipient", func(q *db.Queries) error {
		if err := q.LockRecipients(ctx, org); err != nil {
			return err
		}
		if created, err = addRecipient(ctx, q, org, address, recipient.Via{}, true, at); err != nil {
			return err
		}
		if err := q.PutPreferences(ctx, db.PutPreferencesParams{OrgID: org, Address: address, Preferences: preferences}); err != nil {
			return err
		}
		// What is held for it may be due otherwise now.
		if _, err := q.NextHeld(ctx, db.NextHeldParams{OrgID: org, Address: address}); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		}
		return q.HastenRecipient(ctx, db.HastenRecipientParams{OrgID: org, Address: address, DueAt: at})
	})
	return created, err
}

// DeleteRecipient forgets an address: its preferences, that it was verified, and what is held for it. That it was asked, and that it
// wants nothing, is remembered: a person's no outlives the configuration.
func (s *Store) DeleteRecipient(ctx context.Context, org tenant.OrgID, address string, at time.Time) error {
	return s.inTx(ctx, "delete recipient", func(q *db.Queries) error {
		n, err := q.RemoveRecipient(ctx, db.RemoveRecipientParams{OrgID: org, Address: address, At: at})
		if err == nil && n == 0 {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return q.DeleteAllHeld(ctx, db.DeleteAllHeldParams{OrgID: org, Address: address})
	})
}

// WantAsk has a verification mail sent to an address. Where that is too soon after the last, notBefore says when it may be, and nothing
// is done.
func (s *Store) WantAsk(ctx context.Context, org tenant.OrgID, address string, at time.Time) (notBefore time.Time, err error) {
	err = s.inTx(ctx, "want ask", func(q *db.Queries) error {
		r, err := q.LockRecipient(ctx, db.LockRecipientParams{OrgID: org, Address: address})
		if err == nil && r.RemovedAt != nil {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		if r.VerifiedAt != nil && r.UnsubscribedAt == nil {
			return errVerified
		}
		if r.AskDue != nil && r.Tries == 0 {
			return nil // it is about to be sent
		}
		if next := recipient.NextAsk(orZero(r.AskedAt), int(r.Asks)); at.Before(next) {
			notBefore = next
			return nil
		}
		return q.WantAsk(ctx, db.WantAskParams{OrgID: org, Address: address, At: at})
	})
	return notBefore, err
}

var errVerified = fault.New(fault.Conflict, "the address is verified already")
