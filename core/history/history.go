// Package history names what the time series remember of a monitor, as it is read back: pings, runs, transitions and the
// figures made of them.
package history

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// Window is the time from From, inclusive, to To, exclusive; UTC.
type Window struct{ From, To time.Time }

// Page is a piece of a list, the youngest first: at most Limit rows of the window, behind the row After.
type Page struct {
	Window
	After Key // zero: from the youngest
	Limit int
}

// Key is a row's place in its list. Tie tells rows of one instant apart; only the reader that made it understands it.
type Key struct {
	At  time.Time
	Tie string
}

// Ping is one received ping, without its output.
type Ping struct {
	Key        Key
	ID         uuid.UUID
	ReceivedAt time.Time
	Kind       record.PingKind
	RID        uuid.UUID     // uuid.Nil: none
	ExitCode   int16         // record.NoExitCode: none
	Duration   time.Duration // record.NoDuration: none
	RemoteAddr string
	UserAgent  string
	Method     string
	BodySize   int64 // bytes the client sent
	HasOutput  bool  // something of them is kept
}

// Run is one finished execution.
type Run struct {
	Key Key
	monitor.Run
}

// Transition is one change of status.
type Transition struct {
	Key Key
	monitor.Transition
}

// Stats are the figures of a window. Time that could not be observed (gaps) and time in which a monitor was new or
// paused counts neither as up nor as down. A figure that has no value is nil.
type Stats struct {
	Window
	Monitors int // how many had any history in the window

	UpSeconds, DownSeconds float64
	Uptime                 *float64 // up / (up + down), 0 to 1
	Failures               int64    // changes to down
	Recoveries             int64    // changes from down to up
	MTBFSeconds            *float64 // mean time between failures
	MTTRSeconds            *float64 // mean time to recovery
	HealthScore            *float64 // 0 to 100

	Runs     map[monitor.Outcome]int64
	Duration *Distribution // of the runs that have one, seconds
	Lateness *Distribution // of the runs that have one, seconds
}

// Distribution describes a set of values.
type Distribution struct {
	Count                   int64
	Mean, Stddev            float64 // Stddev: of the sample; 0 for one value
	Min, Max, P50, P95, P99 float64
}
