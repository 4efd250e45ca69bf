// Package quiet holds alerts back: silences for maintenance windows, a muter for what depends on a monitor that is down, and a
// stage that makes one notification of a storm of them. The rules are those of core/quiet.
package quiet

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// EdgeStore reads what monitors depend on.
type EdgeStore interface {
	// Dependencies returns them with the version of the organisation's alerting at which they changed last; where that is the one known,
	// only the version.
	Dependencies(ctx context.Context, org tenant.OrgID, known int64) (quiet.Edges, int64, error)
}

// Dependencies mutes the alerts of monitors of which an ancestor is down: has a firing alert MonitorMissed, MonitorFailed or
// MonitorOverrun, whether it is acknowledged or silenced or not. It implements instance.Muter. Safe for concurrent use.
//
// What was resolved while it was muted stays muted, for nobody knows that it fired. What was told before its ancestor went down is told
// when it is resolved.
type Dependencies struct {
	org   tenant.OrgID
	store EdgeStore
	now   func() time.Time

	mu      sync.RWMutex
	edges   quiet.Edges
	version int64 // of the edges; -1: none were read
	alerts  map[string]followed
	down    map[uuid.UUID]map[string]struct{} // the fingerprints of a monitor's alerts that fire and mute
}

// followed is an incident's alert.
type followed struct {
	version  int64
	monitor  uuid.UUID
	startsAt time.Time
	endsAt   time.Time // zero: it fires
	mutes    bool      // of a kind that mutes what depends on the monitor
	told     told
	mutedBy  string // what muted it last
}

// told is what became of an alert while it fired.
type told int

const (
	unseen told = iota // by any flush
	open               // it went through
	muted              // it has always been muted
)

// forgetAfter is how long an alert that was resolved is known: longer than its row stays in the table.
const forgetAfter = 25 * time.Hour

// NewDependencies makes a muter that knows nothing yet: give it the organisation's state with Update. A nil clock is time.Now.
func NewDependencies(org tenant.OrgID, s EdgeStore, now func() time.Time) *Dependencies {
	if now == nil {
		now = time.Now
	}
	return &Dependencies{
		org: org, store: s, now: now, version: -1,
		alerts: map[string]followed{}, down: map[uuid.UUID]map[string]struct{}{},
	}
}

// Update takes in alerts that changed, and reads what monitors depend on where that changed. Call it with each state before the
// instance has it. On an error the alerts are taken in, and the edges are those of before.
func (d *Dependencies) Update(ctx context.Context, s alert.State) error {
	d.mu.Lock()
	for i := range s.Alerts {
		d.follow(&s.Alerts[i])
	}
	d.forget()
	known := d.version
	d.mu.Unlock()

	edges, version, err := d.store.Dependencies(ctx, d.org, known)
	if err != nil {
		return fmt.Errorf("dependencies of monitors: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if version > d.version {
		d.edges, d.version = edges, version
	}
	return nil
}

// follow notes how an alert stands. The lock is held.
func (d *Dependencies) follow(r *alert.Routed) {
	known, ok := d.alerts[r.Fingerprint]
	if r.Source != alert.FromIncident || ok && known.version >= r.Version {
		return
	}
	f := followed{version: r.Version, monitor: r.Monitor, startsAt: r.StartsAt, endsAt: r.EndsAt}
	switch r.Labels[alert.LabelName] {
	case "MonitorMissed", "MonitorFailed", "MonitorOverrun":
		f.mutes = true
	}
	if ok && known.startsAt.Equal(r.StartsAt) {
		f.told, f.mutedBy = known.told, known.mutedBy // the same incident
	}
	d.drop(r.Fingerprint, known)
	d.alerts[r.Fingerprint] = f
	if !f.mutes || !f.endsAt.IsZero() {
		return
	}
	if d.down[f.monitor] == nil {
		d.down[f.monitor] = map[string]struct{}{}
	}
	d.down[f.monitor][r.Fingerprint] = struct{}{}
}

func (d *Dependencies) drop(fingerprint string, f followed) {
	delete(d.down[f.monitor], fingerprint)
	if len(d.down[f.monitor]) == 0 {
		delete(d.down, f.monitor)
	}
}

func (d *Dependencies) forget() {
	before := d.now().Add(-forgetAfter)
	for fp, f := range d.alerts {
		if !f.endsAt.IsZero() && f.endsAt.Before(before) {
			delete(d.alerts, fp)
		}
	}
}

// Mutes reports whether the alert is not to be told for now; by is the fingerprint of an ancestor's alert.
func (d *Dependencies) Mutes(a *amalert.Alert) (by string, isMuted bool) {
	fingerprint := a.Fingerprint().String()
	d.mu.RLock()
	f, ok := d.alerts[fingerprint]
	if !ok || len(d.edges[f.monitor]) == 0 && f.told != muted {
		d.mu.RUnlock()
		return "", false
	}
	by, since := d.downAbove(f.monitor)
	d.mu.RUnlock()

	if a.Resolved() {
		// One of which no flush has seen that it fires was told by another process, if it came before its ancestor's.
		unheard := f.told == muted || f.told == unseen && by != "" && !f.startsAt.Before(since)
		return cmp.Or(by, f.mutedBy), unheard
	}
	d.note(fingerprint, f, by, by == "" || f.startsAt.Before(since) && f.told == unseen)
	return by, by != ""
}

// downAbove finds an ancestor that is down: the fingerprint of its alert, and since when that fires. The lock is held.
func (d *Dependencies) downAbove(monitor uuid.UUID) (by string, since time.Time) {
	for parent := range d.edges.Ancestors(monitor) {
		for fp := range d.down[parent] {
			if at := d.alerts[fp].startsAt; by == "" || at.Before(since) {
				by, since = fp, at
			}
		}
		if by != "" {
			break
		}
	}
	return by, since
}

// note remembers whether anybody was told that the alert fires.
func (d *Dependencies) note(fingerprint string, seen followed, by string, passed bool) {
	next := muted
	if passed || seen.told == open {
		next = open
	}
	if next == seen.told && by == seen.mutedBy {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.alerts[fingerprint]; ok && f.startsAt.Equal(seen.startsAt) {
		f.told, f.mutedBy = next, by
		d.alerts[fingerprint] = f
	}
}
