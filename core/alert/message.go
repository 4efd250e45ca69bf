package alert

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
)

// The types of a message.
const (
	TypeOpened   = "incident.opened"
	TypeResolved = "incident.resolved"
)

// Message is what is said about an incident: the body of a webhook. Its JSON is a contract with receivers.
type Message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when the incident opened or was resolved
	Data      Data      `json:"data"`
}

// Data is what a message is about.
type Data struct {
	Incident Incident `json:"incident"`
	Monitor  Monitor  `json:"monitor"`
}

// Incident is an incident as the API shows it.
type Incident struct {
	ID             uuid.UUID       `json:"id"`
	MonitorID      uuid.UUID       `json:"monitor_id"`
	MonitorName    string          `json:"monitor_name"`
	Kind           incident.Kind   `json:"kind"`
	Status         incident.Status `json:"status"`
	Severity       string          `json:"severity"`
	OpenedAt       time.Time       `json:"opened_at"`
	AcknowledgedAt *time.Time      `json:"acknowledged_at"`
	ResolvedAt     *time.Time      `json:"resolved_at"`
	Resolution     string          `json:"resolution"`
	Evidence       json.RawMessage `json:"evidence"` // JSON of incident.Evidence
}

// Monitor is what a message says of the incident's monitor.
type Monitor struct {
	ID     uuid.UUID         `json:"id"`
	Name   string            `json:"name"`
	Slug   string            `json:"slug"`
	Tags   []string          `json:"tags"`
	Labels map[string]string `json:"labels"`
}
