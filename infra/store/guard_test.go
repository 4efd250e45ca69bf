package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/guard"
)

func guardStart() time.Time { return time.Date(2026, 3, 2, 10, 58, 0, 0, time.UTC) }

// unmoved judges nothing, and notes what it was given.
func unmoved(minutes *[]guard.Minute) func(guard.State, guard.Minute, guard.History) guard.State {
	return func(s guard.State, m guard.Minute, _ guard.History) guard.State {
		*minutes = append(*minutes, m)
		s.Phase, s.Minute, s.Pings, s.Processes = guard.Normal, m.At, m.Pings, m.Processes
		return s
	}
}

func TestGuardAddsUpWhatTheProcessesCount(t *testing.T) {
	s := newBundle(t)
	at, one, two := guardStart(), uuid.New(), uuid.New()
	s.must(s.store.AddGuardPings(s.ctx, one, nil))
	s.must(s.store.AddGuardPings(s.ctx, one, map[time.Time]int64{at: 10, at.Add(time.Minute): 1}))
	s.must(s.store.AddGuardPings(s.ctx, one, map[time.Time]int64{at: 5}))
	s.must(s.store.AddGuardPings(s.ctx, two, map[time.Time]int64{at: 0}))
	var got []guard.Minute
	for range 4 {
		stepped, err := s.store.StepGuard(s.ctx, at.Add(time.Duration(len(got))*time.Minute), unmoved(&got))
		s.must(err)
		if !stepped {
			t.Fatal("not stepped")
		}
	}
	want := []guard.Minute{
		{At: at, Pings: 15, Processes: 2},
		{At: at.Add(time.Minute), Pings: 1, Processes: 1},
		{At: at.Add(2 * time.Minute)},
		{At: at.Add(3 * time.Minute)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	stepped, err := s.store.StepGuard(s.ctx, at.Add(3*time.Minute), unmoved(&got))
	s.must(err)
	if stepped {
		t.Error("a minute was judged twice")
	}
}

func TestGuardStateIsKept(t *testing.T) {
	s := newBundle(t)
	at := guardStart()
	if got, err := s.store.GuardState(s.ctx); err != nil || got != (guard.State{}) {
		t.Fatalf("before the first minute: %+v, %v", got, err)
	}
	want := guard.State{
		Phase: guard.Incident, Minute: at, Pings: 3, Processes: 2, Expected: 100.5, Since: at.Add(-time.Hour), DetectedAt: at.Add(-59 * time.Minute),
		EndedAt: at.Add(-2 * time.Hour), JudgedAt: at.Add(time.Minute), Streak: 4, Level: 0.75, Seen: 0.5,
	}
	_, err := s.store.StepGuard(s.ctx, at, func(guard.State, guard.Minute, guard.History) guard.State { return want })
	s.must(err)
	got, err := s.store.GuardState(s.ctx)
	s.must(err)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, err = s.store.StepGuard(s.ctx, at.Add(time.Minute), func(s guard.State, m guard.Minute, _ guard.History) guard.State {
		if d := cmp.Diff(want, s); d != "" {
			t.Error(d)
		}
		return guard.State{Phase: guard.Normal, Minute: m.At}
	})
	s.must(err)
	if got, err := s.store.GuardState(s.ctx); err != nil || !got.Since.IsZero() || !got.EndedAt.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGuardHistory(t *testing.T) {
	s := newBundle(t)
	at, day := guardStart(), 24*time.Hour
	s.exec(`insert into guard_minutes (at, pings, processes, believed)
		select $1::timestamptz - i * interval '1 minute', i, 1, i % 10 <> 0 from generate_series(1, 16 * 24 * 60) as i`, at)
	var got guard.History
	_, err := s.store.StepGuard(s.ctx, at, func(s guard.State, m guard.Minute, h guard.History) guard.State {
		got = h
		return guard.State{Phase: guard.Incident, Minute: m.At, Since: m.At}
	})
	s.must(err)
	if len(got.Days) != 0 { // 1,440 a day: all of them end in 0
		t.Errorf("minutes that were not believed: %v", got.Days)
	}
	if len(got.Hour) != guard.Hour || !got.Hour[0].At.Equal(at.Add(-time.Minute)) || got.Hour[9].Pings != 11 {
		t.Errorf("the last hour: %v", got.Hour)
	}
	// The minute before it is one whose earlier days are believed; what came since the fall is believed after all.
	_, err = s.store.StepGuard(s.ctx, at.Add(time.Minute), func(s guard.State, m guard.Minute, h guard.History) guard.State {
		got = h
		return guard.State{Phase: guard.Normal, Minute: m.At, Since: at, Accepted: true}
	})
	s.must(err)
	if len(got.Days) != guard.Days {
		t.Errorf("%d days", len(got.Days))
	}
	for _, p := range got.Days {
		if at.Add(time.Minute).Sub(p.At)%day != 0 {
			t.Errorf("another minute: %v", p)
		}
	}
	if n := s.count(`select count(*) from guard_minutes where at >= $1 and believed`, at); n != 2 {
		t.Errorf("%d minutes are believed after all", n)
	}
	// At the full hour what is too old goes.
	var seen []guard.Minute
	s.must(s.store.AddGuardPings(s.ctx, uuid.New(), map[time.Time]int64{at.Add(-time.Hour): 1, at.Add(time.Minute): 1}))
	_, err = s.store.StepGuard(s.ctx, at.Add(2*time.Minute), unmoved(&seen))
	s.must(err)
	if n := s.count(`select count(*) from guard_minutes`); n != 15*24*60+1 {
		t.Errorf("%d minutes are kept", n)
	}
	if n := s.count(`select count(*) from guard_counts`); n != 1 {
		t.Errorf("%d counts are kept", n)
	}
}

func TestGuardPassesOverALongPause(t *testing.T) {
	s := newBundle(t)
	at := guardStart()
	var got []guard.Minute
	_, err := s.store.StepGuard(s.ctx, at, unmoved(&got))
	s.must(err)
	_, err = s.store.StepGuard(s.ctx, at.Add(72*time.Hour), unmoved(&got))
	s.must(err)
	if !got[1].At.Equal(at.Add(48 * time.Hour)) {
		t.Errorf("after a pause it goes on at %v", got[1].At)
	}
}

func TestOneProcessStepsTheGuard(t *testing.T) {
	s := newBundle(t)
	at := guardStart()
	begun, end := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var first []guard.Minute
	_, err := s.store.StepGuard(s.ctx, at, unmoved(&first))
	s.must(err)
	wg.Go(func() {
		_, err := s.store.StepGuard(s.ctx, at.Add(time.Minute), func(st guard.State, m guard.Minute, h guard.History) guard.State {
			close(begun)
			<-end
			return unmoved(&first)(st, m, h)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	var second []guard.Minute
	stepped, err := s.store.StepGuard(s.ctx, at.Add(time.Minute), unmoved(&second))
	close(end)
	wg.Wait()
	if err != nil || stepped || len(second) != 0 {
		t.Errorf("two judged one minute: %v, %v", stepped, err)
	}
}
