// Package alert names what is said about incidents: deliveries to receivers, and what came of each attempt.
package alert

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Delivery is an outbox row on its way to one receiver.
type Delivery struct {
	ID        int64
	Outbox    int64 // the outbox row's id; it orders what is said about one incident
	Org       tenant.OrgID
	Incident  uuid.UUID
	Receiver  string    // the receiver's name
	Type      string    // incident.opened, incident.resolved
	Payload   []byte    // JSON, to be sent as it is
	CreatedAt time.Time // of the outbox row
	Attempt   int       // number of the attempt it was claimed for, from 1
}

// MessageID tells the message apart from every other for ever: it is the same in every attempt and at every receiver.
// It holds the incident's UUID, so it does not come again when the database is made anew, and no full stop, which
// would blur where it ends in a signature.
func (d Delivery) MessageID() string {
	return "msg_" + d.Incident.String() + "_" + strconv.FormatInt(d.Outbox, 10)
}

// Answer is what a receiver said to one attempt. The zero value is no answer at all.
type Answer struct {
	StatusCode int           // HTTP status; 0: none
	RetryAfter time.Duration // how long it asked to be left alone; 0: it did not
	Refused    bool          // it understood and said no: the same request will most likely meet the same answer
}

// Attempt is one attempt at a delivery and what came of it.
type Attempt struct {
	Delivery
	At         time.Time
	Latency    time.Duration
	StatusCode int           // 0: none
	Error      string        // empty: the message was taken. Free of secrets.
	RetryIn    time.Duration // where it was not taken: when to try again, from now
}

// Taken reports whether the receiver has taken the message.
func (a Attempt) Taken() bool { return a.Error == "" }

// Backlog is what waits to be taken by one receiver.
type Backlog struct {
	Receiver string
	Waiting  int       // deliveries not taken yet
	Retrying int       // those of them that were tried at least once
	Attempts int       // of the delivery tried most often
	Oldest   time.Time // when the oldest of them was written to the outbox
}
