package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/infra/store"
)

// posted is an alert as somebody posts it.
func posted(name string, from, to, at time.Time) alert.Routed {
	labels := map[string]string{"alertname": name}
	return alert.Routed{
		Fingerprint: alert.Fingerprint(labels), Source: alert.FromAPI, Labels: labels, Annotations: map[string]string{"a": "b"},
		GeneratorURL: "https://prometheus", StartsAt: from, EndsAt: to, UpdatedAt: at,
	}
}

func (s *bundle) post(o owner, as ...alert.Routed) {
	s.t.Helper()
	s.must(s.store.SaveAlerts(s.ctx, o.org, as))
}

func TestPostedAlerts(t *testing.T) {
	s := newBundle(t)
	at := func(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }
	first := posted("A", at(0), at(5), at(0))
	first.Timeout = true
	s.post(s.a, first)
	want := first
	want.Org, want.Version = s.a.org, 1
	if diff := cmp.Diff(want, s.only(s.a)); diff != "" {
		t.Error(diff)
	}
	if state := s.state(s.b); len(state.Alerts) != 0 || state.Version != 0 {
		t.Errorf("another organisation has %+v", state)
	}
	for _, c := range []struct {
		name         string
		post         alert.Routed
		timeout      bool
		starts, ends time.Time
	}{
		{name: "again: it fires since it did", post: posted("A", at(2), at(7), at(2)), timeout: true, starts: at(0), ends: at(7)},
		{name: "a given end may be sooner", post: posted("A", at(3), at(6), at(3)), starts: at(0), ends: at(6)},
		{name: "an assumed end does not shorten a given one", post: posted("A", at(3), at(5), at(4)), timeout: true, starts: at(0), ends: at(6)},
		{name: "resolved", post: posted("A", at(3), at(4), at(5)), starts: at(0), ends: at(4)},
		{name: "anew", post: posted("A", at(9), at(14), at(9)), timeout: true, starts: at(9), ends: at(14)},
	} {
		c.post.Timeout = c.timeout
		s.post(s.a, c.post)
		if a := s.only(s.a); !a.StartsAt.Equal(c.starts) || !a.EndsAt.Equal(c.ends) {
			t.Errorf("%s: %v to %v", c.name, a.StartsAt, a.EndsAt)
		}
	}
	if err := s.store.SaveAlerts(s.ctx, s.a.org, nil); err != nil {
		t.Error(err)
	}
}

func TestAPostedAlertDoesNotResolveAnIncident(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	id := uuid.New()
	s.sayOpened(m, id, incident.Fail, t0)
	s.feed(1)
	a := s.only(s.a)
	forged := posted("A", t0, t0.Add(time.Second), time.Now())
	forged.Labels, forged.Fingerprint = a.Labels, a.Fingerprint
	s.post(s.a, forged)
	if got := s.only(s.a); got.Source != alert.FromIncident || !got.EndsAt.IsZero() {
		t.Errorf("%+v", got)
	}
	s.sayResolved(m, id, incident.Fail, t0, t0.Add(time.Hour))
	s.feed(1)
	forged.EndsAt = time.Now().Add(time.Hour)
	s.post(s.a, forged)
	if got := s.only(s.a); got.Source != alert.FromAPI || got.Incident != uuid.Nil {
		t.Errorf("%+v", got)
	}
}

func TestRemoveAlerts(t *testing.T) {
	s := newBundle(t)
	now := time.Now()
	a, b := posted("A", t0, now, now), posted("B", t0, now, now)
	s.post(s.a, a, b)
	s.post(s.b, a)
	s.post(s.a, b) // changed since version 1
	s.must(s.store.RemoveAlerts(s.ctx, s.a.org, []alert.Key{{Fingerprint: a.Fingerprint, Version: 1}, {Fingerprint: b.Fingerprint, Version: 1}, {Fingerprint: "0", Version: 1}}))
	if got := s.only(s.a); got.Labels["alertname"] != "B" {
		t.Errorf("left is %+v", got)
	}
	s.only(s.b)
	s.must(s.store.RemoveAlerts(s.ctx, s.a.org, []alert.Key{{Fingerprint: b.Fingerprint, Version: 2}}))
	s.must(s.store.RemoveAlerts(s.ctx, s.a.org, nil))
	if state := s.state(s.a); len(state.Alerts) != 0 || state.Version != 2 {
		t.Errorf("%+v", state)
	}
}

