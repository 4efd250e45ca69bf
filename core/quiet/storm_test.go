package quiet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/quiet"
)

func TestStorm(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := quiet.NewStorm(quiet.StormRules{Limit: 5})
	for i := range 5 {
		want := quiet.Tell
		if i >= quiet.DefaultStormFree {
			want = quiet.Wait
		}
		if got := s.First(fmt.Sprint(i), start.Add(time.Duration(i)*time.Second)); got != want {
			t.Errorf("group %d: %v, want %v", i, got, want)
		}
	}
	for range 10 { // one that comes again is no other
		if got := s.First("4", start.Add(5*time.Second)); got != quiet.Wait {
			t.Errorf("again: %v", got)
		}
	}
	if s.On(start.Add(5 * time.Second)) {
		t.Error("five are no storm")
	}
	if got := s.First("5", start.Add(6*time.Second)); got != quiet.Join || !s.On(start.Add(6*time.Second)) {
		t.Errorf("the sixth: %v", got)
	}
	// 60 s after the first three there are three left, which is more than half of five; then two.
	if !s.On(start.Add(62 * time.Second)) {
		t.Error("the storm ended with three")
	}
	if s.On(start.Add(65 * time.Second)) {
		t.Error("the storm did not end")
	}
	if got := s.First("6", start.Add(70*time.Second)); got != quiet.Tell {
		t.Errorf("after the storm: %v", got)
	}
}

func TestNoLimit(t *testing.T) {
	s := quiet.NewStorm(quiet.StormRules{})
	now := time.Now()
	for i := range 1000 {
		if got := s.First(fmt.Sprint(i), now); got != quiet.Tell || s.On(now) {
			t.Fatalf("group %d: %v", i, got)
		}
	}
	if s.Resume(now, now); s.On(now) {
		t.Error("a storm was resumed though there are none")
	}
}

func TestResume(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := quiet.NewStorm(quiet.StormRules{Limit: 20})
	s.Resume(now.Add(-2*time.Minute), now)
	if s.On(now) {
		t.Error("one that ended long ago goes on")
	}
	s.Resume(now.Add(-20*time.Second), now)
	if !s.On(now) || s.First("a", now) != quiet.Join || !s.On(now.Add(39*time.Second)) {
		t.Error("it does not go on")
	}
	if s.On(now.Add(41 * time.Second)) {
		t.Error("it does not end")
	}
}
