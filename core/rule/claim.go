package rule

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Claim is a group that is due, for one evaluation by whoever claimed it.
type Claim struct {
	Org         tenant.OrgID
	Group       Group
	Deleted     bool       // it is to be evaluated without its rules, and then to go
	Revision    int64      // of the configuration
	Evaluations int64      // that there were: with Revision the fence by which an evaluation that was overtaken is known
	Due         time.Time  // the instant to evaluate it for
	Progress    []Progress // after the last evaluation
}

// Evaluated is what an evaluation gave: it is stored as a whole or not at all.
type Evaluated struct {
	Claim  Claim
	At     time.Time     // the instant it was evaluated for
	Took   time.Duration // the evaluation
	Next   time.Time     // the instant of the next
	Missed int64         // instants left out before At

	Progress    []Progress
	SameSeries  bool // Series of every progress are those of the claim
	MustBeSaid  []Said
	GroupIsGone bool // the group was deleted, and all of it has ended
}

// Said is a message of one alert. Those of one ID are delivered in order. That an alert is resolved is not said while another
// rule of the organisation still fires one of the same labels: to receivers the two are one.
type Said struct {
	ID      uuid.UUID
	Labels  []series.Label // of the alert
	Message Message
}
