package instance_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/core/alert"
)

func TestNothingIsRepeatedWhileTheDatabaseIsDown(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.fail("SaveLog", true)
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Hour)
		w.hears("team", "backup")
		if len(w.table.log) != 0 || w.counts("tokiflow_alerting_log_unsaved") != 1 || w.counts("tokiflow_alerting_save_failures_total") < 10 {
			t.Errorf("%d entries, %v unsaved, %v failures", len(w.table.log), w.counts("tokiflow_alerting_log_unsaved"), w.counts("tokiflow_alerting_save_failures_total"))
		}
		w.table.fail("SaveLog", false)
		w.after(15 * time.Second)
		if len(w.table.log) != 1 || w.counts("tokiflow_alerting_log_unsaved") != 0 {
			t.Errorf("%d entries, %v unsaved", len(w.table.log), w.counts("tokiflow_alerting_log_unsaved"))
		}
		w.restart()
		w.after(time.Hour)
		w.hears("team")
	})
}

func TestOneEntryThatIsRefusedTakesNoOtherWithIt(t *testing.T) {
	const config = `
route: {receiver: team, group_by: [monitor], group_wait: 10s, group_interval: 15s, repeat_interval: 4h}
receivers: [{name: team}]
`
	story(t, config, func(w *world) {
		w.table.refuses = func(e alert.LogEntry) bool { return strings.Contains(e.GroupKey, "bad") }
		w.start()
		w.table.fail("SaveLog", true) // so that they are one batch
		resolved := w.table.open("bad-0", time.Now())
		for n := range 20 {
			w.table.open("good-"+strconv.Itoa(n), time.Now())
		}
		w.table.open("bad-1", time.Now())
		w.update()
		w.after(time.Minute)
		if n := w.counts("tokiflow_alerting_log_unsaved"); n != 22 {
			t.Errorf("%v are unsaved", n)
		}
		w.table.fail("SaveLog", false)
		w.after(16 * time.Second)
		if len(w.table.log) != 20 || w.counts("tokiflow_alerting_log_unsaved") != 0 || w.counts("tokiflow_alerting_log_forsaken_total") != 2 {
			t.Errorf("%d entries, %v unsaved, %v forsaken", len(w.table.log), w.counts("tokiflow_alerting_log_unsaved"), w.counts("tokiflow_alerting_log_forsaken_total"))
		}
		phone := w.phones["team"][0]
		if n := len(phone.heard); n != 22 {
			t.Errorf("heard %d", n)
		}
		phone.heard = nil
		w.table.resolve(resolved, time.Now())
		w.update()
		w.after(time.Hour)
		w.hears("team", "-bad-0") // it goes on, and remembers
		if strings.Contains(w.table.left(), "bad-0") {
			t.Error("what is done with stays")
		}
		calls := w.table.calls["SaveLog"]
		w.after(time.Hour)
		if w.table.calls["SaveLog"] != calls {
			t.Error("what is refused is tried again")
		}
		w.restart()
		w.after(time.Hour)
		w.hears("team", "bad-1")
	})
}

func TestWhatIsUnsavedIsTriedOnceMoreWhenItStops(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.fail("SaveLog", true)
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup")
		w.table.fail("SaveLog", false)
		began := time.Now()
		w.restart() // at once: the next try was some seconds away
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		w.after(time.Hour)
		w.hears("team")
	})
}

func TestWhatIsDoneWithIsRemovedWhenTheDatabaseIsBack(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.fail("RemoveAlerts", true)
		backup := w.table.open("backup", time.Now())
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup", "-backup")
		w.leaves("backup")
		if !w.i.Busy() {
			t.Error("it has something to save")
		}
		w.restart() // the next instance knows from the log
		w.after(time.Minute)
		w.hears("team")
		w.table.fail("RemoveAlerts", false)
		w.after(time.Minute)
		w.leaves("")
		w.hears("team")
	})
}

func TestAnAlertThatChangedMeanwhileIsNotRemoved(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.fail("RemoveAlerts", true)
		backup := w.table.open("backup", time.Now())
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Minute)
		w.table.open("backup", time.Now())
		w.table.fail("RemoveAlerts", false)
		w.after(time.Minute)
		w.leaves("backup")
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup", "-backup", "backup")
	})
}

func TestALogOfAMachineWhoseClockIsAheadIsHeeded(t *testing.T) {
	var ahead alert.State
	story(t, plainConfig, func(w *world) {
		time.Sleep(time.Hour) // each bubble's clock begins at the same instant
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup")
		ahead = w.table.since(0)
	})
	story(t, plainConfig, func(w *world) {
		for _, e := range ahead.Log {
			w.table.log[e.GroupKey] = e
		}
		w.start()
		for _, monitor := range []string{"backup", "report", "third"} {
			w.table.open(monitor, time.Now().Add(-time.Minute))
			w.update()
			w.after(time.Minute)
		}
		w.hears("team", "backup", "backup report", "backup report third")
	})
}

func TestRowsThatCannotBeReadAreLeftOut(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.table.log["x"] = alert.LogEntry{GroupKey: "x", Receiver: "team/phone/0", Body: []byte{5, 1}}
		w.table.silences["x"] = alert.StoredSilence{ID: "x", Version: 1, Body: []byte("?")}
		w.start()
		w.table.silence(t, "window", "report", time.Now(), time.Now().Add(time.Hour))
		w.table.open("backup", time.Now())
		w.table.open("report", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup")
	})
}

func TestStopTakesNoLongerThanItMay(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.phones["team"][0].hang = true
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.table.fail("SaveLog", true)
		began := time.Now()
		w.i.Stop()
		w.i.Stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := w.i.Apply(w.config); err == nil {
			t.Error("a stopped instance took a configuration")
		}
	})
}

func TestADeliveryThatIsUnderWayEndsBeforeItStops(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		slow := &slowPhone{phone: &phone{}, takes: time.Second}
		w.o.Build = slow.build
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(10*time.Second + 500*time.Millisecond)
		w.restart()
		w.after(time.Minute)
		if len(slow.heard) != 1 {
			t.Errorf("heard %q", slow.heard)
		}
	})
}

func TestAnInstanceThatRunsForMonthsForgets(t *testing.T) {
	story(t, strings.ReplaceAll(plainConfig, "15s", "5m"), func(w *world) {
		w.start()
		for range 60 {
			w.table.silence(t, "", "report", time.Now(), time.Now().Add(time.Minute))
			backup := w.table.open("backup", time.Now())
			w.update()
			w.after(time.Hour)
			w.table.resolve(backup, time.Now())
			w.update()
			w.after(23 * time.Hour)
			w.hears("team", "backup", "-backup")
		}
		w.leaves("")
		if got := len(w.list("/api/v2/silences")); got > 6 {
			t.Errorf("it remembers %d silences", got)
		}
	})
}

func TestWhatIsMissingInOptionsIsSaid(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		for _, f := range []func(*instance.Options){
			func(o *instance.Options) { o.Build = nil }, func(o *instance.Options) { o.Store = nil },
			func(o *instance.Options) { o.Logger = nil }, func(o *instance.Options) { o.ExternalURL = nil },
		} {
			o := w.o
			f(&o)
			if _, err := instance.Start(t.Context(), o, w.config, alert.State{}); err == nil {
				t.Errorf("%+v was taken", o)
			}
		}
		w.config = w.parse(`{route: {receiver: broken}, receivers: [{name: broken}]}`)
		if _, err := instance.Start(t.Context(), w.o, w.config, alert.State{}); err == nil {
			t.Error("a configuration whose receivers cannot be made was taken")
		}
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
