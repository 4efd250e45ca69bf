package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

func middayMonday() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) } // a Monday

// window is one of an organisation's, of two hours from the instant.
func window(from time.Time, s quiet.Scope) quiet.Window {
	return quiet.Window{Name: "upgrade", Comment: "of the database", Scope: s, Time: quiet.Time{StartsAt: from, EndsAt: from.Add(2 * time.Hour)}}
}

func everyDay(at string) quiet.Window {
	return quiet.Window{
		Name: "backup", Scope: quiet.Scope{All: true},
		Time: quiet.Time{Weekly: &quiet.Weekly{Days: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, At: at}, Duration: time.Hour},
	}
}

func (s *bundle) createWindow(o owner, w quiet.Window, now time.Time) quiet.Window {
	s.t.Helper()
	w, err := s.store.CreateMaintenanceWindow(s.ctx, o.org, w, now)
	s.must(err)
	return w
}

// untold lists the occurrences that silences must be made of, and marks them.
func (s *bundle) untold() []string {
	s.t.Helper()
	list, err := s.store.UntoldOccurrences(s.ctx, 100)
	s.must(err)
	var out []string
	for _, u := range list {
		text := u.Name + " " + u.StartsAt.Format("01-02 15:04") + " to " + u.EndsAt.Format("01-02 15:04")
		if u.Cancelled {
			text += " cancelled"
		}
		if len(u.Silenced) > 0 {
			text += " after " + strings.Join(u.Silenced, ",")
		}
		out = append(out, text)
		s.must(s.store.MarkOccurrence(s.ctx, u.Org, u, []string{"all"}))
	}
	return out
}

func (s *bundle) same(got []string, want ...string) {
	s.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		s.t.Error(d)
	}
}

