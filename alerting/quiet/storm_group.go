package quiet

import (
	"context"
	"errors"
	"sort"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/loop"
)

// stormGroup is the group of a storm's members: all alerts that one message tells. Storms' lock guards it.
type stormGroup struct {
	key      string
	receiver string
	mute     []string
	active   []string
	members  map[memberKey]*member
	origins  map[string]*origin // the groups its members came from
	next     *round
	nextAt   time.Time     // when it is told next
	toldAt   time.Time     // when it was told last, or tried to; zero: never
	sooner   chan struct{} // nextAt has come nearer
	flushes  uint64
	failing  bool
}

// memberKey tells members apart: one alert may come from groups of several routes.
type memberKey struct {
	group string
	fp    model.Fingerprint
}

// member is an alert of a storm.
type member struct {
	alert *amalert.Alert
	told  bool // a message has told it as it is
	until time.Time
}

// origin is a group of the dispatcher's that has members in the storm.
type origin struct {
	members int
	repeat  time.Duration
}

// round is a message to come: whoever has something in it waits for it.
type round struct {
	done chan struct{} // closed when it was sent, or failed
	err  error
}

// stormRoute is the id of the route that a storm's message goes by: none of the configuration's.
const stormRoute = "{storm}"

// beforeDeadline is how long before somebody's time is over a message is brought forward for him.
const beforeDeadline = 2 * time.Second

// errNotTold is for a flush that must come again.
var errNotTold = errors.New("a resolved alert of a storm has not been told yet")

// join makes the alerts of a flush members, and waits until those that are resolved were told.
func (s *Storms) join(ctx context.Context, f flush) error {
	s.mu.Lock()
	g, r := s.group(f) //nolint:contextcheck // a group outlives the flush that begins it: it runs by the context of the storms
	waits := false
	for _, a := range f.alerts {
		m := g.take(memberKey{f.group, a.Fingerprint()}, a, f)
		waits = waits || m.alert.Resolved() && !m.told
	}
	next := g.next
	if waits {
		s.hurry(ctx, g)
	}
	s.mu.Unlock()

	if waits {
		select {
		case <-next.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if next.err != nil {
			return next.err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r)
	for _, a := range f.alerts {
		k := memberKey{f.group, a.Fingerprint()}
		m := g.members[k]
		if m == nil || !a.Resolved() {
			continue
		}
		if !m.told {
			return errNotTold
		}
		g.drop(k)
	}
	return nil
}

// group returns the storm's group for a flush, and lets a new one run. The lock is held.
func (s *Storms) group(f flush) (*stormGroup, *receiver) {
	r := s.receiver(f.receiver)
	g := r.groups[f.key]
	if g == nil {
		g = &stormGroup{
			key: f.key, receiver: f.receiver, mute: f.mute, active: f.active, members: map[memberKey]*member{}, origins: map[string]*origin{},
			next: &round{done: make(chan struct{})}, nextAt: time.Now().Add(s.o.First), sooner: make(chan struct{}, 1),
		}
		r.groups[f.key] = g
		if s.ctx.Err() == nil {
			s.runs.Go(func() { s.run(r, g) })
		}
	}
	if g.origins[f.group] == nil {
		g.origins[f.group] = &origin{}
	}
	g.origins[f.group].repeat = f.repeat
	return g, r
}

// take notes an alert as it is now. The lock is held.
func (g *stormGroup) take(k memberKey, a *amalert.Alert, f flush) *member {
	m := g.members[k]
	if m == nil {
		m = &member{alert: a}
		g.members[k] = m
		g.origins[k.group].members++
	}
	if !a.UpdatedAt.Before(m.alert.UpdatedAt) {
		m.told = m.told && m.alert.Resolved() == a.Resolved() && m.alert.StartsAt.Equal(a.StartsAt)
		m.alert = a
	}
	m.until = time.Now().Add(f.patience)
	return m
}

// drop ends a membership. The lock is held.
func (g *stormGroup) drop(k memberKey) {
	delete(g.members, k)
	if o := g.origins[k.group]; o != nil {
		if o.members--; o.members <= 0 {
			delete(g.origins, k.group)
		}
	}
}

// hurry brings the next message forward where the context would end before it. The lock is held.
func (s *Storms) hurry(ctx context.Context, g *stormGroup) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	at := deadline.Add(-beforeDeadline)
	if soonest := g.toldAt.Add(s.o.First); at.Before(soonest) {
		at = soonest
	}
	if at.Before(g.nextAt) {
		g.nextAt = at
		loop.Poke(g.sooner)
	}
}

// run tells the group now and then while it has members.
func (s *Storms) run(r *receiver, g *stormGroup) {
	timer := time.NewTimer(s.o.First)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-g.sooner:
			s.mu.Lock()
			timer.Reset(time.Until(g.nextAt))
			s.mu.Unlock()
			continue
		case <-timer.C:
		}
		s.tell(g)
		s.mu.Lock()
		s.note(r)
		if len(g.members) == 0 {
			delete(r.groups, g.key)
			s.mu.Unlock()
			return
		}
		timer.Reset(time.Until(g.nextAt))
		s.mu.Unlock()
	}
}

