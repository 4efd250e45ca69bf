package alert

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Busy is an organisation that has alerts, with the version of its alerting.
type Busy struct {
	Org     tenant.OrgID
	Version int64
}

// Fed is what came of feeding outbox rows to the organisations' alerts.
type Fed struct {
	Rows       int // taken from the outbox, those that cannot be read included
	Unreadable []Unreadable
}

// Unreadable is an outbox row that makes no alert because it cannot be read. It is not tried again.
type Unreadable struct {
	Outbox int64
	Org    tenant.OrgID
	Type   string
	Err    error
}

// NotificationFilter narrows a list of notifications; a zero field does not.
type NotificationFilter struct {
	Receiver string
	Statuses []NotificationStatus
	Incident *uuid.UUID
	From, To time.Time // StartedAt in [From, To)
	Before   NotificationKey
	Limit    int
}

// NotificationKey is a notification's place in a list, newest first; the zero value is before them all.
type NotificationKey struct {
	StartedAt time.Time
	ID        uuid.UUID
}
