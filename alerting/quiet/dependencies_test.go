package quiet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/quiet"
	"github.com/tokiflow/tokiflow/core/alert"
	rules "github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// edgeTable is what monitors depend on.
type edgeTable struct {
	edges   rules.Edges
	version int64
	reads   int
	err     error
}

func (e *edgeTable) Dependencies(_ context.Context, _ tenant.OrgID, known int64) (rules.Edges, int64, error) {
	if e.err != nil {
		return nil, 0, e.err
	}
	if known == e.version {
		return nil, known, nil
	}
	e.reads++
	return e.edges, e.version, nil
}

// net is a network of monitors: the switch, the host behind it, and the job on the host.
type net struct {
	t                 *testing.T
	table             *edgeTable
	muter             *quiet.Dependencies
	version           int64
	now               time.Time
	rows              map[string]alert.Routed
	router, host, job uuid.UUID
}

func newNet(t *testing.T) *net {
	n := &net{
		t: t, now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), rows: map[string]alert.Routed{},
		router: uuid.New(), host: uuid.New(), job: uuid.New(),
	}
	n.table = &edgeTable{edges: rules.Edges{n.job: {n.host}, n.host: {n.router}}, version: 1}
	n.restart()
	return n
}

// restart is another process taking over: it knows the table, and no more.
func (n *net) restart() {
	n.t.Helper()
	n.muter = quiet.NewDependencies(tenant.OrgID{UUID: uuid.New()}, n.table, func() time.Time { return n.now })
	s := alert.State{Version: n.version}
	for _, r := range n.rows {
		s.Alerts = append(s.Alerts, r)
	}
	n.update(s)
}

func (n *net) update(s alert.State) {
	n.t.Helper()
	if err := n.muter.Update(n.t.Context(), s); err != nil {
		n.t.Fatal(err)
	}
}

func (n *net) labels(monitor uuid.UUID, name string) map[string]string {
	return map[string]string{alert.LabelName: name, alert.LabelID: monitor.String()}
}

func (n *net) set(monitor uuid.UUID, name string, change func(*alert.Routed)) {
	n.t.Helper()
	n.version++
	l := n.labels(monitor, name)
	fp := alert.Fingerprint(l)
	r, ok := n.rows[fp]
	if !ok {
		r = alert.Routed{Fingerprint: fp, Source: alert.FromIncident, Labels: l, Monitor: monitor, StartsAt: n.now}
	}
	r.Version = n.version
	change(&r)
	n.rows[fp] = r
	n.update(alert.State{Version: n.version, Alerts: []alert.Routed{r}})
}

func (n *net) fire(monitor uuid.UUID, name string) {
	n.t.Helper()
	n.set(monitor, name, func(r *alert.Routed) { r.StartsAt, r.EndsAt = n.now, time.Time{} })
}

func (n *net) resolve(monitor uuid.UUID, name string) {
	n.t.Helper()
	n.set(monitor, name, func(r *alert.Routed) { r.EndsAt = n.now })
}

// flushed asks whether the alert is muted as a flush of it now would, and by which monitor's alert.
func (n *net) flushed(monitor uuid.UUID, name string) (by uuid.UUID, muted bool) {
	n.t.Helper()
	l := model.LabelSet{}
	for k, v := range n.labels(monitor, name) {
		l[model.LabelName(k)] = model.LabelValue(v)
	}
	r := n.rows[l.Fingerprint().String()]
	fp, muted := n.muter.Mutes(&amalert.Alert{Alert: model.Alert{Labels: l, StartsAt: r.StartsAt, EndsAt: r.EndsAt}})
	return n.rows[fp].Monitor, muted
}

func (n *net) want(monitor uuid.UUID, name string, by uuid.UUID) {
	n.t.Helper()
	got, muted := n.flushed(monitor, name)
	if muted != (by != uuid.Nil) || muted && got != by {
		n.t.Errorf("%s: muted %v by %v, want by %v", name, muted, got, by)
	}
}

const (
	missed = "MonitorMissed"
	isLate = "MonitorLate"
)

func TestADownParentMutesItsChildren(t *testing.T) {
	n := newNet(t)
	n.fire(n.host, isLate) // late is not down
	n.fire(n.job, missed)
	n.want(n.job, missed, uuid.Nil)
	n.resolve(n.job, missed)
	n.want(n.job, missed, uuid.Nil)
	for _, kind := range []string{missed, "MonitorFailed", "MonitorOverrun"} {
		n.now = n.now.Add(time.Hour)
		n.fire(n.router, kind)
		n.fire(n.host, missed)
		n.fire(n.job, "MonitorAnomaly")
		n.want(n.router, kind, uuid.Nil)
		n.want(n.host, missed, n.router)
		n.want(n.job, "MonitorAnomaly", n.host) // the nearest
		n.resolve(n.host, missed)
		n.want(n.job, "MonitorAnomaly", n.router)
		n.resolve(n.router, kind)
		n.want(n.job, "MonitorAnomaly", uuid.Nil) // it still fires, so it is told now
		n.resolve(n.job, "MonitorAnomaly")
		n.want(n.job, "MonitorAnomaly", uuid.Nil) // and that it does not any more
	}
}

