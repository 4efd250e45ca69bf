package mail

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Store keeps recipients and what is held for them. Safe for concurrent use.
type Store interface {
	// KnowRecipients returns the recipients of the addresses, in their order, and makes those that are missing. ask: a new or removed
	// one, that has not unsubscribed, is to be asked. Beyond recipient.MaxRecipients the error is a fault of code conflict.
	KnowRecipients(ctx context.Context, org tenant.OrgID, addresses []string, via recipient.Via, ask bool, at time.Time) ([]recipient.Recipient, error)
	// HoldMail adds what was not told to what is held for the same group, integration and reason; h.ID becomes that of what there was.
	HoldMail(ctx context.Context, org tenant.OrgID, h *recipient.Held) error

	// ClaimRecipients gives up to limit recipients, of any organisation but the busy ones, for whom there is something to send, to one
	// caller for the lease.
	ClaimRecipients(ctx context.Context, limit int, at time.Time, lease time.Duration, busy ...tenant.OrgID) ([]recipient.Recipient, error)
	HeldMails(ctx context.Context, org tenant.OrgID, address string) ([]recipient.Held, error)
	// EndedAlerts tells which of the alerts have ended meanwhile, and when: the zero time where nobody knows.
	EndedAlerts(ctx context.Context, org tenant.OrgID, fingerprints []string, incidents []uuid.UUID, at time.Time) (recipient.Ended, error)
	// SetToken stores the hash of the token about to be mailed. false: the organisation has asked recipient.MaxAsksPerDay
	// addresses within a day.
	SetToken(ctx context.Context, org tenant.OrgID, address string, hash []byte, at time.Time) (bool, error)
	// FinishRecipient ends the claim, and says what came of it.
	FinishRecipient(ctx context.Context, org tenant.OrgID, address string, done recipient.Done) error
	// ExpireHeld removes what was kept for addresses that were not verified, since before the instant: up to limit, of any organisation.
	ExpireHeld(ctx context.Context, before time.Time, limit int) ([]recipient.Expired, error)

	// RecipientByID returns a recipient; ErrNotFound as a fault of code not_found.
	RecipientByID(ctx context.Context, org tenant.OrgID, id uuid.UUID) (recipient.Recipient, error)
	// VerifyRecipient verifies it where the hash is that of its token, which then works no more; else a fault of code not_found.
	VerifyRecipient(ctx context.Context, org tenant.OrgID, id uuid.UUID, hash []byte, at time.Time) (recipient.Recipient, error)
	// UnsubscribeRecipient ends all mails to it, and returns what was held for it.
	UnsubscribeRecipient(ctx context.Context, org tenant.OrgID, id uuid.UUID, at time.Time) ([]recipient.Held, error)
}
