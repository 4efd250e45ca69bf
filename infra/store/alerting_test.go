package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestStateAndChanges(t *testing.T) {
	s := newBundle(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	if diff := cmp.Diff(alert.State{Alerts: []alert.Routed{}, Silences: []alert.StoredSilence{}, Log: []alert.LogEntry{}}, s.state(s.a)); diff != "" {
		t.Error(diff)
	}
	a := posted("A", now, now.Add(time.Hour), now)
	s.post(s.a, a)
	kept := alert.StoredSilence{ID: "1", EndsAt: now, ExpiresAt: now.Add(time.Hour), Body: []byte("kept")}
	expired := alert.StoredSilence{ID: "2", EndsAt: now.Add(-time.Hour), ExpiresAt: now.Add(-time.Second), Body: []byte("expired")}
	s.must(s.store.SaveSilences(s.ctx, s.a.org, []alert.StoredSilence{kept, expired}))
	s.must(s.store.SaveSilences(s.ctx, s.a.org, nil))
	entry := alert.LogEntry{GroupKey: "g", Receiver: "r", LoggedAt: now, ExpiresAt: now.Add(time.Hour), Body: []byte("told")}
	old := alert.LogEntry{GroupKey: "g", Receiver: "s", LoggedAt: now, ExpiresAt: now.Add(-time.Hour), Body: []byte("old")}
	s.must(s.store.SaveLog(s.ctx, s.a.org, []alert.LogEntry{entry, old}))

	a.Org, a.Version, kept.Version = s.a.org, 1, 2
	want := alert.State{Version: 2, Alerts: []alert.Routed{a}, Silences: []alert.StoredSilence{kept}, Log: []alert.LogEntry{entry}}
	if diff := cmp.Diff(want, s.state(s.a)); diff != "" {
		t.Error(diff)
	}
	expired.Version = 2
	for since, want := range map[int64]alert.State{
		0: {Version: 2, Alerts: []alert.Routed{a}, Silences: []alert.StoredSilence{kept, expired}},
		1: {Version: 2, Alerts: []alert.Routed{}, Silences: []alert.StoredSilence{kept, expired}},
		2: {Version: 2, Alerts: []alert.Routed{}, Silences: []alert.StoredSilence{}},
	} {
		got, err := s.store.AlertingChanges(s.ctx, s.a.org, since)
		s.must(err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("since %d: %s", since, diff)
		}
	}
	if got := s.state(s.b); len(got.Alerts)+len(got.Silences)+len(got.Log) != 0 {
		t.Errorf("another organisation has %+v", got)
	}

	kept.Body = []byte("changed")
	s.must(s.store.SaveSilences(s.ctx, s.a.org, []alert.StoredSilence{kept}))
	if got := s.state(s.a); string(got.Silences[0].Body) != "changed" || got.Version != 3 || got.Silences[0].Version != 3 {
		t.Errorf("%+v", got)
	}
}

func TestTheLaterEntryOfTheLogCounts(t *testing.T) {
	s := newBundle(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	entry := func(after time.Duration, body string) alert.LogEntry {
		return alert.LogEntry{GroupKey: "g", Receiver: "r", LoggedAt: now.Add(after), ExpiresAt: now.Add(time.Hour), Body: []byte(body)}
	}
	for _, es := range [][]alert.LogEntry{{entry(1e9, "first")}, {entry(3e9, "third"), entry(2e9, "second")}, {entry(2e9, "late")}, {}} {
		s.must(s.store.SaveLog(s.ctx, s.a.org, es))
	}
	if got := s.state(s.a); len(got.Log) != 1 || string(got.Log[0].Body) != "third" || got.Version != 0 {
		t.Errorf("%+v", got)
	}
}

// Whoever has seen a version has seen all that was changed up to it, however many write at a time.
func TestNoChangeIsMissed(t *testing.T) {
	s := newBundle(t)
	const writers, each = 4, 25
	now := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				s.post(s.a, posted(fmt.Sprintf("A%d-%d", w, n), now, now.Add(time.Hour), now))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen, version := map[string]bool{}, int64(0)
	for last := false; ; {
		changes, err := s.store.AlertingChanges(s.ctx, s.a.org, version)
		s.must(err)
		for _, a := range changes.Alerts {
			seen[a.Fingerprint] = true
		}
		if version = changes.Version; int64(len(seen)) != version {
			t.Fatalf("at version %d after %d changes", version, len(seen))
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d changes seen", len(seen))
	}
}

func TestBusyAlerting(t *testing.T) {
	s := newBundle(t)
	busy := func() []alert.Busy {
		got, err := s.store.BusyAlerting(s.ctx)
		s.must(err)
		return got
	}
	s.must(s.store.SaveSilences(s.ctx, s.b.org, []alert.StoredSilence{{ID: "1", EndsAt: t0, ExpiresAt: t0, Body: []byte{}}}))
	if got := busy(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	s.post(s.a, posted("A", t0, t0, t0))
	if diff := cmp.Diff([]alert.Busy{{Org: s.a.org, Version: 1}}, busy()); diff != "" {
		t.Error(diff)
	}
	versions, err := s.store.AlertingVersions(s.ctx, []tenant.OrgID{s.a.org, s.b.org, {UUID: uuid.New()}})
	if diff := cmp.Diff(map[tenant.OrgID]int64{s.a.org: 1, s.b.org: 1}, versions); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if versions, err := s.store.AlertingVersions(s.ctx, nil); err != nil || len(versions) != 0 {
		t.Errorf("%v, %v", versions, err)
	}
}

func TestAlertingConfig(t *testing.T) {
	s := newBundle(t)
	if sealed, hash, version, at, err := s.store.AlertingConfig(s.ctx, s.a.org); sealed != nil || hash != "" || version != 0 || !at.IsZero() || err != nil {
		t.Errorf("%s %s %d %v %v", sealed, hash, version, at, err)
	}
	key := uuid.New()
	put := func(text string, ifVersion int64) int64 {
		t.Helper()
		v, err := s.store.PutAlertingConfig(s.ctx, s.a.org, []byte(text), "hash of "+text, key, ifVersion)
		s.must(err)
		return v
	}
	first := put("one", 0)
	second := put("two", first)
	s.post(s.a, posted("A", t0, t0, t0)) // raises the version, but not that of the configuration
	if _, err := s.store.PutAlertingConfig(s.ctx, s.a.org, []byte("three"), "", key, first); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("over a newer one: %v", err)
	}
	sealed, hash, version, at, err := s.store.AlertingConfig(s.ctx, s.a.org)
	if string(sealed) != "two" || hash != "hash of two" || version != second || time.Since(at) > time.Minute || err != nil {
		t.Errorf("%s %s %d %v %v", sealed, hash, version, at, err)
	}
	if state := s.state(s.a); state.ConfigVersion != second || state.Version != second+1 {
		t.Errorf("%+v", state)
	}
	put("four", -1)
	if _, err := s.store.PutAlertingConfig(s.ctx, s.a.org, nil, "", key, -1); err != nil {
		t.Error(err)
	}
	if sealed, _, version, _, err := s.store.AlertingConfig(s.ctx, s.a.org); sealed != nil || version != second+3 || err != nil {
		t.Errorf("%s %d %v", sealed, version, err)
	}
	if sealed, _, version, _, err := s.store.AlertingConfig(s.ctx, s.b.org); sealed != nil || version != 0 || err != nil {
		t.Errorf("another organisation has %s %d %v", sealed, version, err)
	}
	if _, err := s.store.PutAlertingConfig(s.ctx, tenant.OrgID{UUID: uuid.New()}, nil, "", key, -1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an organisation that is not there: %v", err)
	}
}

func TestListenAlerting(t *testing.T) {
	s := newBundle(t)
	ctx, stop := context.WithCancel(s.ctx)
	woken, ended := make(chan tenant.OrgID, 100), make(chan error, 1)
	listen := func() {
		go func() { ended <- s.store.ListenAlerting(ctx, func(org tenant.OrgID) { woken <- org }) }()
		if org := <-woken; org != (tenant.OrgID{}) {
			t.Errorf("woken with %s at first", org)
		}
	}
	want := func(orgs ...tenant.OrgID) {
		t.Helper()
		left := map[tenant.OrgID]bool{}
		for _, org := range orgs {
			left[org] = true
		}
		for len(left) > 0 {
			select {
			case org := <-woken:
				if !left[org] {
					t.Errorf("woken for %s", org)
				}
				delete(left, org)
			case <-s.ctx.Done():
				t.Fatal("not woken")
			}
		}
	}
	listen()
	s.post(s.a, posted("A", t0, t0, t0))
	want(s.a.org)
	s.must(s.store.SaveSilences(s.ctx, s.b.org, []alert.StoredSilence{{ID: "1", EndsAt: t0, ExpiresAt: t0, Body: []byte{}}}))
	want(s.b.org)
	_, err := s.store.PutAlertingConfig(s.ctx, s.a.org, []byte("x"), "", uuid.New(), -1)
	s.must(err)
	want(s.a.org)
	s.sayOpened(s.create(s.a, "x"), uuid.New(), incident.Fail, t0)
	s.sayOpened(s.create(s.b, "y"), uuid.New(), incident.Fail, t0)
	s.feed(2)
	want(s.a.org, s.b.org)
	s.exec(`select pg_notify('tokiflow_alerting', 'what is this')`)
	want(tenant.OrgID{})
	s.exec(`select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen tokiflow_alerting' and datname = current_database()`)
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("connection lost: %v", err)
	}
	listen()
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestPruneAlerting(t *testing.T) {
	s := newBundle(t)
	now := time.Now()
	day := 24 * time.Hour
	for _, o := range []owner{s.a, s.b} {
		s.post(o, posted("long over", now.Add(-48*time.Hour), now.Add(-25*time.Hour), now), posted("over", now.Add(-48*time.Hour), now.Add(-23*time.Hour), now),
			posted("fires", now.Add(-99*day), now.Add(time.Hour), now))
		s.sayOpened(s.create(o, "x"), uuid.New(), incident.Fail, now.Add(-99*day))
		s.must(s.store.SaveSilences(s.ctx, o.org, []alert.StoredSilence{{ID: "old", EndsAt: now, ExpiresAt: now.Add(-time.Second), Body: []byte{}}, {ID: "new", EndsAt: now, ExpiresAt: now.Add(time.Hour), Body: []byte{}}}))
		s.must(s.store.SaveLog(s.ctx, o.org, []alert.LogEntry{{GroupKey: "old", LoggedAt: now, ExpiresAt: now.Add(-time.Second), Body: []byte{}}, {GroupKey: "new", LoggedAt: now, ExpiresAt: now.Add(time.Hour), Body: []byte{}}}))
		for _, age := range []time.Duration{91 * day, 89 * day} {
			s.must(s.store.SaveNotification(s.ctx, o.org, alert.Notification{ID: uuid.New(), StartedAt: now.Add(-age), Status: alert.Delivered}))
		}
	}
	s.feed(2)
	for _, want := range []int{1, 1, 0} {
		if n, err := s.store.PruneAlerting(s.ctx, now, 1); n != want || err != nil {
			t.Errorf("%d removed, want %d; %v", n, want, err)
		}
	}
	for table, want := range map[string]int{"alerts": 6, "silences": 2, "notification_log": 2, "sent_notifications": 2} {
		if n := s.count(`select count(*) from ` + table); n != want {
			t.Errorf("%d rows of %s left, want %d", n, table, want)
		}
	}
	if n := s.count(`select count(*) from alerts where labels ->> 'alertname' = 'long over'`); n != 0 {
		t.Errorf("%d that are long over are left", n)
	}
}
