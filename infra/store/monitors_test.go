package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestAMonitorIsReadBackAsItWasWritten(t *testing.T) {
	s := newBundle(t)
	c := hourly(t, "Sicherung äöü 備份")
	c.Slug, c.Tags, c.Labels = "backup", []string{"db", "prod"}, map[string]string{"team": "core"}
	c.FailureTolerance, c.ManualResume = 2, true
	m, err := s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: s.a.project, Config: c})
	s.must(err)
	if d := cmp.Diff(c, m.Config); d != "" {
		t.Error(d)
	}
	if m.Status != monitor.New || m.OpenRuns != 0 || m.LastPingAt != nil || m.DueAt != nil || m.Version != 1 || m.Org != s.a.org || m.Project != s.a.project {
		t.Errorf("fresh monitor %+v", m)
	}
	if m.ID.Version() != 7 || m.Key.Version() != 4 {
		t.Errorf("id of version %d, key of version %d", m.ID.Version(), m.Key.Version())
	}
	again, err := s.store.Monitor(s.ctx, s.a.org, m.ID)
	s.must(err)
	if d := cmp.Diff(m, again); d != "" {
		t.Error(d)
	}

	s.evaluate(m, monitor.Late, 1)
	m, err = s.store.Monitor(s.ctx, s.a.org, m.ID)
	s.must(err)
	if m.Status != monitor.Late || m.OpenRuns != 2 || !m.LastPingAt.Equal(time.Date(2026, 1, 1, 12, 0, 0, 123456000, time.UTC)) ||
		m.DueAt.Location() != time.UTC || !m.DeadlineAt.Equal(time.Date(2026, 1, 1, 13, 5, 0, 0, time.UTC)) {
		t.Errorf("evaluated monitor %+v", m)
	}
}

func TestTheControlRecordHoldsTheConfiguration(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	j := &journal{}
	_, err := s.store.DrainControls(s.ctx, nil, j.append)
	s.must(err)
	var c monitor.Config
	s.must(json.Unmarshal(j.of(m.ID)[0].Config, &c))
	if d := cmp.Diff(m.Config, c); d != "" {
		t.Error(d)
	}
}

// The flag says what was asked for, the state what the evaluator has come to.
func TestStatusWhileTheEvaluatorIsBehind(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	shown := func(want monitor.Status) {
		t.Helper()
		got, err := s.store.Monitor(s.ctx, s.a.org, m.ID)
		s.must(err)
		if got.Status != want {
			t.Errorf("status %s, want %s", got.Status, want)
		}
		list, err := s.store.Monitors(s.ctx, s.a.org, inventory.MonitorFilter{Statuses: []monitor.Status{want}})
		s.must(err)
		if len(list) != 1 || list[0].Status != want {
			t.Errorf("the list of status %s: %+v", want, list)
		}
	}
	pause := func(on bool) {
		t.Helper()
		_, err := s.store.SetPaused(s.ctx, s.a.org, m.ID, on)
		s.must(err)
	}
	shown(monitor.New)
	pause(true) // version 2, before the evaluator has heard of the monitor at all
	shown(monitor.Paused)
	s.evaluate(m, monitor.New, 1)
	shown(monitor.Paused)
	s.evaluate(m, monitor.Paused, 2)
	shown(monitor.Paused)
	pause(false)      // 3
	shown(monitor.Up) // there was a ping
	s.exec(`update monitor_states set last_ping_at = null`)
	shown(monitor.New)
	s.evaluate(m, monitor.New, 3)
	shown(monitor.New)
	pause(true) // 4
	s.evaluate(m, monitor.Paused, 4)
	s.evaluate(m, monitor.Up, 4) // a ping resumed it
	shown(monitor.Up)
	_, err := s.store.UpdateMonitor(s.ctx, s.a.org, m.ID, func(c monitor.Config) (monitor.Config, error) { return c, nil })
	s.must(err)
	shown(monitor.Up) // the change is under way, and the old wish to pause is not revived by it
	s.evaluate(m, monitor.Down, 5)
	shown(monitor.Down)
}

