package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

func actions(cs []record.Control) (out []record.Action) {
	for i, c := range cs {
		if c.Version != int64(i+1) {
			return nil
		}
		out = append(out, c.Action)
	}
	return out
}

func TestChangesReachTheLogInOrder(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "backup")
	_, err := s.store.SetPaused(s.ctx, s.a.org, m.ID, true)
	s.must(err)
	_, err = s.store.UpdateMonitor(s.ctx, s.a.org, m.ID, func(c monitor.Config) (monitor.Config, error) {
		c.Name = "nightly backup"
		return c, nil
	})
	s.must(err)
	_, err = s.store.SetPaused(s.ctx, s.a.org, m.ID, false)
	s.must(err)
	s.must(s.store.DeleteMonitor(s.ctx, s.a.org, m.ID))

	j := &journal{}
	n, err := s.store.DrainControls(s.ctx, &m.ID, j.append)
	if n != 5 || err != nil {
		t.Fatalf("%d records, %v", n, err)
	}
	want := []record.Action{record.Configure, record.Pause, record.Configure, record.Resume, record.Delete}
	if got := actions(j.of(m.ID)); !slices.Equal(got, want) {
		t.Errorf("actions %v, want %v with versions from 1", got, want)
	}
	for _, c := range j.of(m.ID) {
		if c.Org != s.a.org {
			t.Errorf("organisation %v", c.Org)
		}
	}
	if n, err := s.store.DrainControls(s.ctx, &m.ID, j.append); n != 0 || err != nil {
		t.Errorf("drained again: %d, %v", n, err)
	}
}

func TestAFailedAppendLeavesTheQueueAsItWas(t *testing.T) {
	s := newBundle(t)
	bad, good := s.create(s.a, "bad"), s.create(s.b, "good")
	_, err := s.store.SetPaused(s.ctx, s.a.org, bad.ID, true)
	s.must(err)

	j := &journal{fail: func(c record.Control) error {
		if c.Action == record.Pause {
			return errLogDown
		}
		return nil
	}}
	n, err := s.store.DrainControls(s.ctx, nil, j.append)
	if n != 1 || !errors.Is(err, errLogDown) {
		t.Fatalf("%d records, %v; want the good monitor's and the log's error", n, err)
	}
	if n := s.count(`select count(*) from control_queue where monitor_id = $1`, bad.ID); n != 2 {
		t.Errorf("%d rows of the bad monitor left, want 2", n)
	}
	if n := s.count(`select count(*) from control_queue where monitor_id = $1`, good.ID); n != 0 {
		t.Errorf("%d rows of the good monitor left", n)
	}

	j.fail = nil
	if n, err := s.store.DrainControls(s.ctx, nil, j.append); n != 2 || err != nil {
		t.Errorf("when the log is back: %d, %v", n, err)
	}
}

// Many drainers at once, single and of everything, while the changes are being made.
func TestDrainersDoNotOvertakeEachOther(t *testing.T) {
	s := newBundle(t)
	const monitors, changes, drainers = 6, 15, 6
	var ids []uuid.UUID
	for range monitors {
		ids = append(ids, s.create(s.a, "m").ID)
	}
	j := &journal{}
	done, stop := context.WithCancel(s.ctx)
	var making, draining sync.WaitGroup
	for i := range drainers {
		draining.Go(func() {
			for done.Err() == nil {
				var of *uuid.UUID
				if i%2 == 0 {
					of = &ids[i%len(ids)]
				}
				if _, err := s.store.DrainControls(s.ctx, of, j.append); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, id := range ids {
		making.Go(func() {
			for n := range changes {
				if _, err := s.store.SetPaused(s.ctx, s.a.org, id, n%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	making.Wait()
	stop()
	draining.Wait()
	_, err := s.store.DrainControls(s.ctx, nil, j.append)
	s.must(err)
	for _, id := range ids {
		got := j.of(id)
		if len(got) != changes+1 || actions(got) == nil {
			t.Errorf("monitor %s: %d records, versions out of order or twice: %+v", id, len(got), got)
		}
	}
}

func TestADrainOfAllPassesOverAMonitorInWork(t *testing.T) {
	s := newBundle(t)
	slow, quick := s.create(s.a, "slow"), s.create(s.a, "quick")
	inside, release := make(chan struct{}), make(chan struct{})
	held := &journal{entered: func(record.Control) { close(inside); <-release }}
	finished := make(chan error, 1)
	go func() {
		_, err := s.store.DrainControls(s.ctx, &slow.ID, held.append)
		finished <- err
	}()
	<-inside

	j := &journal{}
	n, err := s.store.DrainControls(s.ctx, nil, j.append)
	if n != 1 || err != nil || len(j.of(quick.ID)) != 1 {
		t.Errorf("%d records, %v; want the quick monitor's only", n, err)
	}
	close(release)
	s.must(<-finished)
	if len(held.of(slow.ID)) != 1 {
		t.Error("the slow monitor's record is missing")
	}
}

// More monitors wait than one look at the queue finds, and the first of them fail.
func TestADrainOfAllComesToEveryMonitor(t *testing.T) {
	s := newBundle(t)
	const waiting = 450
	s.exec(`insert into control_queue (org_id, monitor_id, action, version)
		select $1, gen_random_uuid(), 2, 1 from generate_series(1, $2)`, s.a.org, waiting)
	failing := 0
	j := &journal{fail: func(record.Control) error {
		if failing < 250 {
			failing++
			return errLogDown
		}
		return nil
	}}
	n, err := s.store.DrainControls(s.ctx, nil, j.append)
	if n != waiting-250 || !errors.Is(err, errLogDown) {
		t.Errorf("%d records, %.80v", n, err)
	}
	if n, err := s.store.DrainControls(s.ctx, nil, j.append); n != 250 || err != nil {
		t.Errorf("the rest: %d, %v", n, err)
	}
}
