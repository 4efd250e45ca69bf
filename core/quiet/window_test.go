package quiet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/quiet"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func shown(list []quiet.Occurrence) string {
	var words []string
	for _, o := range list {
		words = append(words, o.StartsAt.Format("01-02 15:04")+" to "+o.EndsAt.Format("01-02 15:04"))
	}
	return strings.Join(words, ", ")
}

func weekly(zone string, d time.Duration, at string, days ...string) quiet.Window {
	return quiet.Window{
		Name: "w", Scope: quiet.Scope{All: true},
		Time: quiet.Time{Weekly: &quiet.Weekly{Days: days, At: at}, Timezone: zone, Duration: d},
	}
}

func cron(zone string, d time.Duration, expression string) quiet.Window {
	return quiet.Window{Name: "w", Scope: quiet.Scope{All: true}, Time: quiet.Time{Cron: expression, Timezone: zone, Duration: d}}
}

func once(t *testing.T, from, to string) quiet.Window {
	return quiet.Window{Name: "w", Scope: quiet.Scope{All: true}, Time: quiet.Time{StartsAt: at(t, from), EndsAt: at(t, to)}}
}

func TestOccurrences(t *testing.T) {
	for _, c := range []struct {
		name     string
		w        quiet.Window
		from, to string
		want     string
	}{
		{"within", once(t, "2026-05-01 10:00:00", "2026-05-01 12:00:00"), "2026-05-01 11:00:00", "2026-05-01 11:30:00", "05-01 10:00 to 05-01 12:00"},
		{"behind", once(t, "2026-05-01 10:00:00", "2026-05-01 12:00:00"), "2026-05-01 12:00:00", "2026-05-02 00:00:00", ""},
		{"before", once(t, "2026-05-01 10:00:00", "2026-05-01 12:00:00"), "2026-05-01 09:00:00", "2026-05-01 10:00:00", ""},
		{
			"nights in Berlin", weekly("Europe/Berlin", 2*time.Hour, "23:00", "mon", "tue"), "2026-06-01 00:00:00", "2026-06-08 00:00:00",
			"06-01 21:00 to 06-01 23:00, 06-02 21:00 to 06-02 23:00",
		},
		{
			"one that is on counts", weekly("", 2*time.Hour, "23:00", "mon"), "2026-06-02 00:30:00", "2026-06-09 00:00:00",
			"06-01 23:00 to 06-02 01:00, 06-08 23:00 to 06-09 01:00",
		},
		{"one that just ended does not", weekly("", 2*time.Hour, "23:00", "mon"), "2026-06-02 01:00:00", "2026-06-08 23:00:00", ""},
		// In Berlin the clock jumped from 2:00 to 3:00 on 29 March 2026 and goes back from 3:00 to 2:00 on 25 October.
		{"a time that was skipped", weekly("Europe/Berlin", time.Hour, "02:30", "sun"), "2026-03-29 00:00:00", "2026-03-30 00:00:00", "03-29 01:00 to 03-29 02:00"},
		{"a time that comes twice", weekly("Europe/Berlin", time.Hour, "02:30", "sun"), "2026-10-25 00:00:00", "2026-10-26 00:00:00", "10-25 00:30 to 10-25 01:30"},
		{"four hours are four hours", weekly("Europe/Berlin", 4*time.Hour, "00:00", "sun"), "2026-03-28 20:00:00", "2026-03-30 00:00:00", "03-28 23:00 to 03-29 03:00"},
		{
			"first of the month", cron("America/New_York", 90*time.Minute, "0 4 1 * *"), "2026-01-01 00:00:00", "2026-03-02 00:00:00",
			"01-01 09:00 to 01-01 10:30, 02-01 09:00 to 02-01 10:30, 03-01 09:00 to 03-01 10:30",
		},
		{"days that no month has", cron("", time.Hour, "0 0 30 2 *"), "2026-01-01 00:00:00", "2030-01-01 00:00:00", ""},
		{"nonsense", cron("", time.Hour, "nonsense"), "2026-01-01 00:00:00", "2030-01-01 00:00:00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shown(c.w.Occurrences(at(t, c.from), at(t, c.to), 10)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if got := weekly("", time.Hour, "00:00", "mon").Occurrences(at(t, "2026-01-01 00:00:00"), at(t, "2027-01-01 00:00:00"), 3); len(got) != 3 {
		t.Errorf("%d occurrences, want 3", len(got))
	}
}

// Planning bit by bit gives each occurrence once, and none is left out.
func TestPlanningBitByBit(t *testing.T) {
	from, to := at(t, "2026-03-01 13:17:11"), at(t, "2026-11-20 00:00:00")
	for _, w := range []quiet.Window{
		weekly("Europe/Berlin", 26*time.Hour, "22:30", "mon", "tue", "sat"), cron("Australia/Lord_Howe", time.Hour, "*/30 2-4 * * *"),
		cron("", 7*24*time.Hour, "@monthly"), once(t, "2026-07-01 00:00:00", "2026-07-03 00:00:00"), once(t, "2026-02-01 00:00:00", "2026-02-02 00:00:00"),
	} {
		var got []quiet.Occurrence
		next := w.First(from)
		for now := from; now.Before(to); now = now.Add(37 * time.Minute) {
			if next.IsZero() || !next.Before(now.Add(24*time.Hour)) {
				continue
			}
			var list []quiet.Occurrence
			list, next = w.Plan(next, now.Add(24*time.Hour))
			if len(list) == 0 {
				t.Fatal("nothing was planned though something was due")
			}
			got = append(got, list...)
		}
		var want []quiet.Occurrence
		if w.Time.Once() {
			want = w.Starting(time.Time{}, to, 1)
		} else {
			want = w.Occurrences(from, to.Add(24*time.Hour), 10_000)
		}
		for len(want) > len(got) && !want[len(want)-1].StartsAt.Before(to.Add(23*time.Hour)) {
			want = want[:len(want)-1] // the last look was a moment before the end
		}
		if d := cmp.Diff(want, got); d != "" || len(got) == 0 {
			t.Errorf("%+v: %s", w.Time, d)
		}
	}
}

func TestValidate(t *testing.T) {
	good := weekly("Europe/Berlin", 2*time.Hour, "23:00", "mon")
	now := at(t, "2026-06-01 00:00:00")
	if bad := good.Validate(now); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
	past := once(t, "2020-01-01 00:00:00", "2020-01-01 01:00:00")
	if bad := past.Validate(now); len(bad) > 0 {
		t.Errorf("one that is over: %v", bad)
	}
	some := []uuid.UUID{uuid.New()}
	for _, c := range []struct {
		field, words string
		change       func(*quiet.Window)
	}{
		{"name", "empty", func(w *quiet.Window) { w.Name = "" }},
		{"scope", "is empty", func(w *quiet.Window) { w.Scope = quiet.Scope{} }},
		{"scope", "all stands alone", func(w *quiet.Window) { w.Scope.Monitors = some }},
		{"scope", "1001 things", func(w *quiet.Window) { w.Scope = quiet.Scope{Projects: make([]uuid.UUID, 1001)} }},
		{"scope.tags[1]", "without a comma", func(w *quiet.Window) { w.Scope = quiet.Scope{Tags: []string{"a", "b,c"}} }},
		{"scope.tags[0]", "without a comma", func(w *quiet.Window) { w.Scope = quiet.Scope{Tags: []string{""}} }},
		{"recurring.weekly.days", "is empty", func(w *quiet.Window) { w.Time.Weekly.Days = nil }},
		{"recurring.weekly.days[0]", "must be mon", func(w *quiet.Window) { w.Time.Weekly.Days = []string{"Monday"} }},
		{"recurring.weekly.at", "22:30", func(w *quiet.Window) { w.Time.Weekly.At = "24:00" }},
		{"recurring.weekly.at", "22:30", func(w *quiet.Window) { w.Time.Weekly.At = "9:00" }},
		{"recurring.timezone", "not a known time zone", func(w *quiet.Window) { w.Time.Timezone = "Berlin" }},
		{"recurring.duration", "1m to 7d", func(w *quiet.Window) { w.Time.Duration = time.Second }},
		{"recurring.duration", "1m to 7d", func(w *quiet.Window) { w.Time.Duration = 8 * 24 * time.Hour }},
		{"recurring", "one of them", func(w *quiet.Window) { w.Time.Cron = "0 0 * * *" }},
		{"recurring", "starts_at", func(w *quiet.Window) { w.Time.StartsAt = now }},
		{"recurring.cron", "character 1", func(w *quiet.Window) { w.Time = quiet.Time{Cron: "99 0 * * *", Duration: time.Hour} }},
		{"recurring", "never comes", func(w *quiet.Window) { w.Time = quiet.Time{Cron: "0 0 30 2 *", Duration: time.Hour} }},
		{"recurring", "24 times a day", func(w *quiet.Window) { w.Time = quiet.Time{Cron: "*/10 3-7 1 1 *", Duration: time.Minute} }},
		{"", "give starts_at", func(w *quiet.Window) { w.Time = quiet.Time{} }},
		{"starts_at", "missing", func(w *quiet.Window) { w.Time = quiet.Time{EndsAt: now} }},
		{"ends_at", "missing", func(w *quiet.Window) { w.Time = quiet.Time{StartsAt: now} }},
		{"ends_at", "behind starts_at", func(w *quiet.Window) { w.Time = quiet.Time{StartsAt: now, EndsAt: now.Add(-time.Hour)} }},
		{"ends_at", "366d", func(w *quiet.Window) { w.Time = quiet.Time{StartsAt: now, EndsAt: now.AddDate(2, 0, 0)} }},
		{"starts_at", "years", func(w *quiet.Window) { w.Time = quiet.Time{StartsAt: now.AddDate(-900, 0, 0), EndsAt: now} }},
	} {
		w := good
		days := *good.Time.Weekly
		w.Time.Weekly = &days
		c.change(&w)
		bad := w.Validate(now)
		if len(bad) == 0 || bad[0].Field != c.field || !strings.Contains(bad[0].Error(), c.words) {
			t.Errorf("want %s: … %s …; got %v", c.field, c.words, bad)
		}
	}
	if hourly := cron("", time.Hour, "0 * * * *").Validate(now); len(hourly) > 0 {
		t.Errorf("24 times a day: %v", hourly)
	}
}

func TestScopeHolds(t *testing.T) {
	monitor, project := uuid.New(), uuid.New()
	for _, c := range []struct {
		scope quiet.Scope
		want  bool
	}{
		{quiet.Scope{All: true}, true},
		{quiet.Scope{Monitors: []uuid.UUID{uuid.New(), monitor}}, true},
		{quiet.Scope{Projects: []uuid.UUID{project}, Tags: []string{"x"}}, true},
		{quiet.Scope{Tags: []string{"x", "b"}}, true},
		{quiet.Scope{Tags: []string{"x"}, Monitors: []uuid.UUID{project}, Projects: []uuid.UUID{monitor}}, false},
		{quiet.Scope{}, false},
	} {
		if got := c.scope.Holds(monitor, project, []string{"a", "b"}); got != c.want {
			t.Errorf("%+v: %v", c.scope, got)
		}
	}
}

func TestUnion(t *testing.T) {
	w := func(from, to int) history.Window {
		day := at(t, "2026-01-01 00:00:00")
		return history.Window{From: day.Add(time.Duration(from) * time.Hour), To: day.Add(time.Duration(to) * time.Hour)}
	}
	got := quiet.Union([]history.Window{w(10, 12), w(2, 3), w(3, 4), w(11, 11), w(9, 11), w(20, 30), w(-5, 1), w(7, 6), w(40, 50)}, w(0, 24))
	want := []history.Window{w(0, 1), w(2, 4), w(9, 12), w(20, 24)}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Whatever is written as a window is refused or has occurrences in order, and is read back as it was.
func FuzzWindow(f *testing.F) {
	f.Add("0 3 * * sun", "", "", "Europe/Berlin", int64(7200), int64(1_780_000_000))
	f.Add("", "mon tue", "22:30", "America/St_Johns", int64(90), int64(0))
	f.Add("*/30 * * * *", "", "", "Local", int64(-1), int64(253402300799))
	f.Fuzz(func(t *testing.T, cron, days, clock, zone string, length, now int64) {
		w := quiet.Window{Name: "w", Scope: quiet.Scope{All: true}, Time: quiet.Time{Cron: cron, Timezone: zone, Duration: time.Duration(length) * time.Second}}
		if days != "" {
			w.Time.Weekly = &quiet.Weekly{Days: strings.Fields(days), At: clock}
		}
		from := time.Unix(now%4_000_000_000, 0)
		if len(w.Validate(from)) > 0 || w.Time.Once() {
			return
		}
		list := w.Occurrences(from, from.AddDate(1, 0, 0), 50)
		for i, o := range list {
			if o.EndsAt.Sub(o.StartsAt) != w.Time.Duration || !o.EndsAt.After(from) || i > 0 && !list[i-1].StartsAt.Before(o.StartsAt) {
				t.Fatalf("%+v from %v: %v", w.Time, from, list)
			}
		}
		b, err := json.Marshal(w.Time)
		if err != nil {
			t.Fatal(err)
		}
		var again quiet.Time
		if err := json.Unmarshal(b, &again); err != nil || fmt.Sprint(again.Weekly == nil) != fmt.Sprint(w.Time.Weekly == nil) {
			t.Fatalf("%s: %v", b, err)
		}
	})
}
