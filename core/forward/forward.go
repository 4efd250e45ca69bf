// Package forward names what an organisation sends on: forwards, which carry the series of its monitors to a
// Prometheus-compatible server or to Datadog.
package forward

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// The faults of forwards.
var (
	// ErrLost is what a claim's holder gets when it is not the holder any more.
	ErrLost = fault.New(fault.Conflict, "the forward has changed, or another process has it")
	// ErrTooMany is what a further forward gets.
	ErrTooMany = fault.New(fault.Invalid, "the organisation has as many forwards as it may: delete one first")
)

// Most is how many forwards an organisation may have.
const Most = 20

// Key names a forward.
type Key struct {
	Org  tenant.OrgID
	Name string
}

// Kind is what a forward speaks.
type Kind string

// The kinds.
const (
	RemoteWrite Kind = "remote_write" // Prometheus remote write 1.0
	Datadog     Kind = "datadog"      // Datadog's series API, version 2
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{RemoteWrite, Datadog} }

// Reach is how far back a forward of this kind resumes. What is older when it comes back is left out, and counted. Datadog
// itself takes nothing older than an hour; the rest of it is ours to send what is read until then.
func (k Kind) Reach() time.Duration {
	if k == Datadog {
		return 50 * time.Minute
	}
	return 24 * time.Hour
}

// Config is what a person said of a forward and may read again. Its JSON is what the store keeps.
type Config struct {
	Kind           Kind              `json:"kind"`
	URL            string            `json:"url,omitempty"`             // of remote write: the whole; of Datadog: of its API, in place of Site
	Site           string            `json:"site,omitempty"`            // Datadog's, as datadoghq.eu
	Interval       time.Duration     `json:"interval"`                  // from sample to sample
	ExternalLabels map[string]string `json:"external_labels,omitempty"` // added to every series that does not have them
	Metrics        []string          `json:"metrics,omitempty"`         // names, * for any characters; empty: all
}

// Secret is what a forward needs to be let in, and nobody may read again.
type Secret struct {
	Headers  map[string]string `json:"headers,omitempty"`
	Username string            `json:"username,omitempty"` // of basic authentication
	Password string            `json:"password,omitempty"`
	Bearer   string            `json:"bearer,omitempty"`
	APIKey   string            `json:"api_key,omitempty"` // Datadog's
}

// Forward is a forward as it is kept.
type Forward struct {
	Org       tenant.OrgID
	Name      string // unique in the organisation
	Config    Config
	Hints     Hints
	Sealed    []byte // the Secret, sealed about About
	CreatedAt time.Time
	UpdatedAt time.Time
	Status    Status
}

// Hints are what may be told of a secret.
type Hints struct {
	Authentication string   `json:"authentication"`    // none, basic, bearer, api_key
	Headers        []string `json:"headers,omitempty"` // their names, sorted
}

// Status is how far a forward has come.
type Status struct {
	Position    time.Time // the instant up to which everything was sent, or refused
	SentAt      time.Time // when something was last taken; zero: never
	Error       string    // the last; "" since it was last taken
	ErrorAt     time.Time
	Sent        int64         // samples
	Rejected    int64         // samples that the receiver does not want
	Skipped     time.Duration // time left out, because it lay beyond the reach
	FailedTries int64         // since the position last moved
}

// Claim is a forward that one process alone works on, until its lease is over. A change of the forward, or another's claim,
// ends it: what is then written in its name is refused.
type Claim struct {
	Forward
	Holder uuid.UUID
	Epoch  int64
}

// Key is the forward's.
func (c *Claim) Key() Key { return Key{Org: c.Org, Name: c.Name} }

// Step is what a claim's holder has done.
type Step struct {
	To       time.Time // the new position
	Sent     int64
	Rejected int64
	Skipped  time.Duration
	Error    string // what was refused last; "": nothing was
}

// About is what a forward's secret is sealed about, so that it opens in its own place alone.
func About(org tenant.OrgID, name string) []byte {
	return []byte("forward\x00" + org.String() + "\x00" + name)
}
