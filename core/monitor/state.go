// Package monitor is the state machine of a monitor: pure rules that turn pings, deadlines and changes of configuration
// into transitions, runs and incidents. An instant comes in with what happened; the package knows no clock.
package monitor

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/baseline"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
)

// Status is how a monitor stands.
type Status string

// The statuses of a monitor.
const (
	New    Status = "new"    // no ping yet: alarms nobody
	Up     Status = "up"     //
	Late   Status = "late"   // due, and the grace runs
	Down   Status = "down"   // missed, failed or overrun
	Paused Status = "paused" //
)

// State is all the evaluator knows of a monitor beside its configuration. Its JSON is stored.
type State struct {
	Status Status    `json:"status"`
	Since  time.Time `json:"since"` // of the status
	// Version is that of the last control record applied.
	Version int64 `json:"version"`

	LastPing    LastPing  `json:"last_ping,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Due         time.Time `json:"due,omitzero"`      // zero: nothing is expected
	Deadline    time.Time `json:"deadline,omitzero"` // due + grace, or behind a gap
	Open        []OpenRun `json:"open,omitempty"`    // oldest first
	// Closed are the last named runs that ended, so that a client's retry of a finish is known for one.
	Closed   []ClosedRun `json:"closed,omitempty"`
	Failures int         `json:"failures,omitempty"`

	Baseline  baseline.Stats `json:"baseline,omitzero"`
	Candidate baseline.Stats `json:"candidate,omitzero"` // anomalous durations in a row: the next baseline, if they go on
	ZScore    float64        `json:"z_score,omitempty"`  // of the last judged run

	Incidents map[incident.Kind]uuid.UUID `json:"incidents,omitempty"` // the open ones
	Opened    int64                       `json:"opened,omitempty"`    // incidents so far
	Totals    *Totals                     `json:"totals,omitempty"`    // never changed in place; nil: nothing has happened
	// Held are pings that passed a deadline which other appenders may not have reached yet; in time order.
	Held []Ping `json:"held,omitempty"`
}

// LastPing is the last ping that was not a note.
type LastPing struct {
	At       time.Time       `json:"at"`
	Kind     record.PingKind `json:"kind"`
	ExitCode int16           `json:"exit_code"`
	// Output is the beginning of its body, for the evidence of an incident.
	Output string `json:"output,omitempty"`
}

// OpenRun is a run that was started and not finished.
type OpenRun struct {
	ID        uuid.UUID `json:"id"`              // the run id: the client's, else the start ping's id
	Named     bool      `json:"named,omitempty"` // ID is the client's
	StartedAt time.Time `json:"started_at"`
	Due       time.Time `json:"due,omitzero"`      // the due moment it belongs to
	Deadline  time.Time `json:"deadline,omitzero"` // zero: no max runtime
	Overdue   bool      `json:"overdue,omitempty"`
}

// ClosedRun is a named run that ended.
type ClosedRun struct {
	ID   uuid.UUID       `json:"id"`
	Kind record.PingKind `json:"kind"` // of the ping that ended it
	At   time.Time       `json:"at"`
}

// Ping is what the rules need of a ping.
type Ping struct {
	ID       uuid.UUID       `json:"id"`
	At       time.Time       `json:"at"`
	Kind     record.PingKind `json:"kind"`
	RID      uuid.UUID       `json:"rid,omitzero"`
	ExitCode int16           `json:"exit_code"`
	Duration time.Duration   `json:"duration"` // record.NoDuration: none
	Output   string          `json:"output,omitempty"`
}

// Outcome is how a run ended.
type Outcome string

// The outcomes of a run.
const (
	Succeeded Outcome = "success"
	Failed    Outcome = "fail"
	Missed    Outcome = "missed"    // it never came
	Abandoned Outcome = "abandoned" // started, and a later run took its place
	Unknown   Outcome = "unknown"   // its end may have fallen into a gap
)

// Run is one execution, finished.
type Run struct {
	ID         uuid.UUID
	StartedAt  time.Time // zero: no start was seen
	FinishedAt time.Time
	Outcome    Outcome
	ExitCode   int16         // record.NoExitCode: none
	Duration   time.Duration // record.NoDuration: none
	// Lateness is start (or finish, without a start) less due, 0 where it was early; negative: unknown.
	Lateness time.Duration
	// ZScore is that of its duration, 0 where it was not judged.
	ZScore float64
}

// Transition is a change of status.
type Transition struct {
	At                time.Time
	From, To          Status
	Reason            string
	SecondsInPrevious float64 // without the gaps
}

// Effects are what a step did beyond the state, in the order in which it happened.
type Effects struct {
	Transitions []Transition
	Runs        []Run
	Incidents   []incident.Change
	// Deleted says that the monitor is gone and its state is to be removed.
	Deleted bool
}