func TestMaintenanceWindowIsKept(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "job").ID
	w := window(middayMonday().Add(time.Hour), quiet.Scope{Monitors: []uuid.UUID{m}, Tags: []string{"db"}, Projects: []uuid.UUID{s.a.project.UUID}})
	w.CreatedBy = uuid.New()
	made := s.createWindow(s.a, w, middayMonday())
	r := everyDay("03:00")
	r.Time.Timezone = "Europe/Berlin"
	second := s.createWindow(s.a, r, middayMonday())
	got, err := s.store.MaintenanceWindow(s.ctx, s.a.org, made.ID)
	s.must(err)
	if d := cmp.Diff(made, got); d != "" || got.Org != s.a.org || got.CreatedAt.IsZero() {
		t.Errorf("%s", d)
	}
	all, err := s.store.MaintenanceWindows(s.ctx, s.a.org)
	s.must(err)
	if d := cmp.Diff([]quiet.Window{made, second}, all); d != "" {
		t.Error(d)
	}
	// Nobody else sees or changes it.
	if _, err := s.store.MaintenanceWindow(s.ctx, s.b.org, made.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another's: %v", err)
	}
	if _, err := s.store.ReplaceMaintenanceWindow(s.ctx, s.b.org, made, middayMonday()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("replace another's: %v", err)
	}
	if err := s.store.DeleteMaintenanceWindow(s.ctx, s.b.org, made.ID, middayMonday()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("delete another's: %v", err)
	}
	s.must(s.store.DeleteMaintenanceWindow(s.ctx, s.a.org, made.ID, middayMonday()))
	if err := s.store.DeleteMaintenanceWindow(s.ctx, s.a.org, made.ID, middayMonday()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestScopeOfOthersIsRefused(t *testing.T) {
	s := newBundle(t)
	theirs := s.create(s.b, "theirs").ID
	for field, scope := range map[string]quiet.Scope{
		"scope.monitors[0]": {Monitors: []uuid.UUID{theirs}},
		"scope.projects[1]": {Projects: []uuid.UUID{s.a.project.UUID, s.b.project.UUID}},
	} {
		_, err := s.store.CreateMaintenanceWindow(s.ctx, s.a.org, window(middayMonday(), scope), middayMonday())
		var bad *quiet.FieldError
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestOccurrencesArePlannedADayAhead(t *testing.T) {
	s := newBundle(t)
	s.createWindow(s.a, everyDay("11:30"), middayMonday())                                                // it is on
	s.createWindow(s.b, window(middayMonday().Add(30*time.Hour), quiet.Scope{All: true}), middayMonday()) // it comes tomorrow
	s.same(s.untold(), "backup 06-01 11:30 to 06-01 12:30", "backup 06-02 11:30 to 06-02 12:30")
	s.same(s.untold())
	for _, step := range []struct {
		now  time.Time
		want []string
	}{
		{middayMonday().Add(time.Hour), nil},
		{middayMonday().Add(7 * time.Hour), []string{"upgrade 06-02 18:00 to 06-02 20:00"}},
		// Nobody looked for two days.
		{middayMonday().Add(55 * time.Hour), []string{"backup 06-03 11:30 to 06-03 12:30", "backup 06-04 11:30 to 06-04 12:30"}},
	} {
		for {
			n, err := s.store.PlanMaintenance(s.ctx, step.now, 1)
			s.must(err)
			if n == 0 {
				break
			}
		}
		s.same(s.untold(), step.want...)
	}
	if n := s.count(`select count(*) from maintenance_windows where next_at is null`); n != 1 {
		t.Errorf("%d windows have nothing to come, want 1", n)
	}
}

func TestChangedAndDeletedWindows(t *testing.T) {
	s := newBundle(t)
	w := s.createWindow(s.a, everyDay("11:30"), middayMonday())
	s.untold()
	// Another time: what is on ends, what was to come does not.
	w.Time.Weekly.At = "15:00"
	w, err := s.store.ReplaceMaintenanceWindow(s.ctx, s.a.org, w, middayMonday())
	s.must(err)
	s.same(s.untold(), "backup 06-01 11:30 to 06-01 12:00 cancelled after all",
		"backup 06-01 15:00 to 06-01 16:00", "backup 06-02 11:30 to 06-02 11:30 cancelled after all")
	// Longer: the occurrence stays and changes.
	w.Time.Duration, w.Name = 3*time.Hour, "longer"
	_, err = s.store.ReplaceMaintenanceWindow(s.ctx, s.a.org, w, middayMonday().Add(3*time.Hour+time.Minute))
	s.must(err)
	s.same(s.untold(), "longer 06-01 15:00 to 06-01 18:00 after all", "longer 06-02 15:00 to 06-02 18:00")
	s.must(s.store.DeleteMaintenanceWindow(s.ctx, s.a.org, w.ID, middayMonday().Add(4*time.Hour)))
	s.same(s.untold(), "longer 06-01 15:00 to 06-01 16:00 cancelled after all", "longer 06-02 15:00 to 06-02 15:00 cancelled after all")
	// What was is remembered.
	m := s.create(s.a, "job").ID
	times, err := s.store.MaintenanceTimes(s.ctx, s.a.org, history.Window{From: middayMonday().Add(-24 * time.Hour), To: middayMonday().Add(48 * time.Hour)}, m)
	s.must(err)
	want := []history.Window{
		{From: middayMonday().Add(-30 * time.Minute), To: middayMonday()}, {From: middayMonday().Add(3 * time.Hour), To: middayMonday().Add(4 * time.Hour)},
	}
	if d := cmp.Diff(want, times[m]); d != "" {
		t.Error(d)
	}
}

// A change that comes while silences are being stored is not taken for told.
func TestMarkingAnOldRevision(t *testing.T) {
	s := newBundle(t)
	w := s.createWindow(s.a, window(middayMonday(), quiet.Scope{All: true}), middayMonday())
	list, err := s.store.UntoldOccurrences(s.ctx, 10)
	s.must(err)
	s.must(s.store.DeleteMaintenanceWindow(s.ctx, s.a.org, w.ID, middayMonday().Add(time.Minute)))
	s.must(s.store.MarkOccurrence(s.ctx, s.a.org, list[0], []string{"all"}))
	s.same(s.untold(), "upgrade 06-01 12:00 to 06-01 12:01 cancelled after all")
}

func TestMaintenanceTimes(t *testing.T) {
	s := newBundle(t)
	tagged := s.create(s.a, "tagged").ID
	s.exec(`update monitors set tags = '{db,x}' where id = $1`, tagged)
	plain := s.create(s.a, "plain").ID
	theirs := s.create(s.b, "theirs").ID
	s.createWindow(s.a, window(middayMonday(), quiet.Scope{Tags: []string{"db"}}), middayMonday().AddDate(0, 1, 0)) // said afterwards
	s.createWindow(s.a, window(middayMonday().Add(time.Hour), quiet.Scope{Monitors: []uuid.UUID{plain, tagged}}), middayMonday())
	s.createWindow(s.b, window(middayMonday(), quiet.Scope{All: true}), middayMonday())
	w := history.Window{From: middayMonday().Add(30 * time.Minute), To: middayMonday().Add(24 * time.Hour)}
	hours := func(from, to float64) history.Window {
		return history.Window{From: middayMonday().Add(time.Duration(from * float64(time.Hour))), To: middayMonday().Add(time.Duration(to * float64(time.Hour)))}
	}
	got, err := s.store.MaintenanceTimes(s.ctx, s.a.org, w)
	s.must(err)
	want := map[uuid.UUID][]history.Window{tagged: {hours(0.5, 3)}, plain: {hours(1, 3)}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err = s.store.MaintenanceTimes(s.ctx, s.a.org, w, plain, theirs); err != nil || len(got) != 1 {
		t.Errorf("of one: %v, %v", got, err)
	}
	// One that comes once can be corrected, also what is past of it.
	all, err := s.store.MaintenanceWindows(s.ctx, s.a.org)
	s.must(err)
	all[0].Time.EndsAt = middayMonday().Add(45 * time.Minute)
	_, err = s.store.ReplaceMaintenanceWindow(s.ctx, s.a.org, all[0], middayMonday().AddDate(0, 1, 0))
	s.must(err)
	got, err = s.store.MaintenanceTimes(s.ctx, s.a.org, w, tagged)
	s.must(err)
	if d := cmp.Diff(map[uuid.UUID][]history.Window{tagged: {hours(0.5, 0.75), hours(1, 3)}}, got); d != "" {
		t.Error(d)
	}
}

func TestMaintenanceTurn(t *testing.T) {
	s := newBundle(t)
	done, err := s.store.InMaintenanceTurn(s.ctx, func(ctx context.Context) error {
		again, err := s.store.InMaintenanceTurn(ctx, func(context.Context) error { t.Error("two at once"); return nil })
		if again || err != nil {
			t.Errorf("the second: %v, %v", again, err)
		}
		return nil
	})
	if !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

func TestListenMaintenance(t *testing.T) {
	s := newBundle(t)
	ctx, cancel := context.WithCancel(s.ctx)
	woken := make(chan struct{}, 10)
	ended := make(chan error)
	go func() { ended <- s.store.ListenMaintenance(ctx, func() { woken <- struct{}{} }) }()
	<-woken // it listens
	w := s.createWindow(s.a, window(middayMonday(), quiet.Scope{All: true}), middayMonday())
	<-woken
	s.must(s.store.DeleteMaintenanceWindow(s.ctx, s.a.org, w.ID, middayMonday()))
	<-woken
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestTooManyWindows(t *testing.T) {
	s := newBundle(t)
	s.exec(`insert into maintenance_windows (id, org_id, name, scope, time) select gen_random_uuid(), $1, 'w', '{}', '{}' from generate_series(1, $2)`, s.a.org, quiet.MostWindows)
	if _, err := s.store.CreateMaintenanceWindow(s.ctx, s.a.org, window(middayMonday(), quiet.Scope{All: true}), middayMonday()); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("%v", err)
	}
	s.createWindow(s.b, window(middayMonday(), quiet.Scope{All: true}), middayMonday())
}

func TestDependencies(t *testing.T) {
	s := newBundle(t)
	a, b, c := s.create(s.a, "alpha").ID, s.create(s.a, "beta").ID, s.create(s.a, "gamma").ID
	theirs := s.create(s.b, "theirs").ID
	put := func(m uuid.UUID, parents ...uuid.UUID) error {
		return s.store.PutMonitorDependencies(s.ctx, s.a.org, m, parents)
	}
	s.must(put(a, c, b, c))
	s.must(put(b, c))
	list, err := s.store.MonitorDependencies(s.ctx, s.a.org, a)
	s.must(err)
	if len(list) != 2 || !slices.Contains(list, b) || !slices.Contains(list, c) {
		t.Errorf("%v", list)
	}
	err = put(c, a)
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(fault.MessageOf(err), "gamma ("+c.String()+") → alpha ("+a.String()+") → gamma") {
		t.Errorf("a cycle: %v", err)
	}
	var bad *quiet.FieldError
	if err := put(c, theirs); !errors.As(err, &bad) || bad.Field != "depends_on[0]" {
		t.Errorf("another organisation's: %v", err)
	}
	if err := put(c, make([]uuid.UUID, 51)...); !errors.As(err, &bad) || bad.Field != "depends_on" {
		t.Errorf("51 parents: %v", err)
	}
	if err := put(theirs, a); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of another organisation's: %v", err)
	}
	if _, err := s.store.MonitorDependencies(s.ctx, s.b.org, a); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read by another organisation: %v", err)
	}
	edges, version, err := s.store.Dependencies(s.ctx, s.a.org, -1)
	s.must(err)
	if len(edges) != 2 || len(edges[a]) != 2 || version != 2 {
		t.Errorf("version %d: %v", version, edges)
	}
	if edges, again, err := s.store.Dependencies(s.ctx, s.a.org, version); edges != nil || again != version || err != nil {
		t.Errorf("nothing changed, but %v, %d, %v", edges, again, err)
	}
	if edges, version, err := s.store.Dependencies(s.ctx, tenant.OrgID{UUID: uuid.New()}, -1); len(edges) > 0 || version != 0 || err != nil {
		t.Errorf("of nobody: %v, %d, %v", edges, version, err)
	}
	s.must(put(a)) // none
	s.must(put(c, a))
	if list, err := s.store.MonitorDependencies(s.ctx, s.a.org, a); len(list) > 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	s.must(s.store.DeleteMonitor(s.ctx, s.a.org, c))
	if n := s.count(`select count(*) from monitor_dependencies`); n != 0 {
		t.Errorf("%d dependencies of a deleted monitor are left", n)
	}
}

// Changes at the same time, each without a cycle, close none together.
func TestDependenciesAtOnce(t *testing.T) {
	s := newBundle(t)
	const n = 8
	var m [n]uuid.UUID
	for i := range m {
		m[i] = s.create(s.a, "ring").ID
	}
	for range 5 {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range m {
			all.Go(func() { errs[i] = s.store.PutMonitorDependencies(s.ctx, s.a.org, m[i], []uuid.UUID{m[(i+1)%n]}) })
		}
		all.Wait()
		refused := 0
		for _, err := range errs {
			if fault.CodeOf(err) == fault.Invalid {
				refused++
			} else {
				s.must(err)
			}
		}
		if refused != 1 {
			t.Errorf("%d of a ring were refused, want 1", refused)
		}
		for i := range m {
			s.must(s.store.PutMonitorDependencies(s.ctx, s.a.org, m[i], nil))
		}
	}
}
