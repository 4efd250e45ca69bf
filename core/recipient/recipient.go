// Package recipient holds the rules of who is told by e-mail, of what, and when: an address says first that it wants to be told,
// and then which kinds of alerts, at which hours, one by one or collected.
package recipient

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Recipient is an address of an organisation.
type Recipient struct {
	Org            tenant.OrgID
	ID             uuid.UUID // in links
	Address        string    // as Key makes it
	CreatedAt      time.Time
	VerifiedAt     time.Time // zero: nobody has said yet that it wants to be told
	UnsubscribedAt time.Time // zero: it has not said that it wants no more
	AskedAt        time.Time // of the last verification mail; zero: none was sent
	Asks           int       // verification mails sent since it was last verified
	AskDue         time.Time // of the verification mail to be sent; zero: none is
	Via            Via       // what names it
	Preferences    Preferences
	Held           int    // groups of alerts kept for it
	Error          string // why the last mail to it was not sent; empty: it was
	ErrorAt        time.Time
	Tries          int // since a mail to it was last sent
}

// Via is the entry of a configuration by which a mail goes.
type Via struct {
	Receiver string // empty: the API
	Kind     string // email, resend
	Sender   string // which of the receiver's entries of that kind: what mail.Mailer derives from it
}

// Reason is why something is not told at once.
type Reason string

// The reasons.
const (
	HeldUnverified Reason = "unverified" // the address has not said that it wants to be told
	HeldForLater   Reason = "later"      // it is outside its hours, or it wants a digest
	HeldToRetry    Reason = "retry"      // sending failed, while others of the same notification were told
)

// Held is what a group of alerts would have said to a recipient.
type Held struct {
	ID       uuid.UUID // of its notification too
	Address  string
	Version  int64 // rises with each change
	Via      Via
	Index    string // of the integration in its receiver: email[0]
	GroupKey string
	Group    map[string]string // the labels by which it is grouped
	Reason   Reason
	Why      string    // the notification's: new alerts added, …
	HeldAt   time.Time // the first of it
	DueAt    time.Time // zero: when the address is verified
	Alerts   []Alert   // the last known of each, at most MaxAlerts
	More     int       // alerts left out of it
	Message  *mail.Message
}

// MaxAlerts is how many alerts are kept in one Held.
const MaxAlerts = 1000

// Alert is an alert as it was when it would have been told.
type Alert struct {
	Fingerprint  string            `json:"fingerprint"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"starts_at"`
	EndsAt       time.Time         `json:"ends_at,omitzero"` // zero: it fires
	GeneratorURL string            `json:"generator_url,omitempty"`
}

// Done is what came of a claim.
type Done struct {
	At    time.Time
	Told  []Held // what was told: by ID and Version
	Later []Held // what is due at another time: by ID and DueAt
	Asked bool   // a verification mail was sent
	// Drop ends asking without a mail: the address took none, or none is wanted.
	Drop  bool
	Error string    // empty: all went well
	Again time.Time // when to try again what went wrong
}

// Expired is something held that was not told in time.
type Expired struct {
	Org tenant.OrgID
	Held
}

// Ended are alerts that fire no more, with the instant of their end; the zero time: it is not known.
type Ended struct {
	ByFingerprint map[string]time.Time
	ByIncident    map[uuid.UUID]time.Time
}

// The limits of asking.
const (
	// TokenLife is how long the link of a verification mail works.
	TokenLife = 7 * 24 * time.Hour
	// KeepUnverified is how long what was not told is kept for an address that is not verified.
	KeepUnverified = 24 * time.Hour
	// MaxAsksPerDay is how many addresses of one organisation are asked within 24 hours.
	MaxAsksPerDay = 50
	// MaxRecipients is how many addresses an organisation may have.
	MaxRecipients = 1000
)
