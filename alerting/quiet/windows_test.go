package quiet_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/promslog"

	"github.com/tokiflow/tokiflow/alerting/quiet"
	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	rules "github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

// office is an organisation with a real database.
type office struct {
	t     *testing.T
	ctx   context.Context
	pool  *pgxpool.Pool
	store *store.Store
	org   tenant.OrgID
	boot  inventory.Organisation
}

func newOffice(t *testing.T) *office {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	o := &office{t: t, ctx: ctx, pool: pgtest.New(t)}
	o.store = store.New(o.pool)
	boot, err := o.store.Bootstrap(ctx, "")
	o.must(err)
	o.org = boot.Org.ID
	o.boot, err = o.store.Organisation(ctx, o.org)
	o.must(err)
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) create(s rules.Scope, t rules.Time, now time.Time) rules.Window {
	o.t.Helper()
	w, err := o.store.CreateMaintenanceWindow(o.ctx, o.org, rules.Window{Name: "upgrade", Scope: s, Time: t}, now)
	o.must(err)
	return w
}

// silences are those that an instance would be given, by start and matchers.
func (o *office) silences(now time.Time) []*silencepb.Silence {
	o.t.Helper()
	s, err := o.store.AlertingState(o.ctx, o.org, now)
	o.must(err)
	var out []*silencepb.Silence
	for _, b := range s.Silences {
		m, err := silences.Unmarshal(b.Body)
		o.must(err)
		out = append(out, m.Silence)
	}
	slices.SortFunc(out, func(a, b *silencepb.Silence) int {
		if c := a.StartsAt.AsTime().Compare(b.StartsAt.AsTime()); c != 0 {
			return c
		}
		return strings.Compare(text(a), text(b))
	})
	return out
}

func text(s *silencepb.Silence) string {
	var words []string
	for _, set := range s.MatcherSets {
		for _, m := range set.Matchers {
			words = append(words, m.Name+map[silencepb.Matcher_Type]string{
				silencepb.Matcher_EQUAL: "=", silencepb.Matcher_REGEXP: "=~", silencepb.Matcher_NOT_EQUAL: "!=", silencepb.Matcher_NOT_REGEXP: "!~",
			}[m.Type]+m.Pattern)
		}
	}
	return strings.Join(words, ",")
}

func (o *office) windows(now time.Time) *quiet.Windows {
	return quiet.NewWindows(quiet.WindowOptions{Windows: o.store, Silences: o.store, Now: func() time.Time { return now }, Logger: promslog.NewNopLogger()})
}

func between(from, to time.Time) rules.Time { return rules.Time{StartsAt: from, EndsAt: to} }

func TestSilencesOfAWindow(t *testing.T) {
	o := newOffice(t)
	now := time.Now().UTC().Truncate(time.Second)
	one, err := o.store.CreateMonitor(o.ctx, o.org, inventory.NewMonitor{
		Project: o.boot.Projects[0].ID, Config: monitor.Config{Name: "one", Schedule: schedule.Spec{Interval: 3600e9}},
	})
	o.must(err)
	scope := rules.Scope{Monitors: []uuid.UUID{one.ID}, Tags: []string{"db", "a.b"}, Projects: []uuid.UUID{o.boot.Projects[0].ID.UUID}}
	w := o.create(scope, between(now.Add(-time.Minute), now.Add(time.Hour)), now)
	o.must(o.windows(now).Once(o.ctx))
	got := o.silences(now)
	want := []string{"id=" + one.ID.String(), "project=" + o.boot.Projects[0].Name, `tags=~.*,(db|a\.b),.*`}
	if len(got) != len(want) {
		t.Fatalf("%d silences: %v", len(got), got)
	}
	ids := map[string]bool{}
	for i, s := range got {
		ids[s.Id] = true
		if text(s) != want[i] || s.Comment != "maintenance: upgrade" || !s.StartsAt.AsTime().Equal(w.Time.StartsAt) || !s.EndsAt.AsTime().Equal(w.Time.EndsAt) {
			t.Errorf("%s: %v", want[i], s)
		}
	}
	// Nothing changed: nothing is written.
	before, err := o.store.AlertingState(o.ctx, o.org, now)
	o.must(err)
	o.must(o.windows(now.Add(time.Minute)).Once(o.ctx))
	after, err := o.store.AlertingState(o.ctx, o.org, now)
	o.must(err)
	if after.Version != before.Version {
		t.Errorf("version %d became %d", before.Version, after.Version)
	}
	// Without the monitor: that silence ends, the others go on under their names.
	later := now.Add(2 * time.Minute)
	w.Scope.Monitors = nil
	_, err = o.store.ReplaceMaintenanceWindow(o.ctx, o.org, w, later)
	o.must(err)
	o.must(o.windows(later).Once(o.ctx))
	active := 0
	for _, s := range o.silences(later) {
		if !ids[s.Id] {
			t.Errorf("a new silence %v", s)
		}
		if s.EndsAt.AsTime().After(later) {
			active++
		}
	}
	if active != 2 {
		t.Errorf("%d silences are active, want 2", active)
	}
	o.must(o.store.DeleteMaintenanceWindow(o.ctx, o.org, w.ID, later))
	o.must(o.windows(later).Once(o.ctx))
	for _, s := range o.silences(later) {
		if s.EndsAt.AsTime().After(later) {
			t.Errorf("after the deletion %v", s)
		}
	}
}