// tell sends the group through the pipeline, as the dispatcher does with its groups: what is in the log already is not said again.
func (s *Storms) tell(g *stormGroup) {
	s.mu.Lock()
	now := time.Now()
	g.toldAt, g.nextAt = now, now.Add(s.o.Every)
	g.flushes++
	this := g.next
	g.next = &round{done: make(chan struct{})}
	alerts, said := g.snapshot(now)
	ctx, cancel := g.context(s.ctx, now, max(s.o.Every, notify.MinTimeout))
	s.mu.Unlock()
	defer cancel()

	var err error
	if len(alerts) > 0 {
		_, _, err = s.p.Whole.Exec(ctx, s.o.Logger, alerts...)
	}
	s.mu.Lock()
	if err == nil {
		for k, a := range said {
			if m := g.members[k]; m != nil && m.alert == a {
				m.told = true
			}
		}
	}
	first := err != nil && !g.failing
	g.failing = err != nil
	s.mu.Unlock()
	this.err = err
	close(this.done)
	if first && s.ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "an alert storm could not be told; trying again", "org_id", s.o.Org, "receiver", g.receiver, "alerts", len(alerts),
			"in", s.o.Every, "error", err)
	}
}

// snapshot returns the alerts to be told, each once, and the members as they are. Members whose groups have not been flushed for long are
// dropped: they are silenced, or gone. The lock is held.
func (g *stormGroup) snapshot(now time.Time) ([]*amalert.Alert, map[memberKey]*amalert.Alert) {
	said := make(map[memberKey]*amalert.Alert, len(g.members))
	byFingerprint := make(map[model.Fingerprint]*amalert.Alert, len(g.members))
	for k, m := range g.members {
		if m.until.Before(now) {
			g.drop(k)
			continue
		}
		said[k] = m.alert
		if m.told && m.alert.Resolved() {
			continue // it is here only until its own group has asked
		}
		if other := byFingerprint[k.fp]; other == nil || other.Resolved() && !m.alert.Resolved() {
			byFingerprint[k.fp] = m.alert
		}
	}
	alerts := make(amalert.AlertSlice, 0, len(byFingerprint))
	for _, a := range byFingerprint {
		alerts = append(alerts, a)
	}
	sort.Stable(alerts)
	return alerts, said
}

// context is that of a flush by the dispatcher. The lock is held.
func (g *stormGroup) context(life context.Context, now time.Time, timeout time.Duration) (context.Context, context.CancelFunc) {
	repeat := time.Duration(0)
	for _, o := range g.origins {
		if repeat == 0 || o.repeat < repeat {
			repeat = o.repeat
		}
	}
	ctx, cancel := context.WithTimeout(life, timeout)
	ctx = notify.WithNow(ctx, now)
	ctx = notify.WithGroupKey(ctx, g.key)
	ctx = notify.WithGroupLabels(ctx, model.LabelSet{model.AlertNameLabel: "AlertStorm"})
	ctx = notify.WithRouteLabels(ctx, model.LabelSet{})
	ctx = notify.WithReceiverName(ctx, g.receiver)
	ctx = notify.WithRepeatInterval(ctx, repeat)
	ctx = notify.WithMuteTimeIntervals(ctx, g.mute)
	ctx = notify.WithActiveTimeIntervals(ctx, g.active)
	ctx = notify.WithRouteID(ctx, stormRoute)
	ctx = notify.WithFlushID(ctx, g.flushes)
	ctx = notify.WithAggrGroupID(ctx, g.key)
	return marker.WithContext(ctx, marker.NewAlertMarker()), cancel
}
