package receivers_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// pickyRows refuse what a function says.
type pickyRows struct {
	mu    sync.Mutex
	says  func(tenant.OrgID, alert.Notification) error
	saved []alert.Notification
	tries int
	last  time.Time
}

func (r *pickyRows) SaveNotification(_ context.Context, org tenant.OrgID, n alert.Notification) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if err := r.says(org, n); err != nil {
		return err
	}
	r.saved, r.last = append(r.saved, n), time.Now()
	return nil
}

// logging runs a log over the rows within a bubble. stop ends it.
func logging(t *testing.T, r *pickyRows, o receivers.LogOptions) (l *receivers.Log, stop func()) {
	t.Helper()
	o.Store = r
	l, err := receivers.NewLog(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func of(org tenant.OrgID) alert.Notification { return alert.Notification{ID: uuid.New(), Org: org} }

func newOrg() tenant.OrgID { return tenant.OrgID{UUID: uuid.New()} }

func TestAnOrganisationHasItsShareOfTheLog(t *testing.T) {
	rows := &pickyRows{says: func(tenant.OrgID, alert.Notification) error { return nil }}
	l, err := receivers.NewLog(receivers.LogOptions{Store: rows, Capacity: 30, OrgCapacity: 20})
	if err != nil {
		t.Fatal(err)
	}
	loud, quiet, third := newOrg(), newOrg(), newOrg()
	check := func(what string, want, wantLost int) {
		t.Helper()
		if waiting, lost := receivers.Figures(l); waiting != want || testutil.ToFloat64(lost) != float64(wantLost) {
			t.Errorf("%s: %d wait, %v are lost", what, waiting, testutil.ToFloat64(lost))
		}
	}
	for range 25 {
		receivers.Add(l, of(loud))
	}
	check("more than its share", 20, 5)
	for range 10 {
		receivers.Add(l, of(quiet))
	}
	check("full", 30, 5)
	for range 12 {
		receivers.Add(l, of(third))
	}
	check("whoever has most gives way", 30, 17)
	receivers.Add(l, of(third))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = l.Run(ctx) // writes what is left
	got := map[tenant.OrgID]int{}
	for _, n := range rows.saved {
		got[n.Org]++
	}
	if got[loud] != 10 || got[quiet] != 10 || got[third] != 10 {
		t.Errorf("%v", got)
	}
	if rows.saved[0].Org == rows.saved[1].Org {
		t.Error("they do not take turns")
	}
}

func TestWhatCanNeverBeWrittenDownIsDroppedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, org := newOrg(), newOrg()
		rows := &pickyRows{says: func(o tenant.OrgID, _ alert.Notification) error {
			if o == bad {
				return fault.New(fault.Invalid, "the database does not take this")
			}
			return nil
		}}
		l, stop := logging(t, rows, receivers.LogOptions{})
		began := time.Now()
		for range 100 {
			receivers.Add(l, of(bad))
			receivers.Add(l, of(org))
		}
		synctest.Wait()
		if waiting, lost := receivers.Figures(l); waiting != 0 || testutil.ToFloat64(lost) != 100 || rows.tries != 200 || len(rows.saved) != 100 || !rows.last.Equal(began) {
			t.Errorf("%d wait, %v are lost, %d tries, %d saved, the last after %s", waiting, testutil.ToFloat64(lost), rows.tries, len(rows.saved), rows.last.Sub(began))
		}
		stop()
	})
}

func TestATroubledOrganisationDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		troubled, org := newOrg(), newOrg()
		rows := &pickyRows{says: func(o tenant.OrgID, _ alert.Notification) error {
			if o == troubled {
				return errors.New("something with its rows")
			}
			return nil
		}}
		l, stop := logging(t, rows, receivers.LogOptions{Keep: time.Hour})
		for range 500 {
			receivers.Add(l, of(troubled))
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		began := time.Now()
		for range 100 {
			receivers.Add(l, of(org))
		}
		synctest.Wait()
		if len(rows.saved) != 100 || !rows.last.Equal(began) {
			t.Errorf("%d are saved, the last after %s", len(rows.saved), rows.last.Sub(began))
		}
		rows.mu.Lock()
		rows.says = func(tenant.OrgID, alert.Notification) error { return nil }
		tries := rows.tries
		rows.mu.Unlock()
		if tries > 130 {
			t.Errorf("%d tries within a minute", tries)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if waiting, _ := receivers.Figures(l); waiting != 0 || len(rows.saved) != 600 {
			t.Errorf("%d wait, %d are saved", waiting, len(rows.saved))
		}
		stop()
	})
}

func TestADatabaseThatIsAwayIsNotAskedForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := &pickyRows{says: func(tenant.OrgID, alert.Notification) error {
			return fault.New(fault.Unavailable, "the database is away")
		}}
		l, stop := logging(t, rows, receivers.LogOptions{})
		for range 1000 {
			receivers.Add(l, of(newOrg()))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		rows.mu.Lock()
		if rows.tries > 30 {
			t.Errorf("%d tries within a minute", rows.tries)
		}
		rows.says = func(tenant.OrgID, alert.Notification) error { return nil }
		rows.mu.Unlock()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if len(rows.saved) != 1000 {
			t.Errorf("%d are saved", len(rows.saved))
		}
		stop()
	})
}
