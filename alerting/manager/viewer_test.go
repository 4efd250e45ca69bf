package manager_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/tenant"
)

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
		f.mu.Lock()
		f.stuck = true // it has alerts
		f.mu.Unlock()
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
