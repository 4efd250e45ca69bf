// Package timeline says how a monitor stood at any instant of the past: it turns what the rows tell of it (transitions, runs,
// incidents, versions of its configuration, its state now) into the points that core/metric makes samples of. For the
// instants at which a checkpoint was written it says exactly what the state then said.
package timeline

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
)

// Query asks for timelines.
type Query struct {
	From, To time.Time     // points at To and before it are given, and the one in force at From
	Step     time.Duration // of the grid (multiples of it since 1970) on which they will be read: of changes between two of its instants only the last matters; 0: all
	IDs      []uuid.UUID   // nil: every monitor that lived in the window
	Families []string      // names of core/metric; what the others need may be left out of the points
}

// Timeline is one monitor in a window.
type Timeline struct {
	ID     uuid.UUID
	Labels []Span         // of its info, ascending; the first is in force at From or later
	Points []metric.Point // ascending by At, none after End
	End    time.Time      // when it was deleted; zero: it lives
}

// Span is a set of info labels from an instant on.
type Span struct {
	From   time.Time
	Labels []series.Label
}
