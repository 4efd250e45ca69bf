// Package tenant names who owns what: every store method, log record and series is bound to an organisation.
package tenant

import (
	"slices"

	"github.com/google/uuid"
)

// OrgID identifies an organisation. The zero value is no organisation and matches no row.
type OrgID struct{ uuid.UUID }

// ProjectID identifies a project within an organisation.
type ProjectID struct{ uuid.UUID }

// Scope is a right of an API key.
type Scope string

// The scopes an API key may carry.
const (
	ScopeRead    Scope = "read"    // the REST API's reading half
	ScopeWrite   Scope = "write"   // its writing half
	ScopePing    Scope = "ping"    // batches of pings
	ScopeMetrics Scope = "metrics" // scrapes, PromQL, and whatever else reads series
	ScopeSamples Scope = "samples" // remote write, and the Pushgateway's API
)

// Scopes lists the scopes that there are.
func Scopes() []Scope { return []Scope{ScopeRead, ScopeWrite, ScopePing, ScopeMetrics, ScopeSamples} }

// GivenKeyName is the name of the API key that the environment gives. No other key may have it: it is revoked by its name when
// another is given.
const GivenKeyName = "BOOTSTRAP_API_KEY"

// Identity is who a request acts for, as proved by its API key.
type Identity struct {
	Org    OrgID
	Key    uuid.UUID // the API key's id, for the audit log; never the key itself
	Scopes []Scope
}

// Has reports whether the identity carries the scope.
func (i Identity) Has(s Scope) bool {
	return slices.Contains(i.Scopes, s)
}
