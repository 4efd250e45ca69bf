package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestIncidentFilters(t *testing.T) {
	s := newBundle(t)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m, n, other := s.create(s.a, "m"), s.create(s.a, "n"), s.create(s.b, "other")
	missed := s.open(m, incident.Missed, noon)
	failed := s.open(m, incident.Fail, noon.Add(time.Hour))
	late := s.open(n, incident.Late, noon.Add(time.Hour)) // the same instant
	s.open(other, incident.Missed, noon)
	s.exec(`update incidents set status = 'resolved', resolved_at = $2, resolution = 'recovered' where id = $1`, missed, noon.Add(time.Minute))

	tied := []uuid.UUID{failed, late}
	slices.SortFunc(tied, func(a, b uuid.UUID) int { return -slices.Compare(a[:], b[:]) })
	for name, c := range map[string]struct {
		f    inventory.IncidentFilter
		want []uuid.UUID
	}{
		"all":      {inventory.IncidentFilter{}, []uuid.UUID{tied[0], tied[1], missed}},
		"status":   {inventory.IncidentFilter{Statuses: []incident.Status{incident.Resolved, incident.Acknowledged}}, []uuid.UUID{missed}},
		"kind":     {inventory.IncidentFilter{Kinds: []incident.Kind{incident.Late}}, []uuid.UUID{late}},
		"monitor":  {inventory.IncidentFilter{Monitor: &m.ID}, []uuid.UUID{failed, missed}},
		"others":   {inventory.IncidentFilter{Monitor: &other.ID}, nil},
		"from":     {inventory.IncidentFilter{From: noon.Add(time.Second)}, tied},
		"to":       {inventory.IncidentFilter{To: noon.Add(time.Hour)}, []uuid.UUID{missed}},
		"limit":    {inventory.IncidentFilter{Limit: 1}, tied[:1]},
		"next":     {inventory.IncidentFilter{Limit: 1, Before: inventory.IncidentKey{OpenedAt: noon.Add(time.Hour), ID: tied[0]}}, tied[1:]},
		"the last": {inventory.IncidentFilter{Before: inventory.IncidentKey{OpenedAt: noon.Add(time.Hour), ID: tied[1]}}, []uuid.UUID{missed}},
	} {
		list, err := s.store.Incidents(s.ctx, s.a.org, c.f)
		s.must(err)
		var got []uuid.UUID
		for _, i := range list {
			got = append(got, i.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}

	got, err := s.store.Incident(s.ctx, s.a.org, missed)
	s.must(err)
	code, resolved := 3, noon.Add(time.Minute)
	want := inventory.Incident{
		ID: missed, Monitor: m.ID, MonitorName: "m", Kind: incident.Missed, Status: incident.Resolved, Severity: incident.Critical,
		OpenedAt: noon, ResolvedAt: &resolved, Resolution: "recovered", Evidence: incident.Evidence{ExitCode: &code},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAcknowledgeOnce(t *testing.T) {
	s := newBundle(t)
	id := s.open(s.create(s.a, "m"), incident.Missed, time.Now())
	first, second := uuid.New(), uuid.New()
	one, err := s.store.AcknowledgeIncident(s.ctx, s.a.org, id, first)
	s.must(err)
	if one.Status != incident.Acknowledged || one.AcknowledgedAt == nil || *one.AcknowledgedBy != first {
		t.Errorf("acknowledged %+v", one)
	}
	two, err := s.store.AcknowledgeIncident(s.ctx, s.a.org, id, second)
	s.must(err)
	if d := cmp.Diff(one, two); d != "" {
		t.Errorf("again: %s", d)
	}
	s.exec(`update incidents set status = 'resolved', resolved_at = now()`)
	if _, err := s.store.AcknowledgeIncident(s.ctx, s.a.org, id, first); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("resolved: %v, want a conflict", err)
	}
}

func TestResolveAsksTheEvaluator(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	id := s.open(m, incident.Missed, time.Now())
	i, queued, err := s.store.ResolveIncident(s.ctx, s.a.org, id)
	if err != nil || !queued || i.Status != incident.Open {
		t.Fatalf("%+v, queued %v, %v", i, queued, err)
	}
	j := &journal{}
	_, err = s.store.DrainControls(s.ctx, &m.ID, j.append)
	s.must(err)
	got := j.of(m.ID)
	if !slices.Equal(actions(got), []record.Action{record.Configure, record.ResolveIncident}) || string(got[1].Config) != string(id[:]) {
		t.Errorf("control records %+v", got)
	}

	s.must(s.store.DeleteMonitor(s.ctx, s.a.org, m.ID))
	if _, queued, err := s.store.ResolveIncident(s.ctx, s.a.org, id); queued || err != nil {
		t.Errorf("monitor gone: queued %v, %v", queued, err)
	}
	s.exec(`update incidents set status = 'resolved', resolved_at = now()`)
	if i, queued, err := s.store.ResolveIncident(s.ctx, s.a.org, id); queued || err != nil || i.Status != incident.Resolved {
		t.Errorf("resolved already: %+v, queued %v, %v", i, queued, err)
	}
}

func TestAnotherOrganisationsIncidentIsNotFound(t *testing.T) {
	s := newBundle(t)
	id := s.open(s.create(s.a, "m"), incident.Missed, time.Now())
	errs := map[string]error{}
	_, errs["read"] = s.store.Incident(s.ctx, s.b.org, id)
	_, errs["acknowledge"] = s.store.AcknowledgeIncident(s.ctx, s.b.org, id, uuid.New())
	_, _, errs["resolve"] = s.store.ResolveIncident(s.ctx, s.b.org, id)
	for what, err := range errs {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", what, err)
		}
	}
	if n := s.count(`select count(*) from incidents where status <> 'open'`); n != 0 {
		t.Errorf("%d incidents changed", n)
	}
}
