package series

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Group is a standing set of values that was pushed under one grouping key: they hold until they are pushed again, deleted, or
// expire.
type Group struct {
	Org       tenant.OrgID
	Labels    []Label       // the grouping key: job and others, sorted
	Body      []byte        // the metrics, in the form of who pushed them
	TTL       time.Duration // how long it stands after a push, in milliseconds; 0: for ever
	PushedAt  time.Time     // of the last push that was taken; zero: none
	FailedAt  time.Time     // of the last push that was refused; zero: none
	ExpiresAt time.Time     // zero: never
	LastAt    time.Time     // the time of the latest samples that a push wrote
}

// GroupKey is what a group of those labels, which must be sorted, is known by in its organisation.
func GroupKey(labels []Label) [sha256.Size]byte {
	var b []byte
	for i := range labels {
		b = append(append(b, labels[i].Name...), 0xff)
		b = append(append(b, labels[i].Value...), 0xff)
	}
	return sha256.Sum256(b)
}

// LockedGroup is a group that nobody else changes. Who holds it changes it in place.
type LockedGroup struct {
	Group
	Found bool // it was there before
	// After is the time up to which samples of it have been written: those written now must be later.
	After time.Time
	// Metrics are the types of the metrics in Body by their names. Set it when they change; nil: they stay.
	Metrics map[string]string
	// Drop deletes the group.
	Drop bool
	// TypeElsewhere finds, among metrics by name and type, one that has another type in another group of the organisation; "" is
	// none.
	TypeElsewhere func(ctx context.Context, metrics map[string]string) (name, otherType string, err error)
}

// GroupCursor is a place in the order of all groups. The zero value is before the first.
type GroupCursor struct {
	Org tenant.OrgID
	Key []byte
}