func TestAnAcknowledgedParentStillMutes(t *testing.T) {
	n := newNet(t)
	n.fire(n.router, missed)
	n.fire(n.job, missed)
	n.want(n.job, missed, n.router)
	n.set(n.router, missed, func(r *alert.Routed) { r.AcknowledgedAt, r.AcknowledgedBy = n.now, "anna" })
	n.want(n.job, missed, n.router)
}

func TestWhatNobodyHeardOfStaysMuted(t *testing.T) {
	n := newNet(t)
	n.fire(n.router, missed)
	n.now = n.now.Add(time.Minute)
	n.fire(n.job, missed)
	n.want(n.job, missed, n.router)
	n.resolve(n.job, missed)
	n.want(n.job, missed, n.router)
	n.resolve(n.router, missed)
	n.want(n.job, missed, n.router) // the flush came only now: it is over, and nobody knows that it began
	// The next time it is another incident.
	n.now = n.now.Add(time.Hour)
	n.fire(n.job, missed)
	n.want(n.job, missed, uuid.Nil)
}

func TestWhatWasToldIsToldToBeResolved(t *testing.T) {
	for _, restart := range []bool{false, true} {
		n := newNet(t)
		n.fire(n.job, missed)
		n.want(n.job, missed, uuid.Nil)
		n.now = n.now.Add(time.Minute)
		n.fire(n.router, missed)
		n.want(n.job, missed, n.router) // it is not repeated
		if restart {
			n.restart()
			n.want(n.job, missed, n.router)
		}
		n.resolve(n.job, missed)
		n.want(n.job, missed, uuid.Nil)
	}
}

func TestMutedThroughARestart(t *testing.T) {
	n := newNet(t)
	n.fire(n.router, missed)
	n.now = n.now.Add(time.Minute)
	n.fire(n.job, missed)
	n.want(n.job, missed, n.router)
	n.resolve(n.job, missed)
	n.restart()
	n.want(n.job, missed, n.router)
}

func TestEdgesFollowTheVersion(t *testing.T) {
	n := newNet(t)
	n.fire(n.router, missed)
	n.fire(n.job, missed)
	n.want(n.job, missed, n.router)
	if n.table.reads != 1 {
		t.Errorf("the edges were read %d times", n.table.reads)
	}
	n.table.edges, n.table.version = rules.Edges{n.host: {n.router}}, 7
	n.update(alert.State{Version: 7})
	n.want(n.job, missed, uuid.Nil)
	// A database that is away leaves what is known, and alerts are followed all the same.
	n.table.err = errors.New("away")
	n.version++
	r := alert.Routed{Fingerprint: alert.Fingerprint(n.labels(n.host, missed)), Source: alert.FromIncident, Labels: n.labels(n.host, missed), Monitor: n.host, Version: n.version, StartsAt: n.now}
	n.rows[r.Fingerprint] = r
	if err := n.muter.Update(t.Context(), alert.State{Alerts: []alert.Routed{r}}); err == nil {
		t.Error("nobody was told that the edges could not be read")
	}
	n.want(n.host, missed, n.router)
}

func TestOtherAlertsAreNotMuted(t *testing.T) {
	n := newNet(t)
	n.fire(n.router, missed)
	l := n.labels(n.job, "Posted")
	n.update(alert.State{Alerts: []alert.Routed{{Fingerprint: alert.Fingerprint(l), Source: alert.FromAPI, Labels: l, Version: 99, StartsAt: n.now}}})
	n.want(n.job, "Posted", uuid.Nil)
	n.want(n.job, "NeverSeen", uuid.Nil)
	// An older version of a row changes nothing.
	old := n.rows[alert.Fingerprint(n.labels(n.router, missed))]
	old.Version, old.EndsAt = 0, n.now
	n.update(alert.State{Alerts: []alert.Routed{old}})
	n.fire(n.host, missed)
	n.want(n.host, missed, n.router)
	// What ended long ago is forgotten.
	n.resolve(n.host, missed)
	n.now = n.now.Add(26 * time.Hour)
	n.update(alert.State{})
	n.want(n.host, missed, uuid.Nil)
}
