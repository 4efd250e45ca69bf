package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// watcher follows the targets as ingest does.
type watcher struct {
	s       *bundle
	changes chan tenant.PingTargets
	done    chan error
	stop    context.CancelFunc
}

func (s *bundle) watch() *watcher {
	ctx, stop := context.WithCancel(s.ctx)
	w := &watcher{s: s, changes: make(chan tenant.PingTargets, 100), done: make(chan error, 1), stop: stop}
	go func() { w.done <- s.store.WatchTargets(ctx, func(p tenant.PingTargets) { w.changes <- p }) }()
	return w
}

func (w *watcher) next() tenant.PingTargets {
	w.s.t.Helper()
	select {
	case c := <-w.changes:
		return c
	case err := <-w.done:
		w.s.t.Fatalf("the watch ended: %v", err)
	case <-time.After(20 * time.Second):
		w.s.t.Fatal("no change within 20 s")
	}
	return tenant.PingTargets{}
}

func target(m inventory.Monitor) tenant.PingTarget {
	return tenant.PingTarget{Org: m.Org, Project: m.Project, Monitor: m.ID, Key: m.Key, Slug: m.Config.Slug}
}

func TestATargetFollowsItsMonitor(t *testing.T) {
	s := newBundle(t)
	old := s.create(s.b, "old")
	_, err := s.store.DrainControls(s.ctx, nil, (&journal{}).append)
	s.must(err)
	waiting := s.create(s.a, "waiting") // not yet in the log: it must not be seen

	w := s.watch()
	got := w.next()
	slices.SortFunc(got.Projects, func(a, b tenant.ProjectKey) int { return len(a.Key) - len(b.Key) })
	want := tenant.PingTargets{
		Full: true,
		Projects: []tenant.ProjectKey{
			{Org: s.b.org, Project: s.b.project, Key: s.b.projectKey},
			{Org: s.a.org, Project: s.a.project, Key: s.a.projectKey},
		},
		Targets: []tenant.PingTarget{target(old)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	expect := func(what string, m inventory.Monitor, targets ...tenant.PingTarget) {
		t.Helper()
		if d := cmp.Diff(tenant.PingTargets{Monitor: m.ID, Targets: targets}, w.next()); d != "" {
			t.Fatalf("%s: %s", what, d)
		}
	}

	_, err = s.store.DrainControls(s.ctx, &waiting.ID, (&journal{}).append)
	s.must(err)
	expect("drained", waiting, target(waiting))

	m, err := s.store.RotateKey(s.ctx, s.b.org, old.ID)
	s.must(err)
	if m.Key == old.Key {
		t.Error("the key is the old one")
	}
	expect("re-keyed", m, target(m))

	m, err = s.store.UpdateMonitor(s.ctx, s.b.org, old.ID, func(c monitor.Config) (monitor.Config, error) {
		c.Slug = "fresh"
		return c, nil
	})
	s.must(err)
	s.exec(`select pg_notify('tokiflow_targets', $1)`, m.ID.String())
	expect("a change of configuration waits, but the monitor was known", m, target(m))
	_, err = s.store.DrainControls(s.ctx, nil, (&journal{}).append)
	s.must(err)
	expect("slug", m, target(m))

	s.must(s.store.DeleteMonitor(s.ctx, s.b.org, old.ID))
	expect("deleted", old)
	_, err = s.store.DrainControls(s.ctx, nil, (&journal{}).append)
	s.must(err)
	expect("its deletion in the log", old)

	s.exec(`select pg_notify('tokiflow_targets', '')`)
	if all := w.next(); !all.Full || len(all.Projects) != 2 || len(all.Targets) != 1 {
		t.Errorf("everything anew: %+v", all)
	}

	w.stop()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestALostConnectionEndsTheWatchAndTheNextBeginsWithEverything(t *testing.T) {
	s := newBundle(t)
	w := s.watch()
	if first := w.next(); !first.Full || len(first.Targets) != 0 {
		t.Fatalf("first: %+v", first)
	}
	n := s.count(`select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and query ilike 'listen%') t`)
	n += s.count(`select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and state = 'idle' and wait_event = 'ClientRead') t`)
	if n == 0 {
		t.Fatal("found no connection to cut")
	}
	if err := <-w.done; err == nil || s.ctx.Err() != nil {
		t.Fatalf("the watch ended with %v", err)
	}

	// What changes while nobody listens comes with the next load.
	var m inventory.Monitor
	for {
		var err error
		if m, err = s.store.CreateMonitor(s.ctx, s.a.org, inventory.NewMonitor{Project: s.a.project, Config: hourly(t, "meanwhile")}); err == nil {
			break
		}
		if s.ctx.Err() != nil { // the pool drops the other connections that were cut
			t.Fatal(err)
		}
	}
	_, err := s.store.DrainControls(s.ctx, nil, (&journal{}).append)
	s.must(err)
	again := s.watch()
	if first := again.next(); !first.Full || len(first.Targets) != 1 || first.Targets[0] != target(m) {
		t.Errorf("after the loss: %+v", first)
	}
	again.stop()
	<-again.done //nolint:errcheck // only its end counts
}

func TestTheWatchGivesItsConnectionUp(t *testing.T) {
	s := newBundle(t)
	for range 3 {
		w := s.watch()
		w.next()
		w.stop()
		<-w.done //nolint:errcheck // only its end counts
	}
	if n := s.pool.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still out", n)
	}
	if n := s.count(`select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'`); n != 0 {
		t.Errorf("%d connections still listen", n)
	}
}
