package tenant

import "github.com/google/uuid"

// PingTarget is a monitor as ingest knows it: what its ping URLs say and where its pings go.
type PingTarget struct {
	Org     OrgID
	Project ProjectID
	Monitor uuid.UUID
	Key     uuid.UUID // the ping key
	Slug    string    // empty: none
}

// ProjectKey is what the first part of a slug URL stands for.
type ProjectKey struct {
	Org     OrgID
	Project ProjectID
	Key     string
}

// PingTargets is a change to what ingest knows. With Full it replaces everything; else it replaces what is known of
// Monitor by Targets, which holds it once or, if it was deleted, not at all.
type PingTargets struct {
	Full     bool
	Projects []ProjectKey // with Full
	Monitor  uuid.UUID    // without Full
	Targets  []PingTarget
}