func TestARecurringWindow(t *testing.T) {
	o := newOffice(t)
	now := time.Date(2026, 10, 24, 6, 0, 0, 0, time.UTC)
	o.create(rules.Scope{All: true}, rules.Time{Cron: "30 2 * * *", Timezone: "Europe/Berlin", Duration: time.Hour}, now)
	for range 4 * 24 * 2 { // four days of looking every half hour; the clock goes back on the 25th
		o.must(o.windows(now).Once(o.ctx))
		now = now.Add(30 * time.Minute)
	}
	var got []string
	for _, s := range o.silences(time.Date(2026, 10, 24, 6, 0, 0, 0, time.UTC)) {
		got = append(got, s.StartsAt.AsTime().Format("02 15:04")+" "+text(s))
	}
	want := "25 00:30 alertname=~.+|26 01:30 alertname=~.+|27 01:30 alertname=~.+|28 01:30 alertname=~.+|29 01:30 alertname=~.+"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
}

// A written window is silenced within moments, by one of several processes, and nobody makes two.
func TestWindowsRunInSeveralProcesses(t *testing.T) {
	o := newOffice(t)
	ctx, cancel := context.WithCancel(o.ctx)
	var running sync.WaitGroup
	saved := &counted{SilenceStore: o.store, saved: make(chan struct{}, 100)}
	for range 3 {
		w := quiet.NewWindows(quiet.WindowOptions{Windows: o.store, Silences: saved})
		running.Go(func() {
			if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		})
	}
	for range 5 {
		now := time.Now()
		w := o.create(rules.Scope{All: true}, between(now, now.Add(time.Hour)), now)
		<-saved.saved
		o.must(o.store.DeleteMaintenanceWindow(o.ctx, o.org, w.ID, time.Now()))
		<-saved.saved
	}
	cancel()
	running.Wait()
	if got := o.silences(time.Now()); len(got) != 5 {
		t.Errorf("%d silences", len(got))
	}
}

// counted says when silences are stored.
type counted struct {
	quiet.SilenceStore
	saved chan struct{}
}

func (c *counted) SaveSilences(ctx context.Context, org tenant.OrgID, s []alert.StoredSilence) error {
	err := c.SilenceStore.SaveSilences(ctx, org, s)
	c.saved <- struct{}{}
	return err
}

// What could not be stored is stored the next time.
func TestSilencesThatCouldNotBeStored(t *testing.T) {
	o := newOffice(t)
	now := time.Now().UTC()
	o.create(rules.Scope{All: true}, between(now, now.Add(time.Hour)), now)
	away := quiet.NewWindows(quiet.WindowOptions{Windows: o.store, Silences: broken{}})
	if err := away.Once(o.ctx); err == nil {
		t.Error("nobody was told")
	}
	o.must(o.windows(now).Once(o.ctx))
	if got := o.silences(now); len(got) != 1 {
		t.Errorf("%d silences", len(got))
	}
}

type broken struct{}

func (broken) SaveSilences(context.Context, tenant.OrgID, []alert.StoredSilence) error {
	return errors.New("away")
}
