package quiet_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
)

func TestFewAlertsAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		for i := range 20 { // the limit
			p.fire(monitorName(i))
		}
		time.Sleep(10 * time.Second)
		got := s.phone.heard()
		if len(got) != 20 {
			t.Fatalf("%d messages, want 20", len(got))
		}
		for i, m := range got {
			late := m.at.Sub(s.alerts[m.firing[0]].StartsAt) - time.Second // group_wait
			if m.storm() || i < 3 && late > 0 || late > 2*time.Second {
				t.Errorf("message %d: group %s, %v late", i, m.group, late)
			}
		}
		// They recover on their own, and come again on their own.
		for i := range 20 {
			p.resolve(monitorName(i))
		}
		time.Sleep(time.Minute)
		if got := s.phone.heard(); len(got) != 40 {
			t.Errorf("%d messages, want 40", len(got))
		}
	})
}

func TestGroupsToldAloneStayAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		p.fire("early", "part", "a")
		time.Sleep(5 * time.Minute)
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(10 * time.Second)
		p.site.alerts["early/a"] = p.site.alerts["early"]
		p.fire("early", "part", "b")
		time.Sleep(time.Minute)
		alone := 0
		for _, m := range s.phone.heard() {
			for _, name := range m.firing {
				if name != "early" {
					continue
				}
				if alone++; m.storm() {
					t.Error("a group that was told on its own before became part of the storm")
				}
			}
		}
		if alone != 3 { // a; then a and b
			t.Errorf("early was told %d times, want 3", alone)
		}
	})
}

func TestOneGroupOfManyIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "project")
		p := s.start()
		defer p.kill()
		storm(p, some)
		time.Sleep(time.Minute)
		for _, m := range s.phone.heard() {
			if m.storm() {
				t.Fatal("one group made a storm")
			}
		}
		checkAllTold(t, s, some, 30*time.Second)
	})
}

func TestNoLimitNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		s.limit = 0
		p := s.start()
		defer p.kill()
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(5 * time.Second)
		if n := len(s.phone.heard()); n != 100 {
			t.Errorf("%d messages, want 100", n)
		}
	})
}

// A member that comes again after it was told to be resolved is told as new.
func TestAMemberComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(time.Minute)
		count := func(name string) (firing, resolved int) {
			for _, m := range s.phone.heard() {
				for _, n := range m.resolved {
					if n == name {
						resolved++
					}
				}
			}
			now := s.phone.heard()
			for _, n := range now[len(now)-1].firing {
				if n == name {
					firing++
				}
			}
			return firing, resolved
		}
		for round := 1; round <= 3; round++ {
			p.resolve(monitorName(50))
			time.Sleep(time.Minute)
			if firing, resolved := count(monitorName(50)); firing != 0 || resolved != round {
				t.Fatalf("round %d: told resolved %d times, firing in the last: %d", round, resolved, firing)
			}
			p.fire(monitorName(50))
			time.Sleep(time.Minute)
			if got := s.phone.heard(); !contains(got[len(got)-1].firing, monitorName(50)) {
				t.Fatalf("round %d: the last message does not say that it fires again", round)
			}
		}
	})
}

// Routes with different time intervals have storms of their own: what is muted at night stays so.
func TestTimeIntervalsPartStorms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		s.route.MuteTimeIntervals = []string{"nights"}
		s.route.GroupBy = []model.LabelName{"monitor"}
		p := s.start()
		defer p.kill()
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(30 * time.Second)
		got := s.phone.heard()
		if last := got[len(got)-1]; last.group != `{storm}:team:mute=["nights"],active=[]` {
			t.Errorf("group %s", last.group)
		}
	})
}

// What is silenced is left out of the storm's messages, and comes back with the end of the silence.
func TestASilencedMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(time.Minute)
		last := func() message {
			got := s.phone.heard()
			return got[len(got)-1]
		}
		if !contains(last().firing, monitorName(50)) {
			t.Fatal("it was not told")
		}
		s.mute(monitorName(50), true)
		for i := 10; i < 20; i++ {
			p.resolve(monitorName(i))
		}
		time.Sleep(time.Minute)
		if got := last(); len(got.resolved) == 0 || contains(got.firing, monitorName(50)) {
			t.Errorf("%d resolved; it was told though it is silenced", len(got.resolved))
		}
		time.Sleep(10 * time.Minute) // by now its group was not heard of for long
		s.mute(monitorName(50), false)
		time.Sleep(time.Minute)
		if got := last(); !contains(got.firing, monitorName(50)) {
			t.Error("it was not told when the silence ended")
		}
		// One that recovers unheard is forgotten.
		before := len(s.phone.heard())
		s.mute(monitorName(51), true)
		time.Sleep(time.Minute)
		p.resolve(monitorName(51))
		time.Sleep(10 * time.Minute)
		s.mute(monitorName(51), false)
		p.resolve(monitorName(52))
		time.Sleep(time.Minute)
		for _, m := range s.phone.heard()[before:] {
			if contains(m.firing, monitorName(51)) || contains(m.resolved, monitorName(51)) {
				t.Errorf("it was told: %d firing, %d resolved", len(m.firing), len(m.resolved))
			}
		}
	})
}

func contains(list []string, name string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+name+" ")
}