func TestEditorsSeeEachOther(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	const editors = 12
	var wg sync.WaitGroup
	for i := range editors {
		wg.Go(func() {
			_, err := s.store.UpdateMonitor(s.ctx, s.a.org, m.ID, func(c monitor.Config) (monitor.Config, error) {
				c.Tags = append(c.Tags, fmt.Sprint(i))
				return c, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m, err := s.store.Monitor(s.ctx, s.a.org, m.ID)
	s.must(err)
	if len(m.Config.Tags) != editors || m.Version != editors+1 {
		t.Errorf("version %d, tags %v", m.Version, m.Config.Tags)
	}
	j := &journal{}
	_, err = s.store.DrainControls(s.ctx, nil, j.append)
	s.must(err)
	if got := actions(j.of(m.ID)); len(got) != editors+1 {
		t.Errorf("control records %v", got)
	}
}

func TestARefusedEditChangesNothing(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	refusal := errors.New("no")
	_, err := s.store.UpdateMonitor(s.ctx, s.a.org, m.ID, func(c monitor.Config) (monitor.Config, error) {
		c.Name = "other"
		return c, refusal
	})
	if err != refusal { //nolint:errorlint // it is to be the very error
		t.Errorf("%v", err)
	}
	again, err := s.store.Monitor(s.ctx, s.a.org, m.ID)
	s.must(err)
	if d := cmp.Diff(m, again); d != "" {
		t.Error(d)
	}
}

func TestMonitorFilters(t *testing.T) {
	s := newBundle(t)
	second := tenant.ProjectID{UUID: uuid.New()}
	s.exec(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $2, 'second', 'second', 'second')`, second, s.a.org)
	make := func(p tenant.ProjectID, name, slug string, tags ...string) inventory.Monitor {
		c := hourly(t, name)
		c.Slug, c.Tags = slug, tags
		m, err := s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: p, Config: c})
		s.must(err)
		return m
	}
	db := make(s.a.project, "Nightly Database dump", "db", "prod", "db")
	web := make(s.a.project, "web 100%_sure", "web", "prod")
	etl := make(second, "etl", "")
	s.create(s.b, "Nightly of another organisation")
	s.evaluate(web, monitor.Down, 1)

	for name, c := range map[string]struct {
		f    inventory.MonitorFilter
		want []uuid.UUID
	}{
		"all":            {inventory.MonitorFilter{}, []uuid.UUID{db.ID, web.ID, etl.ID}},
		"status":         {inventory.MonitorFilter{Statuses: []monitor.Status{monitor.Down, monitor.Paused}}, []uuid.UUID{web.ID}},
		"tag":            {inventory.MonitorFilter{Tags: []string{"prod"}}, []uuid.UUID{db.ID, web.ID}},
		"tags":           {inventory.MonitorFilter{Tags: []string{"prod", "db"}}, []uuid.UUID{db.ID}},
		"name":           {inventory.MonitorFilter{Name: "nightly d"}, []uuid.UUID{db.ID}},
		"no pattern":     {inventory.MonitorFilter{Name: "%_"}, []uuid.UUID{web.ID}},
		"slug":           {inventory.MonitorFilter{Slug: "web"}, []uuid.UUID{web.ID}},
		"project":        {inventory.MonitorFilter{Project: &second}, []uuid.UUID{etl.ID}},
		"others project": {inventory.MonitorFilter{Project: &s.b.project}, nil},
		"limit":          {inventory.MonitorFilter{Limit: 2}, []uuid.UUID{db.ID, web.ID}},
		"after":          {inventory.MonitorFilter{After: db.ID, Limit: 1}, []uuid.UUID{web.ID}},
	} {
		list, err := s.store.Monitors(s.ctx, s.a.org, c.f)
		s.must(err)
		var got []uuid.UUID
		for _, m := range list {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAnotherOrganisationsMonitorIsNotFound(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	_, err := s.store.CreateMonitor(s.ctx, s.b.org, inventory.NewMonitor{Project: s.a.project, Config: hourly(t, "intruder")})
	errs := map[string]error{"create": err}
	_, errs["read"] = s.store.Monitor(s.ctx, s.b.org, m.ID)
	_, errs["update"] = s.store.UpdateMonitor(s.ctx, s.b.org, m.ID, func(c monitor.Config) (monitor.Config, error) { return c, nil })
	_, errs["pause"] = s.store.SetPaused(s.ctx, s.b.org, m.ID, true)
	_, errs["rotate"] = s.store.RotateKey(s.ctx, s.b.org, m.ID)
	errs["delete"] = s.store.DeleteMonitor(s.ctx, s.b.org, m.ID)
	_, errs["slug"] = s.store.CreateBySlug(s.ctx, s.b.org, s.a.project, "x")
	for what, err := range errs {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", what, err)
		}
	}
	again, err := s.store.Monitor(s.ctx, s.a.org, m.ID)
	s.must(err)
	if d := cmp.Diff(m, again); d != "" {
		t.Error(d)
	}
	if n := s.count(`select count(*) from control_queue`); n != 1 {
		t.Errorf("%d control records, want the one that made the monitor", n)
	}
}

func TestDeletionIsAControlRecord(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	s.must(s.store.DeleteMonitor(s.ctx, s.a.org, m.ID))
	if err := s.store.DeleteMonitor(s.ctx, s.a.org, m.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	j := &journal{}
	_, err := s.store.DrainControls(s.ctx, nil, j.append)
	s.must(err)
	if got := actions(j.of(m.ID)); !slices.Equal(got, []record.Action{record.Configure, record.Delete}) {
		t.Errorf("actions %v", got)
	}
}

func TestCreateBySlug(t *testing.T) {
	s := newBundle(t)
	const callers = 8
	targets := make([]tenant.PingTarget, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { targets[i], errs[i] = s.store.CreateBySlug(s.ctx, s.a.org, s.a.project, "etl-1") })
	}
	wg.Wait()
	created := 0
	for i, err := range errs {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, store.ErrConflict):
			t.Fatal(err)
		}
		if targets[i] != targets[0] || targets[i].Slug != "etl-1" {
			t.Errorf("targets %v and %v", targets[i], targets[0])
		}
	}
	if created != 1 {
		t.Errorf("%d callers made the monitor", created)
	}
	m, err := s.store.Monitor(s.ctx, s.a.org, targets[0].Monitor)
	s.must(err)
	if m.Config.Name != "etl-1" || m.Config.Schedule.Interval.String() != "1d" || m.Config.Grace.String() != "1h" || m.Config.Validate() != nil {
		t.Errorf("configuration %+v", m.Config)
	}
	if target(m) != targets[0] {
		t.Errorf("target %v of %v", targets[0], m)
	}

	other, err := s.store.CreateBySlug(s.ctx, s.b.org, s.b.project, "etl-1")
	if err != nil || other.Monitor == m.ID {
		t.Errorf("another project's slug: %v, %v", other, err)
	}
	twin := hourly(t, "twin")
	twin.Slug = "etl-1"
	_, err = s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: s.a.project, Config: twin})
	s.must(err)
	if got, err := s.store.CreateBySlug(s.ctx, s.a.org, s.a.project, "etl-1"); !errors.Is(err, store.ErrAmbiguousSlug) || got != (tenant.PingTarget{}) {
		t.Errorf("two share it: %v, %v", got, err)
	}
	for _, bad := range []string{"", "Upper", "a b", "ä"} {
		if _, err := s.store.CreateBySlug(s.ctx, s.a.org, s.a.project, bad); err == nil {
			t.Errorf("slug %q was taken", bad)
		}
	}
}

func TestASlugThatIsAWishIsNeverTakenTwice(t *testing.T) {
	s := newBundle(t)
	s.createWithSlug("backup-2")
	const callers = 6
	var wg sync.WaitGroup
	slugs := make([]string, callers)
	for i := range callers {
		wg.Go(func() {
			c := hourly(t, "backup")
			c.Slug = "backup"
			m, err := s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: s.a.project, Config: c, FreeSlug: true})
			if err != nil {
				t.Error(err)
			}
			slugs[i] = m.Config.Slug
		})
	}
	wg.Wait()
	slices.Sort(slugs)
	if want := []string{"backup", "backup-3", "backup-4", "backup-5", "backup-6", "backup-7"}; !slices.Equal(slugs, want) {
		t.Errorf("slugs %v, want %v", slugs, want)
	}
	if m := s.createWithSlug("backup"); m.Config.Slug != "backup" {
		t.Errorf("a slug asked for became %q", m.Config.Slug)
	}
}

func (s *bundle) createWithSlug(slug string) inventory.Monitor {
	s.t.Helper()
	c := hourly(s.t, "m")
	c.Slug = slug
	m, err := s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: s.a.project, Config: c})
	s.must(err)
	return m
}
