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
	ScopeRead  Scope = "read"
	ScopeWrite Scope = "write"
	ScopePing  Scope = "ping"
)

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
