package manager_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/config"
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

func TestAStartThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		data.putConfig(org, true)
		data.setBusy(org, true)
		p := newProcess(t, data, locks, nil)
		sleep(500 * time.Millisecond)
		p.wantNone()
		if locks.count() != 0 {
			t.Error("it keeps the lock from those who could start it")
		}
		if _, err := p.m.Instance(t.Context(), org); !errors.Is(err, errBroken) {
			t.Errorf("asked for it: %v", err)
		}
		sleep(10 * time.Minute)
		if n := p.value("tokiflow_alerting_config_errors_total"); n < 10 || n > 30 {
			t.Errorf("%v tries", n)
		}
		data.putConfig(org, false)
		sleep(2 * time.Minute)
		if !p.only().owner {
			t.Error("no owner")
		}
	})
}

func TestAStartThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.setBusy(org, true)
		p := newProcess(t, data, newRegistry(), nil)
		p.mu.Lock()
		p.starts = func(ctx context.Context, _ tenant.OrgID) error { <-ctx.Done(); return ctx.Err() }
		p.mu.Unlock()
		sleep(time.Second)
		if _, err := p.m.Instance(t.Context(), org); err == nil {
			t.Error("it waits for ever")
		}
		p.mu.Lock()
		p.starts = nil
		p.mu.Unlock()
		sleep(time.Minute)
		p.only()
	})
}

func TestAConfigurationThatCannotBePutInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.putConfig(org, false)
		data.setBusy(org, true)
		p := newProcess(t, data, newRegistry(), nil)
		sleep(time.Second)
		f := p.only()
		data.putConfig(org, true)
		sleep(time.Second)
		data.change(org, nil)
		sleep(time.Minute)
		if version, conf, stopped := f.now(); version != 4 || conf != "1" || stopped {
			t.Errorf("at version %d with configuration %s", version, conf)
		}
		if p.value("tokiflow_alerting_config_errors_total") < 2 || p.value("tokiflow_alerting_update_errors_total") < 2 {
			t.Error("it is not counted, or not tried again")
		}
		data.mu.Lock()
		data.badConf[org] = false
		data.mu.Unlock()
		f.mu.Lock()
		f.badConf = true // the instance refuses it
		f.mu.Unlock()
		sleep(time.Minute)
		if _, conf, _ := f.now(); conf != "1" {
			t.Errorf("configuration %s", conf)
		}
		f.mu.Lock()
		f.badConf = false
		f.mu.Unlock()
		sleep(10 * time.Second)
		if _, conf, _ := f.now(); conf != "3" {
			t.Errorf("configuration %s", conf)
		}
	})
}

// The configuration comes from a file: its version is none of the database's.
func TestAConfigurationThatIsNotInTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.setBusy(org, true)
		var turn, reads atomic.Int64
		turn.Store(7)
		p := newProcess(t, data, newRegistry(), func(o *manager.Options) {
			o.Config = func(context.Context, tenant.OrgID) (*config.Config, int64, error) {
				reads.Add(1)
				return &config.Config{Source: config.Source{YAML: fmt.Sprint(turn.Load())}}, turn.Load(), nil
			}
		})
		sleep(time.Second)
		f := p.only()
		data.change(org, nil)
		sleep(time.Second)
		data.putConfig(org, false) // it is not asked for
		sleep(time.Minute)
		if _, conf, _ := f.now(); conf != "7" || f.applied() != 0 || reads.Load() > 2 {
			t.Errorf("configuration %s, %d times applied, %d times read", conf, f.applied(), reads.Load())
		}
		turn.Store(8)
		p.m.Reload()
		p.m.Reload()
		sleep(time.Second)
		if _, conf, _ := f.now(); conf != "8" || f.applied() != 1 {
			t.Errorf("configuration %s, %d times applied", conf, f.applied())
		}
	})
}

func TestWhatIsNotTakenOverIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.setBusy(org, true)
		p := newProcess(t, data, newRegistry(), nil)
		sleep(time.Second)
		f := p.only()
		f.mu.Lock()
		f.badUp = true
		f.mu.Unlock()
		data.change(org, nil)
		sleep(3 * time.Second)
		f.mu.Lock()
		f.badUp = false
		f.mu.Unlock()
		sleep(1100 * time.Millisecond)
		if version, _, _ := f.now(); version != 2 {
			t.Errorf("at version %d", version)
		}
		// The database does not answer for a while.
		data.mu.Lock()
		data.broken = errBroken
		data.mu.Unlock()
		data.change(org, nil)
		sleep(time.Minute)
		p.only()
		data.mu.Lock()
		data.broken = nil
		data.mu.Unlock()
		sleep(6 * time.Second)
		if version, _, _ := f.now(); version != 3 {
			t.Errorf("at version %d", version)
		}
		// It comes back as it was yesterday.
		data.mu.Lock()
		data.versions[org] = 1
		data.mu.Unlock()
		sleep(3 * time.Second)
		if g := p.only(); g == f {
			t.Error("it does not begin anew")
		}
	})
}

func TestAViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, locks := newTable(), newOrg(), newRegistry()
		owner := newProcess(t, data, locks, nil)
		viewer := newProcess(t, data, nil, nil)
		data.setBusy(org, true)
		sleep(time.Second)
		owner.only()
		viewer.wantNone()
		got, err := viewer.m.Instance(t.Context(), org)
		if err != nil {
			t.Fatal(err)
		}
		f := viewer.only()
		if got != manager.Running(f) || f.owner {
			t.Error("it is not a viewer")
		}
		if again, err := viewer.m.Instance(t.Context(), org); again != got || err != nil {
			t.Errorf("another one, %v", err)
		}
		data.mu.Lock()
		data.wake = nil
		data.mu.Unlock()
		data.change(org, nil)
		sleep(time.Second)
		if version, _, _ := f.now(); version != 2 {
			t.Errorf("at version %d", version)
		}
		sleep(6 * time.Minute)
		viewer.wantNone() // although the organisation is busy
		owner.only()
	})
}

func TestAViewerBecomesTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		p := newProcess(t, data, newRegistry(), nil)
		sleep(time.Second)
		if _, err := p.m.Instance(t.Context(), org); err != nil {
			t.Fatal(err)
		}
		viewer := p.only()
		data.setBusy(org, true)
		sleep(time.Second)
		if f := p.only(); f == viewer || !f.owner {
			t.Error("no owner")
		}
		// And while it starts as the one, it is handed over to the other, the request gets an answer.
		other := newOrg()
		p.mu.Lock()
		p.starts = func(ctx context.Context, _ tenant.OrgID) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		p.mu.Unlock()
		answer := make(chan error, 1)
		go func() {
			r, err := p.m.Instance(t.Context(), other)
			if err == nil && !r.(*fake).owner {
				err = errors.New("it is a viewer")
			}
			answer <- err
		}()
		sleep(time.Second)
		data.setBusy(other, true)
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})
}

func TestARequestThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		p := newProcess(t, data, nil, nil)
		p.mu.Lock()
		p.starts = func(context.Context, tenant.OrgID) error { time.Sleep(5 * time.Second); return nil }
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.m.Instance(ctx, org); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		sleep(5 * time.Second)
		p.only() // for the next
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
