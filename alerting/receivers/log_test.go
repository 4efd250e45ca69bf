package receivers_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
)

// A database that is slow or away neither delays nor fails a notification; what could not be written down at once comes later.
func TestSavingIsNobodysBusiness(t *testing.T) {
	b := newBundle(t, scripting(func(context.Context, int) (bool, error) { return false, nil }))
	i := b.scripted()
	hold := make(chan struct{})
	b.rows.mu.Lock()
	b.rows.hold = hold
	b.rows.mu.Unlock()
	start := time.Now()
	for n := range uint64(100) {
		ctx, cancel := flush(t, n)
		if _, err := i.Notify(ctx, firing("a")...); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	b.rows.mu.Lock()
	b.rows.hold, b.rows.fail = nil, errors.New("the database is away")
	b.rows.mu.Unlock()
	close(hold)
	ctx, _ := flush(t, 1000)
	if _, err := i.Notify(ctx, firing("a")...); err != nil {
		t.Fatal(err)
	}
	b.rows.mu.Lock()
	b.rows.fail = nil
	b.rows.mu.Unlock()
	b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 101 })
}

// The last state of a notification is the one that stays, and only it is written where several wait.
func TestStatesOfANotificationInOrder(t *testing.T) {
	b := newBundle(t, scripting(func(_ context.Context, attempt int) (bool, error) {
		if attempt < 50 {
			return true, errors.New("no")
		}
		return false, nil
	}))
	i := b.scripted()
	hold := make(chan struct{})
	b.rows.mu.Lock()
	b.rows.hold = hold
	b.rows.mu.Unlock()
	ctx, _ := flush(t, 1)
	for range 50 {
		_, _ = i.Notify(ctx, firing("a")...)
	}
	close(hold)
	n := b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 1 && all[0].Attempts == 50 })[0]
	if n.Status != alert.Delivered {
		t.Errorf("%+v", n)
	}
	b.rows.mu.Lock()
	defer b.rows.mu.Unlock()
	if b.rows.count > 2 {
		t.Errorf("it was written %d times", b.rows.count)
	}
}

func TestALogThatIsFullLosesAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newRows()
		rows.fail = errors.New("the database is away")
		log, err := receivers.NewLog(receivers.LogOptions{Store: rows, Capacity: 10, Keep: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for range 15 {
			receivers.Add(log, alert.Notification{ID: newID()})
		}
		if waiting, lost := receivers.Figures(log); waiting != 10 || testutil.ToFloat64(lost) != 5 {
			t.Errorf("%d wait, %v are lost", waiting, testutil.ToFloat64(lost))
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- log.Run(ctx) }()
		time.Sleep(5 * time.Minute) // longer than they are kept
		if waiting, lost := receivers.Figures(log); waiting != 0 || testutil.ToFloat64(lost) != 15 {
			t.Errorf("%d wait, %v are lost", waiting, testutil.ToFloat64(lost))
		}
		receivers.Add(log, alert.Notification{ID: newID()})
		synctest.Wait()
		rows.mu.Lock()
		rows.fail = nil
		rows.mu.Unlock()
		cancel() // the end: what is left is written
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(rows.saved) != 1 {
			t.Errorf("%d were written at the end", len(rows.saved))
		}
	})
}