func TestAcknowledgeAnAlert(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	id := s.open(m, incident.Fail, t0)
	s.sayOpened(m, id, incident.Fail, t0)
	s.feed(1)
	f := s.only(s.a).Fingerprint
	at := t0.Add(time.Hour)
	got, err := s.store.AcknowledgeAlert(s.ctx, s.a.org, f, "maria on Slack", at)
	s.must(err)
	if !got.AcknowledgedAt.Equal(at) || got.AcknowledgedBy != "maria on Slack" || got.Version != 2 ||
		got.Annotations[alert.AnnotationAckBy] != "maria on Slack" || got.Annotations[alert.AnnotationAckAt] != at.Format(time.RFC3339) {
		t.Errorf("%+v", got)
	}
	i, err := s.store.Incident(s.ctx, s.a.org, id)
	if s.must(err); i.Status != incident.Acknowledged || i.AcknowledgedAt == nil || i.AcknowledgedBy != nil {
		t.Errorf("%+v", i)
	}
	again, err := s.store.AcknowledgeAlert(s.ctx, s.a.org, f, "somebody else", at.Add(time.Hour))
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := s.store.AcknowledgeAlert(s.ctx, s.b.org, f, "x", at); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organisation's: %v", err)
	}
	s.sayResolved(m, id, incident.Fail, t0, at)
	s.feed(1)
	if _, err := s.store.AcknowledgeAlert(s.ctx, s.a.org, f, "x", at); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("a resolved one: %v", err)
	}
	// The next incident of these labels is acknowledged by nobody.
	s.sayOpened(m, uuid.New(), incident.Fail, at.Add(time.Hour))
	s.feed(1)
	if a := s.only(s.a); !a.AcknowledgedAt.IsZero() || a.AcknowledgedBy != "" || a.Annotations[alert.AnnotationAckBy] != "" {
		t.Errorf("%+v", a)
	}
}

func TestAcknowledgeAnIncident(t *testing.T) {
	s := newBundle(t)
	key := s.makeKey("laptop")
	m := s.create(s.a, "backup")
	fed, unfed := s.open(m, incident.Fail, t0), s.open(m, incident.Missed, t0)
	s.sayOpened(m, fed, incident.Fail, t0)
	s.feed(1)
	s.sayOpened(m, unfed, incident.Missed, t0)
	for _, id := range []uuid.UUID{fed, unfed, fed} {
		_, err := s.store.AcknowledgeIncident(s.ctx, s.a.org, id, key)
		s.must(err)
	}
	s.feed(1)
	for name, id := range map[string]uuid.UUID{"before": unfed, "after": fed} {
		a, err := s.store.RoutedByIncident(s.ctx, s.a.org, id)
		if s.must(err); a.AcknowledgedAt.IsZero() || a.AcknowledgedBy != "laptop" {
			t.Errorf("acknowledged %s it was fed: %+v", name, a)
		}
	}
	if _, err := s.store.AcknowledgeIncident(s.ctx, s.b.org, fed, key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organisation's: %v", err)
	}
}

// makeKey makes an API key of organisation a.
func (s *bundle) makeKey(name string) uuid.UUID {
	s.t.Helper()
	id := uuid.New()
	s.exec(`insert into api_keys (id, org_id, name, hash, prefix, scopes) values ($1, $2, $3, $4, 'tkf', '{write}')`, id, s.a.org, name, id[:])
	return id
}

func TestAPostedAcknowledgementIsNone(t *testing.T) {
	s := newBundle(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a := posted("A", now, now.Add(time.Hour), now)
	a.Annotations[alert.AnnotationAckBy] = "a forger"
	s.post(s.a, a)
	if got := s.only(s.a); got.Annotations[alert.AnnotationAckBy] != "" {
		t.Errorf("%+v", got)
	}
	_, err := s.store.AcknowledgeAlert(s.ctx, s.a.org, a.Fingerprint, "me", now)
	s.must(err)
	a.UpdatedAt = now.Add(time.Minute)
	s.post(s.a, a)
	if got := s.only(s.a); got.AcknowledgedBy != "me" {
		t.Errorf("posted again, it is acknowledged no more: %+v", got)
	}
	a.EndsAt = a.UpdatedAt
	s.post(s.a, a)
	a.StartsAt, a.UpdatedAt, a.EndsAt = now.Add(2*time.Minute), now.Add(2*time.Minute), now.Add(time.Hour)
	s.post(s.a, a)
	if got := s.only(s.a); got.AcknowledgedBy != "" || !got.AcknowledgedAt.IsZero() {
		t.Errorf("a new one is acknowledged: %+v", cmp.Diff(alert.Routed{}, got, cmpopts.EquateEmpty()))
	}
}
