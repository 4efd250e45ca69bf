package store_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

const baseURL = "https://toki.example.com"

// sayOpened writes the outbox row of an incident, as a checkpoint does.
func (s *bundle) sayOpened(m inventory.Monitor, id uuid.UUID, k incident.Kind, at time.Time) {
	s.t.Helper()
	s.sayMessage(m, alert.TypeOpened, alert.Incident{ID: id, MonitorID: m.ID, Kind: k, Severity: string(k.Severity()), OpenedAt: at}, at)
}

func (s *bundle) sayResolved(m inventory.Monitor, id uuid.UUID, k incident.Kind, opened, at time.Time) {
	s.t.Helper()
	s.sayMessage(m, alert.TypeResolved, alert.Incident{
		ID: id, MonitorID: m.ID, Kind: k, Severity: string(k.Severity()), OpenedAt: opened, ResolvedAt: &at, Status: incident.Resolved,
	}, at)
}

func (s *bundle) sayMessage(m inventory.Monitor, kind string, i alert.Incident, at time.Time) {
	s.t.Helper()
	i.Evidence = json.RawMessage(`{"exit_code":3}`)
	s.sayPayload(m.Org, i.ID, kind, alert.Message{Type: kind, Timestamp: at, Data: alert.Data{
		Incident: i, Monitor: alert.Monitor{ID: m.ID, Name: m.Config.Name, Tags: []string{"nightly"}, Labels: map[string]string{"team": "data"}},
	}})
}

func (s *bundle) sayPayload(org tenant.OrgID, id uuid.UUID, kind string, message any) {
	s.t.Helper()
	payload, err := json.Marshal(message)
	s.must(err)
	s.exec(`insert into outbox (org_id, incident_id, type, payload) values ($1, $2, $3, $4)`, org, id, kind, payload)
}

func (s *bundle) sayRule(o owner, id uuid.UUID, from time.Time, to *time.Time, labels map[string]string) {
	s.t.Helper()
	m := rule.Message{Type: rule.TypeFiring, Timestamp: from, Data: rule.Data{Alert: rule.AlertView{
		Labels: labels, Annotations: map[string]string{"summary": "too high"}, StartsAt: from, EndsAt: to, GeneratorURL: "https://graph",
	}}}
	if to != nil {
		m.Type, m.Timestamp = rule.TypeResolved, *to
	}
	s.sayPayload(o.org, id, m.Type, m)
}

func (s *bundle) feed(want int) alert.Fed {
	s.t.Helper()
	fed, err := s.store.FeedAlerts(s.ctx, 1000, baseURL)
	s.must(err)
	if fed.Rows != want {
		s.t.Errorf("%d rows fed, want %d", fed.Rows, want)
	}
	return fed
}

func (s *bundle) state(o owner) alert.State {
	s.t.Helper()
	state, err := s.store.AlertingState(s.ctx, o.org, time.Now())
	s.must(err)
	return state
}

// only is the one alert that the organisation has.
func (s *bundle) only(o owner) alert.Routed {
	s.t.Helper()
	state := s.state(o)
	if len(state.Alerts) != 1 {
		s.t.Fatalf("%d alerts, want one", len(state.Alerts))
	}
	return state.Alerts[0]
}

