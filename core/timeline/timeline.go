// Package timeline says how a monitor stood at any instant of the past: it turns what the rows tell of it (transitions, runs,
// incidents, versions of its configuration, its state now) into the points that core/metric makes samples of.
//
// The point in force at an instant is what the monitor's checkpointed state said when everything up to that instant, that one
// included, had been taken in. So it says except where the rows cannot know:
//
//   - A client's retry of a ping moves the last ping and makes no run. It is told from the state's last ping on; before that
//     it is not, nor does a change of schedule count from it.
//   - What was judged late is told as of its own instant: a deadline inside a gap, a due moment that a new schedule put into the
//     past.
//   - Of several runs that ended in one microsecond it is not known which was the last.
//   - What retention has removed: counters begin with what was counted by then, and stand still until the oldest row. Those of
//     a deleted monitor begin at 0 at its oldest row.
package timeline

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
)

// Query asks for timelines.
type Query struct {
	From, To time.Time     // points at To and before it are given, and the one in force at From
	Step     time.Duration // of the grid (multiples of it since 1970) on which they will be read: of changes between two of its instants only the last matters; 0: all
	IDs      []uuid.UUID   // nil: every monitor that lived in the window
	Families []string      // names of core/metric, nil: all; what the others need may be left out of the points
}

// Timeline is one monitor in a window.
type Timeline struct {
	ID     uuid.UUID
	Labels []Span         // of its info, ascending; the first is in force at From or later
	Points []metric.Point // ascending by At, the first at From, or where the monitor was made later, then; none at End or after
	End    time.Time      // when it was deleted; zero: it lived on at To
}

// Span is a set of info labels from an instant on.
type Span struct {
	From   time.Time
	Labels []series.Label
}

// Rows are what is kept of one monitor, all of it read in one snapshot. Each list is ascending by time. Which are needed
// NeedsOf tells; more of them do no harm, but for Totals.
type Rows struct {
	ID uuid.UUID
	// Versions are all up to Query.To.
	Versions []Version
	// State is the monitor's now; nil: it was deleted. Of it are read Status, Since, LastPing.At, LastSuccess, Due,
	// Deadline, Open, ZScore and Totals.LastDuration.
	State *monitor.State
	// Settled says that the state has not changed since Query.To.
	Settled bool
	// Totals are the monitor's at TotalsAt. Runs and Transitions between that and Query.From must be complete.
	Totals   monitor.Totals
	TotalsAt time.Time
	// Transitions are those of the window, preceded by the last one before it where the state is not older than that.
	Transitions []monitor.Transition
	// Runs are those that ended in the window. For what stands at its beginning they are preceded by the last that said
	// it, and for Needs.Begun followed by those that began in it or before and ended later. No ID is needed, nor the exit code
	// or the lateness.
	Runs      []monitor.Run
	Incidents []Incident // open at some time in the window
	Gaps      *logclock.Gaps
}

// Version is a configuration in force from At on, or with Deleted the end of the monitor.
type Version struct {
	At      time.Time
	Deleted bool
	Project string
	Config  *monitor.Config // nil where no family needs it
}

// Incident is what was wrong from Opened to Resolved.
type Incident struct {
	Kind     incident.Kind
	Opened   time.Time
	Resolved time.Time // zero: it is open
	ByPerson bool      // somebody resolved it
	Due      time.Time // of a missed run, as its evidence has it
	Deadline time.Time
}
