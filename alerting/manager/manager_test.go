package manager_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func newRegistry() *registry { return &registry{held: map[int64]*locks{}} }

func TestABusyOrganisationHasAnOwnerThatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		data.putConfig(newOrg(), false) // one that has nothing to do
		p := newProcess(t, data, locks, nil)
		sleep(time.Minute)
		p.wantNone()

		data.setBusy(org, true)
		sleep(100 * time.Millisecond) // it is told, and does not wait for the poll
		f := p.only()
		if version, _, _ := f.now(); !f.owner || f.org != org || version != 1 {
			t.Errorf("owner %t at version %d", f.owner, version)
		}
		data.change(org, nil)
		sleep(10 * time.Millisecond)
		if version, _, _ := f.now(); version != 2 {
			t.Errorf("at version %d", version)
		}
		data.putConfig(org, false)
		sleep(10 * time.Millisecond)
		if version, conf, _ := f.now(); version != 3 || conf != "3" {
			t.Errorf("at version %d with configuration %s", version, conf)
		}
		if p.value("tokiflow_alerting_instances") != 1 || p.value("tokiflow_alerting_instance_starts_total") != 1 {
			t.Error("it is not counted")
		}
		if problems, err := testutil.GatherAndLint(p.registry); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		p.stop()
		p.wantNone()
		if locks.count() != 0 || p.value("tokiflow_alerting_instances") != 0 || p.value("tokiflow_alerting_locks_lost_total") != 0 {
			t.Errorf("stopped, it holds %d locks", locks.count())
		}
		if _, err := p.m.Instance(t.Context(), org); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("stopped: %v", err)
		}
	})
}

// Without notices versions are polled.
func TestItFollowsByPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.setBusy(org, true)
		p := newProcess(t, data, newRegistry(), func(o *manager.Options) { o.Listen = nil })
		sleep(10 * time.Millisecond)
		f := p.only()
		data.change(org, nil)
		sleep(time.Second)
		if version, _, _ := f.now(); version != 2 {
			t.Errorf("at version %d", version)
		}
		data.setBusy(org, false)
		sleep(2 * time.Second)
		data.change(org, nil)
		sleep(time.Second)
		if version, _, _ := f.now(); version != 4 {
			t.Errorf("idle, it is at version %d", version)
		}
	})
}

func TestAnIdleInstanceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		data.setBusy(org, true)
		p := newProcess(t, data, locks, nil)
		sleep(time.Hour)
		f := p.only()
		f.mu.Lock()
		f.stuck = true
		f.mu.Unlock()
		data.setBusy(org, false)
		sleep(10 * time.Minute)
		p.only() // it has something to write down
		f.mu.Lock()
		f.stuck = false
		f.mu.Unlock()
		sleep(2 * time.Second)
		p.wantNone()
		if locks.count() != 0 {
			t.Error("it holds the lock")
		}
		data.setBusy(org, true)
		sleep(100 * time.Millisecond)
		p.only()
		data.setBusy(org, false)
		sleep(4 * time.Minute)
		if _, err := p.m.Instance(t.Context(), org); err != nil {
			t.Error(err)
		}
		sleep(4 * time.Minute)
		p.only() // somebody has asked
		sleep(2 * time.Minute)
		p.wantNone()
	})
}

func TestTheLockIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, locks := newTable(), newRegistry()
		var orgs []tenant.OrgID
		for range 5 {
			orgs = append(orgs, newOrg())
			data.setBusy(orgs[len(orgs)-1], true)
		}
		a := newProcess(t, data, locks, nil)
		sleep(time.Second)
		if len(a.running()) != 5 {
			t.Fatalf("%d run", len(a.running()))
		}
		b := newProcess(t, data, locks, nil)
		sleep(time.Minute)
		b.wantNone()

		// The database hangs too: it stops all the same, and at once.
		data.mu.Lock()
		data.hang = make(chan struct{})
		data.mu.Unlock()
		for _, org := range orgs {
			data.change(org, nil)
		}
		synctest.Wait()
		a.locks.lose(true)
		synctest.Wait()
		a.wantNone()
		close(data.hang)
		sleep(1100 * time.Millisecond)
		if len(b.running()) != 5 || a.value("tokiflow_alerting_locks_lost_total") != 5 {
			t.Errorf("%d run in the other process, %v lost", len(b.running()), a.value("tokiflow_alerting_locks_lost_total"))
		}
		// Its connection comes back; what the other owns stays there.
		locks.mu.Lock()
		a.locks.down = false
		locks.mu.Unlock()
		sleep(time.Minute)
		a.wantNone()
		// The second is stopped in peace: the first takes over.
		b.stop()
		sleep(1100 * time.Millisecond)
		if len(a.running()) != 5 {
			t.Errorf("%d run", len(a.running()))
		}
	})
}

// The same process takes the lock again that it has lost.
func TestTheLockIsLostAndTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		data.setBusy(org, true)
		p := newProcess(t, data, locks, nil)
		sleep(time.Second)
		first := p.only()
		p.locks.lose(false)
		sleep(2 * time.Second)
		if second := p.only(); second == first || !second.owner {
			t.Error("it is not owned anew")
		}
	})
}

func TestASlowStartDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, locks := newTable(), newRegistry()
		slow := map[tenant.OrgID]bool{}
		for i := range 500 {
			org := newOrg()
			slow[org] = i < 20 // more than may start at a time
			data.setBusy(org, true)
		}
		p := newProcess(t, data, locks, nil)
		p.mu.Lock()
		p.starts = func(ctx context.Context, org tenant.OrgID) error {
			d := time.Millisecond
			if slow[org] {
				d = 20 * time.Second
			}
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		p.mu.Unlock()
		sleep(4 * time.Second)
		if n := len(p.running()); n != 480 {
			t.Errorf("%d of 480 run", n)
		}
		sleep(30 * time.Second)
		if n := len(p.running()); n != 500 {
			t.Errorf("%d of 500 run", n)
		}
	})
}

// Changes of organisations that another process owns do not make this one poll all the time.
func TestPollsAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		data.setBusy(org, true)
		newProcess(t, data, locks, nil)
		sleep(time.Second)
		newProcess(t, data, locks, nil) // listens last, so it is the one that is told
		sleep(time.Second)
		data.mu.Lock()
		before := data.polls
		data.mu.Unlock()
		for range 1000 {
			data.change(org, nil)
			sleep(time.Millisecond)
		}
		data.mu.Lock()
		defer data.mu.Unlock()
		if n := data.polls - before; n > 25 {
			t.Errorf("%d polls in a second", n)
		}
	})
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, spoil := range map[string]func(*manager.Options){
		"no store":   func(o *manager.Options) { o.Store = nil },
		"no keys":    func(o *manager.Options) { o.Keys = nil },
		"no locks":   func(o *manager.Options) { o.Alert, o.Locks = true, nil },
		"a negative": func(o *manager.Options) { o.IdleAfter = -1 },
		"metrics twice": func(o *manager.Options) {
			r := prometheus.NewRegistry()
			o.Registerer = r
			if _, err := manager.New(*o); err != nil {
				t.Error(err)
			}
		},
	} {
		o := options(newTable())
		spoil(&o)
		if _, err := manager.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
