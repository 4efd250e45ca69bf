package inventory

import (
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
)

// States are the monitors of an organisation as the evaluator's last checkpoints left them: all of them, or those written
// since an earlier reading.
type States struct {
	// Cursor is what to ask with next time.
	Cursor int64
	// Full says that Monitors are all there are, and replace what was known. Without it they replace their like, and Deleted
	// are to be forgotten. A monitor may come again unchanged, none is left out, and none is in both.
	Full     bool
	Monitors []MonitorState
	Deleted  []uuid.UUID
}

// MonitorState is one monitor with its configuration in force.
type MonitorState struct {
	ID      uuid.UUID
	Project string // the project's slug; "": the monitor was deleted, and the evaluator has not come to that yet
	Config  monitor.Config
	State   monitor.State
	// GapSeconds is how much of the time since State.Since could not be observed, as far as that is known.
	GapSeconds float64
}
