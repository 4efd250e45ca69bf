package manager_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/tenant"
)

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
