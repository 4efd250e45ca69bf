package alert

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Source is where an alert comes from.
type Source string

// The sources of an alert.
const (
	FromIncident Source = "incident" // a monitor's incident
	FromRule     Source = "rule"     // an alerting rule
	FromAPI      Source = "api"      // somebody posted it, a Prometheus perhaps
)

// The labels of an incident's alert. What a monitor's own labels are called comes after these: a label of theirs with one
// of these names is `label_` and the name.
const (
	LabelName     = "alertname" // MonitorMissed, MonitorFailed, MonitorOverrun, MonitorLate, MonitorAnomaly
	LabelMonitor  = "monitor"   // the monitor's name
	LabelID       = "id"        // the monitor's id, as on every series
	LabelProject  = "project"   // the project's name
	LabelSeverity = "severity"  // critical, warning
	LabelTags     = "tags"      // ",a,b,": match one with tags=~".*,a,.*"
)

// TestName is the alertname of what tries a receiver. Nobody waits for it: it is told at once or not at all.
const TestName = "TokiflowTest"

// Annotations that Tokiflow sets on the alerts of incidents; receivers of ours read them.
const (
	AnnotationSummary     = "summary"
	AnnotationDescription = "description"
	AnnotationIncident    = "incident_id"
	AnnotationKind        = "kind"     // core/incident.Kind
	AnnotationEvidence    = "evidence" // JSON of core/incident.Evidence
	AnnotationSlug        = "monitor_slug"
	AnnotationAckBy       = "acknowledged_by" // set while somebody has acknowledged it
	AnnotationAckAt       = "acknowledged_at" // RFC 3339
)

// Routed is an alert on its way through an organisation's routes: what Alertmanager keeps in memory and Tokiflow in a table.
type Routed struct {
	Org            tenant.OrgID
	Fingerprint    string // of the labels, as Alertmanager has it
	Version        int64  // of the organisation's alerting at its last change
	Source         Source
	Labels         map[string]string
	Annotations    map[string]string
	GeneratorURL   string
	StartsAt       time.Time
	EndsAt         time.Time // zero: it fires until somebody says otherwise
	Timeout        bool      // EndsAt is an assumption of ours
	UpdatedAt      time.Time
	Incident       uuid.UUID // zero for FromAPI
	Monitor        uuid.UUID // zero but for FromIncident
	AcknowledgedAt time.Time // zero: nobody has
	AcknowledgedBy string
}

// Resolved reports whether it has ended at the instant.
func (r Routed) Resolved(at time.Time) bool { return !r.EndsAt.IsZero() && !r.EndsAt.After(at) }

// Notification is one flush of a group of alerts to one integration of a receiver, with all its attempts.
type Notification struct {
	ID          uuid.UUID // the same in every attempt
	Org         tenant.OrgID
	Receiver    string
	Integration string // webhook[0], slack_app[0], …
	GroupKey    string
	Reason      string // Alertmanager's: first notification, new alerts added, …
	Alerts      []Told // at most MaxTold of them
	AlertCount  int
	FiringCount int
	StartedAt   time.Time // of the first attempt
	Attempts    int
	Status      NotificationStatus
	StatusCode  int    // HTTP or SMTP status of the last answer; 0: none
	Error       string // of the last attempt; free of secrets
	Latency     time.Duration
	EndedAt     time.Time // zero: it is being tried
}

// MaxTold is how many alerts of a notification are kept with it.
const MaxTold = 100

// Told is an alert as a notification told it.
type Told struct {
	Fingerprint string            `json:"fingerprint"`
	Status      string            `json:"status"` // firing, resolved
	Labels      map[string]string `json:"labels"`
	StartsAt    time.Time         `json:"starts_at"`
	EndsAt      *time.Time        `json:"ends_at"`
	Incident    *uuid.UUID        `json:"incident_id"`
}

// NotificationStatus is how a notification stands.
type NotificationStatus string

// The statuses of a notification.
const (
	Delivered NotificationStatus = "delivered"
	Retrying  NotificationStatus = "retrying"
	Failed    NotificationStatus = "failed" // given up until the group's next flush
)

// StoredSilence is a silence as it is stored: Alertmanager's own bytes, with what is looked for beside them.
type StoredSilence struct {
	ID        string
	Version   int64 // of the organisation's alerting at its last change
	EndsAt    time.Time
	ExpiresAt time.Time // when it is forgotten
	Body      []byte    // silencepb.MeshSilence, length-delimited
}

// LogEntry is what one receiver of one group was told last, as it is stored.
type LogEntry struct {
	GroupKey  string
	Receiver  string // name/integration/index
	LoggedAt  time.Time
	ExpiresAt time.Time
	Body      []byte // nflogpb.MeshEntry, length-delimited
}

// State is all that an organisation's Alertmanager begins with, as of Version.
type State struct {
	Version       int64
	ConfigVersion int64
	Alerts        []Routed
	Silences      []StoredSilence
	Log           []LogEntry
}

// Key names an alert as it stood at a version, so that one that changed meanwhile is left alone.
type Key struct {
	Fingerprint string
	Version     int64
}