var t0 = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func TestAnIncidentBecomesAnAlert(t *testing.T) {
	s := newBundle(t)
	s.exec(`update projects set name = 'warehouse' where id = $1`, s.a.project)
	m := s.create(s.a, "backup")
	id := uuid.New()
	s.sayOpened(m, id, incident.Fail, t0)
	s.feed(1)
	s.feed(0)
	got := s.only(s.a)
	want := alert.Routed{
		Org: s.a.org, Version: 1, Source: alert.FromIncident,
		Labels: map[string]string{
			"alertname": "MonitorFailed", "monitor": "backup", "id": m.ID.String(), "project": "warehouse", "severity": "critical",
			"tags": ",nightly,", "team": "data",
		},
		Annotations: map[string]string{
			"summary": "backup failed with exit status 3", "description": "Exit status: 3", "evidence": `{"exit_code":3}`, "kind": "fail",
			"incident_id": id.String(),
		},
		GeneratorURL: baseURL + "/api/v1/incidents/" + id.String(), StartsAt: t0, Incident: id, Monitor: m.ID,
	}
	want.Fingerprint = alert.Fingerprint(want.Labels)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(alert.Routed{}, "UpdatedAt")); diff != "" {
		t.Error(diff)
	}
	for name, read := range map[string]func() (alert.Routed, error){
		"by fingerprint": func() (alert.Routed, error) { return s.store.RoutedAlert(s.ctx, s.a.org, got.Fingerprint) },
		"by incident":    func() (alert.Routed, error) { return s.store.RoutedByIncident(s.ctx, s.a.org, id) },
	} {
		one, err := read()
		if diff := cmp.Diff(got, one); diff != "" || err != nil {
			t.Error(name, err, diff)
		}
	}
	if _, err := s.store.RoutedAlert(s.ctx, s.b.org, got.Fingerprint); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organisation reads it: %v", err)
	}
	if _, err := s.store.RoutedByIncident(s.ctx, s.b.org, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organisation reads it: %v", err)
	}

	// The monitor has another name by the time it is resolved.
	m.Config.Name = "backup of db2"
	s.sayResolved(m, id, incident.Fail, t0, t0.Add(time.Hour))
	s.feed(1)
	got = s.only(s.a)
	if !got.EndsAt.Equal(t0.Add(time.Hour)) || got.Version != 2 || got.Labels["monitor"] != "backup" {
		t.Errorf("%+v", got)
	}
	// Said again, or of an alert that is gone, it changes nothing.
	s.sayResolved(m, id, incident.Fail, t0, t0.Add(2*time.Hour))
	s.sayResolved(m, uuid.New(), incident.Fail, t0, t0.Add(2*time.Hour))
	s.feed(2)
	if again := s.only(s.a); !again.EndsAt.Equal(got.EndsAt) || again.Version != 2 {
		t.Errorf("%+v", again)
	}
}

func TestWhatOpensAndEndsInOneBatch(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	first, second := uuid.New(), uuid.New()
	s.sayOpened(m, first, incident.Fail, t0)
	s.sayResolved(m, first, incident.Fail, t0, t0.Add(time.Minute))
	s.feed(2)
	if a := s.only(s.a); a.Incident != first || !a.EndsAt.Equal(t0.Add(time.Minute)) {
		t.Errorf("%+v", a)
	}
	// Nobody was told of the first; the second has its labels.
	s.sayOpened(m, second, incident.Fail, t0.Add(time.Hour))
	s.sayResolved(m, first, incident.Fail, t0, t0.Add(2*time.Hour)) // comes too late
	s.feed(2)
	if a := s.only(s.a); a.Incident != second || !a.EndsAt.IsZero() || !a.StartsAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("%+v", a)
	}
	s.exec(`update outbox set fed = false`) // all at once
	s.exec(`delete from alerts`)
	s.feed(4)
	if a := s.only(s.a); a.Incident != second || !a.EndsAt.IsZero() {
		t.Errorf("%+v", a)
	}
}

func TestAnAlertOfARule(t *testing.T) {
	s := newBundle(t)
	labels := map[string]string{"alertname": "High", "instance": "x"}
	id := uuid.New()
	ended, again := t0.Add(time.Minute), t0.Add(2*time.Minute)
	s.sayRule(s.a, id, t0, nil, labels)
	s.feed(1)
	a := s.only(s.a)
	if a.Source != alert.FromRule || a.GeneratorURL != "https://graph" || a.Fingerprint != alert.Fingerprint(labels) || a.Annotations["summary"] != "too high" {
		t.Errorf("%+v", a)
	}
	// It ends, and fires again, within one batch: it has the same id, and what comes last counts.
	s.sayRule(s.a, id, t0, &ended, labels)
	s.sayRule(s.a, id, again, nil, labels)
	s.feed(2)
	if a := s.only(s.a); !a.EndsAt.IsZero() || !a.StartsAt.Equal(again) {
		t.Errorf("%+v", a)
	}
	// Another rule fires the same: since when it fires stays.
	s.sayRule(s.a, id, again.Add(time.Hour), nil, labels)
	s.feed(1)
	if a := s.only(s.a); !a.StartsAt.Equal(again) {
		t.Errorf("%+v", a)
	}
}

