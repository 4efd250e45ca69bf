package schedule

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestCompileRefusesWhatIsNotOneSchedule(t *testing.T) {
	day := model.Duration(24 * time.Hour)
	for _, c := range []struct {
		spec  Spec
		field string
		want  string
	}{
		{Spec{}, "", "schedule: is empty; give interval (1s or more) or cron"},
		{Spec{Timezone: "UTC"}, "", "schedule: is empty; give interval (1s or more) or cron"},
		{Spec{Interval: day, Cron: "* * * * *"}, "", "schedule: has both interval and cron; give one of them"},
		{Spec{Interval: day, Timezone: "UTC"}, "timezone", "timezone: goes with cron only; an interval has no time zone"},
		{Spec{Interval: 1}, "interval", "interval: 0s is not allowed; allowed: 1s to 1000d"},
		{Spec{Interval: model.Duration(999 * time.Millisecond)}, "interval", "interval: 999ms is not allowed; allowed: 1s to 1000d"},
		{Spec{Interval: -day}, "interval", "interval: -1d is not allowed; allowed: 1s to 1000d"},
		{Spec{Interval: 1000*day + 1e6}, "interval", "interval: 1000d1ms is not allowed; allowed: 1s to 1000d"},
	} {
		s, err := c.spec.Compile()
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%+v compiled to %s, error %v", c.spec, s, err)
			continue
		}
		if e.Field != c.field || e.Error() != c.want {
			t.Errorf("%+v: field %q, error\n %s, want field %q,\n %s", c.spec, e.Field, e, c.field, c.want)
		}
	}
}

func TestCompileRefusesZones(t *testing.T) {
	for _, zone := range []string{
		"Local", "local", "localtime", "posixrules", "right/Europe/Berlin", "posix/Europe/Berlin", "europe/berlin", "Europe/Bonn", "Europe",
		"Europe/", "/Europe/Berlin", "../etc/passwd", "Europe/../Europe/Berlin", "CEST", "+02:00", " UTC", "UTC ", "utc", "Z\x00",
		strings.Repeat("A", 1000),
	} {
		_, err := Spec{Cron: "* * * * *", Timezone: zone}.Compile()
		var e *Error
		if !errors.As(err, &e) || e.Field != "timezone" || len(e.Error()) > 300 {
			t.Errorf("zone %.80q: %v", zone, err)
		}
	}
}

func TestCompileRefusesLongExpressions(t *testing.T) {
	_, err := Spec{Cron: strings.Repeat("0,", 500) + "0 * * * *"}.Compile()
	if err == nil || !strings.Contains(err.Error(), "1009 characters; allowed: 1000") {
		t.Errorf("got %v", err)
	}
}

func TestInterval(t *testing.T) {
	s, err := Spec{Interval: model.Duration(90 * time.Minute)}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := s.Interval(); d != 90*time.Minute || !ok {
		t.Errorf("Interval() = %s, %t", d, ok)
	}
	if s.String() != "every 1h30m" {
		t.Errorf("String() = %q", s)
	}
	at := time.Date(2026, 3, 29, 0, 30, 0, 123456000, time.FixedZone("", 3600))
	want := time.Date(2026, 3, 29, 1, 0, 0, 123456000, time.UTC)
	if got := s.Next(at); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("Next = %s, want %s", got, want)
	}
}

func TestZeroSchedule(t *testing.T) {
	var s Schedule
	if d, ok := s.Interval(); d != 0 || ok {
		t.Errorf("Interval() = %s, %t", d, ok)
	}
	if !s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() || s.String() != "never" {
		t.Errorf("the zero schedule is %s", s)
	}
	if got := NextN(s, time.Time{}, 5); len(got) != 0 {
		t.Errorf("NextN = %v", got)
	}
}

func TestString(t *testing.T) {
	for spec, want := range map[Spec]string{
		{Cron: " 0\t3  * * MON "}:                           "0 3 * * MON UTC",
		{Cron: "@daily", Timezone: "Europe/Berlin"}:         "@daily Europe/Berlin",
		{Interval: model.Duration(36 * time.Hour)}:          "every 1d12h",
		{Interval: model.Duration(7 * 24 * time.Hour)}:      "every 1w",
		{Cron: "0 3 * * *", Timezone: "Etc/UTC"}:            "0 3 * * * Etc/UTC",
		{Interval: model.Duration(1500 * time.Millisecond)}: "every 1s500ms",
	} {
		s, err := spec.Compile()
		if err != nil {
			t.Errorf("%+v: %v", spec, err)
		}
		if s.String() != want {
			t.Errorf("%+v: %q, want %q", spec, s, want)
		}
		if _, ok := s.Interval(); ok != (spec.Cron == "") {
			t.Errorf("%+v: Interval says %t", spec, ok)
		}
	}
}

func TestSpecJSON(t *testing.T) {
	for text, want := range map[string]Spec{
		`{"interval":"1h30m"}`:                            {Interval: model.Duration(90 * time.Minute)},
		`{"interval":"1d"}`:                               {Interval: model.Duration(24 * time.Hour)},
		`{"cron":"0 3 * * *","timezone":"Europe/Berlin"}`: {Cron: "0 3 * * *", Timezone: "Europe/Berlin"},
		`{"cron":"@daily"}`:                               {Cron: "@daily"},
	} {
		var got Spec
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		back, err := json.Marshal(got)
		if err != nil || string(back) != text {
			t.Errorf("%s came back as %s, %v", text, back, err)
		}
	}
	for _, text := range []string{`{"interval":90}`, `{"interval":"1.5h"}`, `{"interval":"-1h"}`, `{"interval":"1h1d"}`, `{"interval":"1 h"}`, `{"interval":""}`, `{"interval":"293y"}`} {
		var got Spec
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was taken as %+v", text, got)
		}
	}
}

// TestYears holds Next to the years it is defined for.
func TestYears(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "Pacific/Apia"} {
		s, err := Spec{Cron: "0 3 * * *", Timezone: zone}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(time.Time{}); got.IsZero() || got.Sub(time.Time{}) > 24*time.Hour {
			t.Errorf("%s: after the zero time: %s", zone, got)
		}
		if got := s.Next(time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)); got.Year() != 9999 {
			t.Errorf("%s: at the end of 9999: %s", zone, got)
		}
		for _, at := range []time.Time{
			time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Unix(1<<62, 0), time.Unix(-1<<62, 0),
		} {
			if got := s.Next(at); !got.IsZero() {
				t.Errorf("%s: after %s: %s", zone, at, got)
			}
		}
	}
}

func TestCompilerSharesZones(t *testing.T) {
	var c Compiler
	var wg sync.WaitGroup
	zones := make([]*time.Location, 16)
	for i := range zones {
		wg.Go(func() {
			s, err := c.Compile(Spec{Cron: "0 3 * * *", Timezone: "Europe/Berlin"})
			if err != nil {
				t.Error(err)
				return
			}
			zones[i] = s.cron.zone
			s.Next(time.Unix(int64(i)*1e7, 0))
		})
	}
	wg.Wait()
	for _, z := range zones {
		if z == nil || z != zones[0] {
			t.Error("two schedules in one zone do not share its data")
		}
	}
}
