package quiet_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	const cluster = "github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster)"
	goleak.VerifyTestMain(m, // the test process' own PostgreSQL runs to its end
		goleak.IgnoreAnyFunction(cluster+".Start.func1"), goleak.IgnoreAnyFunction(cluster+".startWatchdog.func1"))
}

// many is how many monitors go down, and some how many where that is enough.
const (
	many = 3000
	some = 900
)

// storm has that many monitors go down evenly within a minute.
func storm(p *process, n int) {
	for i := range n {
		p.fire(monitorName(i))
		time.Sleep(time.Minute / time.Duration(n))
	}
}

func checkAllTold(t *testing.T, s *site, n int, within time.Duration) {
	t.Helper()
	firing, _ := s.phone.told(t)
	for i := range n {
		at, ok := firing[monitorName(i)]
		if !ok {
			t.Fatalf("%s was never told", monitorName(i))
		}
		if d := at.Sub(s.alerts[monitorName(i)].StartsAt); d > within {
			t.Fatalf("%s was told after %v", monitorName(i), d)
		}
	}
}

func TestManyMonitorsGoDownInAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		s := newSite(t, "monitor")
		s.logs = &logs
		p := s.start()
		defer p.kill()
		storm(p, many)
		time.Sleep(time.Minute)
		checkAllTold(t, s, many, 30*time.Second)
		got := s.phone.heard()
		if len(got) > 10 {
			t.Errorf("%d notifications", len(got))
		}
		last := got[len(got)-1]
		if !last.storm() || last.group != "{storm}:team" || last.labels["alertname"] != "AlertStorm" {
			t.Errorf("the last message is of group %s, %s", last.group, last.labels)
		}
		for i, m := range got {
			t.Logf("message %d after %v: %s, %d firing, %d resolved", i, m.at.Sub(got[0].at), m.group, len(m.firing), len(m.resolved))
		}
		if n := strings.Count(logs.String(), "alert storm begins"); n != 1 {
			t.Errorf("the storm began %d times", n)
		}
	})
}

func TestAStormIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		storm(p, 100)
		time.Sleep(5 * time.Minute)
		before := len(s.phone.heard())
		time.Sleep(3 * time.Hour) // the same as ever: nothing to say
		if n := len(s.phone.heard()); n != before {
			t.Errorf("%d messages more, though nothing changed", n-before)
		}
		time.Sleep(time.Hour) // but the repeat interval is over
		got := s.phone.heard()[before:]
		storms := 0
		for _, m := range got {
			if m.storm() {
				storms++
			}
		}
		if storms != 1 {
			t.Errorf("the storm was repeated %d times", storms)
		}
	})
}

func TestHalfOfThemRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		storm(p, some)
		time.Sleep(time.Minute)
		before := len(s.phone.heard())
		for i := 0; i < some; i += 2 {
			p.resolve(monitorName(i))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		_, resolved := s.phone.told(t)
		for i := range some {
			if _, ok := resolved[monitorName(i)]; ok != (i%2 == 0) {
				t.Fatalf("%s was told to be resolved: %v", monitorName(i), ok)
			}
		}
		if n := len(s.phone.heard()) - before; n > 10 {
			t.Errorf("%d notifications of the recovery", n)
		}
		// The rest recovers too: then there is nothing left, and a new alert is told on its own.
		for i := 1; i < some; i += 2 {
			p.resolve(monitorName(i))
		}
		time.Sleep(5 * time.Minute)
		_, resolved = s.phone.told(t)
		if len(resolved) != some {
			t.Errorf("%d of %d were told to be resolved", len(resolved), some)
		}
		p.fire("alone")
		time.Sleep(2 * time.Second)
		got := s.phone.heard()
		if last := got[len(got)-1]; last.storm() || len(last.firing) != 1 {
			t.Errorf("after the storm: %+v", last)
		}
	})
}

func TestRestartAmidAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		storm(p, some/2) // the first minute of two
		before := s.phone.heard()
		p.kill()
		p = s.start()
		for i := some / 2; i < some; i++ {
			p.fire(monitorName(i))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		checkAllTold(t, s, some, 30*time.Second)
		all := s.phone.heard()
		for _, m := range all[len(before):] {
			if !m.storm() {
				t.Errorf("after the restart %v was told on its own", m.firing)
			}
		}
		if len(all) > 15 {
			t.Errorf("%d notifications", len(all))
		}
		// Another restart, in quiet times: nobody hears of it.
		p.kill()
		p = s.start()
		time.Sleep(2 * time.Minute)
		if again := s.phone.heard(); len(again) != len(all) {
			t.Errorf("a restart told %d messages", len(again)-len(all))
		}
		// What recovers while nobody is there is told by the next.
		p.kill()
		for i := 10; i < 20; i++ {
			a := *s.alerts[monitorName(i)]
			a.EndsAt, a.UpdatedAt, a.Timeout = time.Now(), time.Now(), false
			s.alerts[monitorName(i)] = &a
		}
		p = s.start()
		defer p.kill()
		time.Sleep(time.Minute)
		_, resolved := s.phone.told(t)
		if len(resolved) != 10 {
			t.Errorf("%d of 10 recoveries were told", len(resolved))
		}
		if again := s.phone.heard(); len(again) > len(all)+2 {
			for _, m := range again[len(all):] {
				t.Logf("%v %s: %d firing, resolved %v", m.at, m.group, len(m.firing), m.resolved)
			}
			t.Errorf("10 recoveries made %d messages", len(again)-len(all))
		}
	})
}

func TestDeathBeforeTheStormWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		for i := range 100 {
			p.fire(monitorName(i))
		}
		time.Sleep(4 * time.Second) // the groups were flushed, the storm was not
		if n := len(s.phone.heard()); n > 3 {
			t.Fatalf("%d messages already", n)
		}
		p.kill()
		p = s.start()
		defer p.kill()
		time.Sleep(20 * time.Second)
		checkAllTold(t, s, 100, 15*time.Second)
	})
}

func TestAReceiverThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "monitor")
		p := s.start()
		defer p.kill()
		s.phone.set(true)
		for i := range 200 {
			p.fire(monitorName(i))
		}
		time.Sleep(time.Minute)
		for i := range 100 { // half of them recover before anybody heard of them
			p.resolve(monitorName(i))
		}
		time.Sleep(10 * time.Minute)
		s.phone.set(false)
		time.Sleep(time.Minute)
		firing := map[string]bool{}
		for _, m := range s.phone.heard() {
			for _, name := range m.firing {
				firing[name] = true
			}
		}
		for i := 100; i < 200; i++ {
			if !firing[monitorName(i)] {
				t.Fatalf("%s was not told", monitorName(i))
			}
		}
		if n := len(s.phone.heard()); n > 8 {
			t.Errorf("%d messages", n)
		}
	})
}
