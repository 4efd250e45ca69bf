// Package inventory names what is kept of monitors and incidents, as it is read back: the nouns that the relational store
// and the flows share.
package inventory

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Organisation is a tenant with its projects.
type Organisation struct {
	ID        tenant.OrgID
	Name      string
	CreatedAt time.Time
	Projects  []Project // oldest first; the first is where a monitor goes that names none
}

// Project groups monitors and owns the key of their slug URLs.
type Project struct {
	ID        tenant.ProjectID
	Name      string
	Slug      string
	PingKey   string // the {project key} of slug URLs
	CreatedAt time.Time
}

// APIKey is an API key as it can be read back: never the key itself.
type APIKey struct {
	ID        uuid.UUID
	Name      string
	Prefix    string // the key's first characters, to tell it from others
	Scopes    []tenant.Scope
	CreatedAt time.Time
	RevokedAt *time.Time // nil: living
}

// Monitor is a monitor's configuration with how it stands.
type Monitor struct {
	ID      uuid.UUID
	Org     tenant.OrgID
	Project tenant.ProjectID
	Key     uuid.UUID // the ping key
	Config  monitor.Config
	// Version is that of the last control record made for it.
	Version int64

	Status     monitor.Status
	LastPingAt *time.Time
	DueAt      *time.Time // nil: nothing is expected
	DeadlineAt *time.Time
	OpenRuns   int
	CreatedAt  time.Time
	UpdatedAt  time.Time // of the configuration or the key
}

// NewMonitor is a monitor to be made.
type NewMonitor struct {
	Project tenant.ProjectID
	Config  monitor.Config
	// FreeSlug says that the slug is only a wish: where it is taken in the project, a number is put behind it.
	FreeSlug bool
}

// MonitorFilter narrows a list of monitors; a zero field does not.
type MonitorFilter struct {
	Statuses []monitor.Status
	Tags     []string // all of them
	Name     string   // part of it, in any case
	Slug     string
	Project  *tenant.ProjectID
	After    uuid.UUID // monitors are listed by id, which is the order of their making
	Limit    int
}

// Incident is an incident as it stands.
type Incident struct {
	ID             uuid.UUID
	Monitor        uuid.UUID
	MonitorName    string
	Kind           incident.Kind
	Status         incident.Status
	Severity       incident.Severity
	OpenedAt       time.Time
	AcknowledgedAt *time.Time
	AcknowledgedBy *uuid.UUID // an API key's id
	ResolvedAt     *time.Time
	Resolution     string // "": open
	Evidence       incident.Evidence
}

// IncidentFilter narrows a list of incidents; a zero field does not.
type IncidentFilter struct {
	Statuses []incident.Status
	Kinds    []incident.Kind
	Monitor  *uuid.UUID
	From, To time.Time // opened_at in [From, To)
	Before   IncidentKey
	Limit    int
}

// IncidentKey is an incident's place in a list, youngest first; the zero value is before them all.
type IncidentKey struct {
	OpenedAt time.Time
	ID       uuid.UUID
}