func TestWhatCannotBeReadHoldsUpNothing(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	gone := tenant.OrgID{UUID: uuid.New()}
	s.sayPayload(s.a.org, uuid.New(), alert.TypeOpened, []int{1})
	s.sayPayload(s.a.org, uuid.New(), alert.TypeResolved, map[string]any{})
	s.sayPayload(s.a.org, uuid.New(), rule.TypeFiring, "text")
	s.sayPayload(s.a.org, uuid.New(), "odd", map[string]any{})
	s.sayPayload(gone, uuid.New(), alert.TypeOpened, map[string]any{})
	s.sayOpened(m, uuid.New(), incident.Missed, t0)
	fed := s.feed(6)
	var types []string
	for _, u := range fed.Unreadable {
		types = append(types, u.Type)
		if u.Err == nil || u.Org != s.a.org || u.Outbox == 0 {
			t.Errorf("%+v", u)
		}
	}
	if diff := cmp.Diff([]string{alert.TypeOpened, alert.TypeResolved, rule.TypeFiring, "odd"}, types); diff != "" {
		t.Error(diff)
	}
	s.only(s.a)
	s.feed(0)
	if at, err := s.store.OldestUnfed(s.ctx); err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}
	s.sayOpened(m, uuid.New(), incident.Late, t0)
	if at, err := s.store.OldestUnfed(s.ctx); err != nil || time.Since(at) > time.Minute || time.Since(at) < 0 {
		t.Errorf("%v, %v", at, err)
	}
}

// Processes feed while others fan out and acknowledge: nothing is lost, nothing waits for ever.
func TestManyFeed(t *testing.T) {
	s := newBundle(t)
	const monitors, rounds = 6, 12
	var ms []inventory.Monitor
	for i := range monitors {
		o := []owner{s.a, s.b}[i%2]
		ms = append(ms, s.create(o, "m"+string(rune('a'+i))))
	}
	var wg sync.WaitGroup
	last := make([]uuid.UUID, monitors)
	for i, m := range ms {
		wg.Go(func() {
			for n := range rounds {
				at := t0.Add(time.Duration(n) * time.Minute)
				id := s.open(m, incident.Fail, at)
				s.sayOpened(m, id, incident.Fail, at)
				if n%3 == 0 {
					if _, err := s.store.AcknowledgeIncident(s.ctx, m.Org, id, uuid.New()); err != nil {
						t.Error(err)
					}
				}
				if last[i] = id; n < rounds-1 {
					s.exec(`update incidents set status = 'resolved', resolved_at = now() where id = $1`, id)
					s.sayResolved(m, id, incident.Fail, at, at.Add(time.Second))
				}
			}
		})
	}
	done := make(chan struct{})
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for {
				if _, err := s.store.FeedAlerts(s.ctx, 3, baseURL); err != nil {
					t.Error(err)
				}
				if _, err := s.store.FanOut(s.ctx, []string{"x"}, 4); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
	close(done)
	workers.Wait()
	s.feed(s.count(`select count(*) from outbox where not fed`))
	for i, m := range ms {
		a, err := s.store.RoutedByIncident(s.ctx, m.Org, last[i])
		if err != nil || !a.EndsAt.IsZero() {
			t.Errorf("%s: %+v, %v", m.Config.Name, a, err)
		}
	}
	if n := s.count(`select count(*) from alerts`); n != monitors {
		t.Errorf("%d alerts", n)
	}
}
