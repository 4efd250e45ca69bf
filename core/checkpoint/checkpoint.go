// Package checkpoint names what the evaluator reads when a partition becomes its own and what it writes, in one
// transaction, as the effect of records.
package checkpoint

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Position is a consumer's place in a partition, and its right to move it: another process that is assigned the partition
// gets a higher epoch, and from then on a write under this one is refused.
type Position struct {
	Partition  int
	Partitions int
	Epoch      int64
	Offset     int64 // of the next record to read
}

// Snapshot is a partition as the last checkpoint left it.
type Snapshot struct {
	Position Position
	Clock    logclock.Clock
	Gaps     []logclock.Gap
	Monitors []Monitor
}

// Monitor is one monitor's configuration in force and state.
type Monitor struct {
	Org    tenant.OrgID
	ID     uuid.UUID
	Config monitor.Config
	State  monitor.State
	// ConfigChanged says that Config is to be written too.
	ConfigChanged bool
}

// Commit is the effect of the records from Position.Offset to Next, exclusive. The order within each list is the order in
// which things happened.
type Commit struct {
	Position    Position
	Next        int64
	Clock       *logclock.Clock
	Gaps        []logclock.Gap
	Monitors    []Monitor // those whose state changed
	Deleted     []Ref
	Versions    []Version
	Runs        []Run
	Transitions []Transition
	Incidents   []Incident
}

// Ref names a monitor.
type Ref struct {
	Org     tenant.OrgID
	Monitor uuid.UUID
}

// Version is a monitor's configuration that took effect, or its deletion.
type Version struct {
	Ref
	At      time.Time // in force from then on
	Deleted bool
	Config  monitor.Config // of a deletion the last one in force
}

// Run is a run with its monitor.
type Run struct {
	Ref
	monitor.Run
}

// Transition is a transition with its monitor.
type Transition struct {
	Ref
	monitor.Transition
}

// Incident is a change of an incident with what the message about it says of the monitor.
type Incident struct {
	Ref
	incident.Change
	Name, Slug string
	Tags       []string
	Labels     map[string]string
}
