package instance_test

import (
	"errors"
	"testing"
	"time"
)

func TestWhatFiresIsToldOnceAndWhenItEnds(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(9 * time.Second)
		w.hears("team")
		w.table.open("report", time.Now())
		w.update()
		w.after(2 * time.Second)
		w.hears("team", "backup report")
		w.after(time.Minute)
		w.hears("team")
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "report -backup")
		w.leaves("report")
		w.after(4*time.Hour + time.Minute)
		w.hears("team", "report") // repeated
		if !w.i.Busy() {
			t.Error("an instance with an alert is busy")
		}
	})
}

func TestAnUpdateThatIsKnownChangesNothing(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.open("backup", time.Now())
		for range 5 {
			w.update()
			w.seen = 0
		}
		w.after(time.Minute)
		w.hears("team", "backup")
	})
}

func TestARestartRepeatsNothingAndLosesNothing(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		for range 3 {
			w.restart()
			w.after(30 * time.Second)
			w.hears("team")
		}
		w.i.Stop()
		w.table.resolve(backup, time.Now()) // while nobody was there
		w.table.open("report", time.Now())
		time.Sleep(time.Minute)
		w.start()
		w.after(time.Second) // both in one message: the groups are whole before they are flushed
		w.hears("team", "report -backup")
		w.leaves("report")
		w.restart()
		w.after(time.Minute)
		w.hears("team")
	})
}

func TestWhatOpenedAndEndedBeforeTheFirstFlushIsToldInOrder(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(3 * time.Second)
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(20 * time.Second)
		w.hears("team", "backup", "-backup")
		w.leaves("")
		if got := w.counts("tokiflow_alerting_told_late_total"); got != 1 {
			t.Errorf("told late: %v", got)
		}
		if w.i.Busy() {
			t.Error("nothing is left, yet it is busy")
		}
		w.restart()
		w.after(time.Minute)
		w.hears("team")
	})
}

func TestBothAreToldInOrderByAnInstanceThatStartsLate(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		at := time.Now()
		backup := w.table.open("backup", at)
		w.table.resolve(backup, at.Add(time.Minute))
		w.table.open("report", at)
		time.Sleep(time.Hour)
		w.start()
		w.after(20 * time.Second)
		w.hears("team", "backup report", "report -backup")
		w.leaves("report")
	})
}

func TestOneThatSeesResolutionsOnlyByItsOwnWishIsToldThatItFired(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.phones["team"][0].quiet = true
		w.start()
		backup := w.table.open("backup", time.Now())
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup")
		w.leaves("")
	})
}

func TestAReceiverThatWasDownHearsBothInOrder(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		p := w.phones["team"][0]
		p.down = errors.New("no line")
		other := &phone{}
		w.phones["team"] = append(w.phones["team"], other)
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Hour)
		w.hears("team")
		w.leaves("backup")
		other.set(func(p *phone) {
			if len(p.heard) != 2 || p.heard[0] != "backup" || p.heard[1] != "-backup" {
				t.Errorf("the phone beside it heard %q", p.heard)
			}
			p.heard = nil
		})
		w.restart()
		w.after(time.Minute)
		p.set(func(p *phone) { p.down = nil })
		w.after(time.Minute)
		w.hears("team", "backup", "-backup")
		w.leaves("")
		other.set(func(p *phone) {
			if len(p.heard) != 0 {
				t.Errorf("the phone beside it heard again %q", p.heard)
			}
		})
	})
}

func TestAnIncidentThatComesAgainIsToldAgain(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		first := w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.table.resolve(first, time.Now())
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "backup", "-backup")
		for range 2 { // the log knows these labels as resolved: yet the incidents are others
			again := w.table.open("backup", time.Now())
			w.update()
			w.after(time.Second)
			w.table.resolve(again, time.Now())
			w.update()
			w.after(time.Minute)
			w.hears("team", "backup", "-backup")
			w.leaves("")
		}
	})
}

func TestAnIncidentThatTookThePlaceOfAnotherIsToldAsNew(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		started := time.Now().Add(5 * time.Second)
		time.Sleep(6 * time.Second)
		w.table.open("backup", started) // the end of the first was overwritten before anybody saw it
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "backup")
		if last := w.phones["team"][0].last; len(last) != 1 || !last[0].StartsAt.Equal(started) {
			t.Errorf("told as %v, want a start at %v", last, started)
		}
		w.restart()
		w.after(time.Minute)
		w.hears("team")
	})
}

func TestEveryRouteMustHaveDealtWithAResolution(t *testing.T) {
	const two = `
route:
  receiver: team
  group_by: [project]
  group_wait: 1s
  group_interval: 15s
  routes:
  - {receiver: boss, matchers: ['severity="critical"'], continue: true, group_interval: 1h}
  - {receiver: team, matchers: ['project="shop"']}
receivers: [{name: team}, {name: boss}]
`
	story(t, two, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(2 * time.Second)
		w.hears("team", "backup")
		w.hears("boss", "backup")
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "-backup")
		w.leaves("backup") // the boss does not know
		w.restart()
		w.after(2 * time.Second)
		w.hears("team")
		w.hears("boss", "-backup")
		w.leaves("")
	})
}

func TestAResolutionSurvivesAReload(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		p := w.phones["team"][0]
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		p.set(func(p *phone) { p.down = errors.New("no line") })
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Hour) // the provider has forgotten it, its group has not
		if err := w.i.Apply(w.parse(plainConfig)); err != nil {
			t.Fatal(err)
		}
		p.set(func(p *phone) { p.down = nil })
		w.after(time.Minute)
		w.hears("team", "-backup")
		w.leaves("")
	})
}

func TestAReloadKeepsGroupsAndRepeatsNothing(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		for range 3 {
			if err := w.i.Apply(w.parse(plainConfig)); err != nil {
				t.Fatal(err)
			}
			w.after(time.Minute)
			w.hears("team")
		}
		if err := w.i.Apply(w.parse(`{route: {receiver: broken}, receivers: [{name: broken}]}`)); err == nil {
			t.Error("a configuration whose receivers cannot be made was taken")
		}
		w.table.open("report", time.Now())
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "backup report") // by the one before
	})
}

func TestNothingIsToldTwiceWhenADeliveryIsUnderWayAtAReload(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		slow := &slowPhone{phone: &phone{}, takes: time.Second}
		w.o.Build = slow.build
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(10*time.Second + 500*time.Millisecond)
		if err := w.i.Apply(w.parse(plainConfig)); err != nil {
			t.Fatal(err)
		}
		w.after(time.Minute)
		if len(slow.heard) != 1 {
			t.Errorf("heard %q", slow.heard)
		}
	})
}
