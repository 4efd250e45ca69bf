// Package incident names what can be wrong with a monitor and what is said about it.
package incident

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Kind is what is wrong.
type Kind string

// The kinds of an incident. A monitor has at most one open incident of each.
const (
	Missed  Kind = "missed"  // the deadline passed without a ping
	Late    Kind = "late"    // due, and the grace runs
	Fail    Kind = "fail"    // it said so, or exited with another status than 0
	Overrun Kind = "overrun" // a run is open for longer than its max runtime
	Anomaly Kind = "anomaly" // a run took unusually long or short
)

// Severity is the weight that routing starts from.
type Severity string

// The severities in use.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// Severity of an incident of this kind.
func (k Kind) Severity() Severity {
	if k == Late || k == Anomaly {
		return Warning
	}
	return Critical
}

// Status is where an incident stands.
type Status string

// The statuses of an incident.
const (
	Open         Status = "open"
	Acknowledged Status = "acknowledged"
	Resolved     Status = "resolved"
)

// Evidence is what was known when the incident opened. Its JSON is stored and sent.
type Evidence struct {
	LastPingAt        *time.Time `json:"last_ping_at,omitempty"`
	LastPingKind      string     `json:"last_ping_kind,omitempty"`
	DueAt             *time.Time `json:"due_at,omitempty"`
	DeadlineAt        *time.Time `json:"deadline_at,omitempty"`
	RunID             *uuid.UUID `json:"run_id,omitempty"`
	RunStartedAt      *time.Time `json:"run_started_at,omitempty"`
	ExitCode          *int       `json:"exit_code,omitempty"`
	FailuresInARow    int        `json:"failures_in_a_row,omitempty"`
	DurationSeconds   *float64   `json:"duration_seconds,omitempty"`
	MaxRuntimeSeconds *float64   `json:"max_runtime_seconds,omitempty"`
	MeanSeconds       *float64   `json:"mean_seconds,omitempty"`
	StddevSeconds     *float64   `json:"stddev_seconds,omitempty"`
	ZScore            *float64   `json:"z_score,omitempty"`
	Output            string     `json:"output,omitempty"`
}

// Change is an incident opened or resolved by the rules.
type Change struct {
	ID       uuid.UUID
	Kind     Kind
	At       time.Time
	Resolved bool
	Reason   string   // why it was resolved: "recovered", "paused", "deleted", "person", …
	Evidence Evidence // of an opened one
}

// ID derives an incident's id from what it is, so that a replay of the log makes the same one.
func ID(monitor uuid.UUID, k Kind, openedAt time.Time, n int64) uuid.UUID {
	b := make([]byte, 0, 64)
	b = append(b, "incident/"...)
	b = append(b, k...)
	b = openedAt.UTC().AppendFormat(b, "/2006-01-02T15:04:05.000000")
	b = strconv.AppendInt(append(b, '/'), n, 10)
	return uuid.NewSHA1(monitor, b)
}
