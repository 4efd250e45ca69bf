package schedule

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// This file holds Next to a model that shares nothing with it: random expressions are made together with a predicate of their
// own, and a daemon that wakes every minute runs them by cron's rules, as its manual and source describe them.

// wallTime is a minute on the local calendar.
type wallTime struct {
	minute, hour, day, month, weekday int
	nth                               int // the weekday's occurrence in the month, from 1
	lastWeek, lastDay                 bool
}

// almanac tells wallTimes; it keeps the last day it was asked for.
type almanac struct {
	date int64
	day  wallTime
}

// at reads a minute counted from 1970-01-01 00:00 local time.
func (a *almanac) at(clock int64) wallTime {
	if date := floorDiv(clock, 1440); date != a.date || a.day.day == 0 {
		t := time.Unix(date*day, 0).UTC()
		a.date = date
		a.day = wallTime{
			day: t.Day(), month: int(t.Month()), weekday: int(t.Weekday()), nth: (t.Day() + 6) / 7,
			lastWeek: t.AddDate(0, 0, 7).Month() != t.Month(), lastDay: t.AddDate(0, 0, 1).Month() != t.Month(),
		}
	}
	w := a.day
	w.hour, w.minute = int(clock-a.date*1440)/60, int(clock-a.date*1440)%60
	return w
}

type predicate func(wallTime) bool

// job is a random expression and what it means.
type job struct {
	text    string
	wild    bool
	matches predicate
}

func randomJob(r *rand.Rand) job {
	minute := randomField(r, 0, 59, func(w wallTime) int { return w.minute }, nil)
	hour := randomField(r, 0, 23, func(w wallTime) int { return w.hour }, nil)
	day := randomField(r, 1, 31, func(w wallTime) int { return w.day }, func() (string, predicate) {
		return "L", func(w wallTime) bool { return w.lastDay }
	})
	month := randomField(r, 1, 12, func(w wallTime) int { return w.month }, func() (string, predicate) {
		m := time.Month(1 + r.IntN(12))
		return m.String()[:3], func(w wallTime) bool { return w.month == int(m) }
	})
	weekday := randomField(r, 0, 7, func(w wallTime) int { return w.weekday }, func() (string, predicate) {
		d, k := r.IntN(7), 1+r.IntN(5)
		name := strings.ToUpper(time.Weekday(d).String()[:3])
		switch r.IntN(3) {
		case 0:
			return name, func(w wallTime) bool { return w.weekday == d }
		case 1:
			return fmt.Sprintf("%s#%d", name, k), func(w wallTime) bool { return w.weekday == d && w.nth == k }
		}
		return fmt.Sprintf("%dL", d), func(w wallTime) bool { return w.weekday == d && w.lastWeek }
	})
	both := day.star || weekday.star
	return job{
		text: strings.Join([]string{minute.text, hour.text, day.text, month.text, weekday.text}, " "),
		wild: minute.star || hour.star,
		matches: func(w wallTime) bool {
			if !minute.matches(w) || !hour.matches(w) || !month.matches(w) {
				return false
			}
			if both {
				return day.matches(w) && weekday.matches(w)
			}
			return day.matches(w) || weekday.matches(w)
		},
	}
}

type randomised struct {
	text    string
	star    bool
	matches predicate
}

// randomField makes a list of one to three elements; special, where there is one, makes those only this field has.
func randomField(r *rand.Rand, lo, hi int, get func(wallTime) int, special func() (string, predicate)) randomised {
	var f randomised
	var texts []string
	var any []predicate
	for range 1 + r.IntN(3)*r.IntN(2) {
		text, p := randomElement(r, lo, hi, get)
		if special != nil && r.IntN(5) == 0 {
			text, p = special()
		}
		texts, any = append(texts, text), append(any, p)
	}
	f.text = strings.Join(texts, ",")
	f.star = f.text[0] == '*'
	f.matches = func(w wallTime) bool {
		for _, p := range any {
			if p(w) {
				return true
			}
		}
		return false
	}
	return f
}

func randomElement(r *rand.Rand, lo, hi int, get func(wallTime) int) (string, predicate) {
	in := func(from, to, step int) predicate {
		return func(w wallTime) bool {
			v := get(w)
			if hi == 7 && v == 0 && to == 7 && (7-from)%step == 0 { // Sunday as 7
				return true
			}
			return v >= from && v <= to && (v-from)%step == 0
		}
	}
	a, b, n := lo+r.IntN(hi-lo+1), lo+r.IntN(hi-lo+1), 1+r.IntN(hi)
	if r.IntN(2) == 0 && hi > 12 { // where clocks change
		a = lo + r.IntN(4)
	}
	a, b = min(a, b), max(a, b)
	switch r.IntN(8) {
	case 0, 1, 2:
		return "*", in(lo, hi, 1)
	case 3:
		return fmt.Sprintf("*/%d", n), in(lo, hi, n)
	case 4:
		return fmt.Sprintf("%d-%d", a, b), in(a, b, 1)
	case 5:
		return fmt.Sprintf("%d-%d/%d", a, b, n), in(a, b, n)
	case 6:
		end := hi
		if hi == 7 {
			end = max(a, 6)
		}
		return fmt.Sprintf("%d/%d", a, n), in(a, end, n)
	}
	return fmt.Sprint(a), in(a, a, 1)
}

// daemon runs the job from one moment to another, both whole minutes, waking every minute. It keeps two clocks of local minutes: what
// the wall shows, and up to where the jobs have had their turn.
func daemon(j job, zone *time.Location, from, to time.Time) []time.Time {
	var ran []time.Time
	var days almanac
	clock := func(t time.Time) int64 {
		_, offset := t.In(zone).Zone()
		return (t.Unix() + int64(offset)) / 60
	}
	wall := clock(from)
	done := wall
	for t := from.Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		now := clock(t)
		if now == wall {
			continue
		}
		wall = now
		run := false
		switch ahead := wall - done; {
		case ahead > 1 && ahead <= 3*60: // the clock jumped: catch up with the fixed times, once
			for m := done + 1; m <= wall && !j.wild && !run; m++ {
				run = j.matches(days.at(m))
			}
			run = run || j.wild && j.matches(days.at(wall))
			done = wall
		case ahead <= 0 && ahead > -3*60: // it went back: fixed times have had their turn
			run = j.wild && j.matches(days.at(wall))
		default: // it goes on, or was set anew
			run = j.matches(days.at(wall))
			done = wall
		}
		if run {
			ran = append(ran, t.UTC())
		}
	}
	return ran
}

// trickyZones change their clocks at midnight, by half an hour, by two or three hours, by a day, twice around Ramadan, at odd minutes.
func trickyZones() []string {
	return []string{
		"UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Sao_Paulo", "America/Havana",
		"America/Santiago", "America/Asuncion", "America/Caracas", "America/Nuuk", "America/Scoresbysund", "Africa/Cairo", "Africa/Casablanca", "Africa/El_Aaiun",
		"Asia/Beirut", "Asia/Gaza", "Asia/Amman", "Asia/Tehran", "Asia/Pyongyang", "Asia/Kathmandu", "Asia/Dhaka", "Australia/Lord_Howe", "Australia/Sydney",
		"Pacific/Apia", "Pacific/Chatham", "Pacific/Kwajalein", "Pacific/Norfolk", "Pacific/Easter", "Antarctica/Casey", "Antarctica/Troll", "Atlantic/Azores",
	}
}

func TestNextAgreesWithADaemonThatWakesEveryMinute(t *testing.T) {
	budget := 4 * time.Second
	if testing.Short() {
		budget = 500 * time.Millisecond
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var compiler Compiler
	cases, compared := 0, 0
	for start := time.Now(); time.Since(start) < budget && !t.Failed(); cases++ {
		j := randomJob(r)
		name := trickyZones()[r.IntN(len(trickyZones()))]
		s, err := compiler.Compile(Spec{Cron: j.text, Timezone: name})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		from, to := randomWindow(r, s.cron.zone)
		compared += compare(t, r, j, s, from, to)
	}
	t.Logf("%d expressions, %d due moments", cases, compared)
	if t.Failed() {
		t.Logf("seed was %d", seed)
	}
}

// randomWindow is some days around one of the zone's changes between 1973 and 2060, or, one time in eight, up to two years.
func randomWindow(r *rand.Rand, zone *time.Location) (from, to time.Time) {
	at := time.Date(1973+r.IntN(87), time.Month(1+r.IntN(12)), 1, 0, 0, 0, 0, time.UTC)
	if _, end := at.In(zone).ZoneBounds(); !end.IsZero() && end.Year() < 2062 {
		at = end.UTC()
	}
	if r.IntN(8) == 0 {
		return at.AddDate(0, 0, -r.IntN(365)).Truncate(time.Minute), at.AddDate(0, 0, r.IntN(365)).Truncate(time.Minute)
	}
	return at.Add(-time.Duration(1+r.IntN(3*1440)) * time.Minute).Truncate(time.Minute), at.Add(4 * 24 * time.Hour).Truncate(time.Minute)
}

// compare walks Next over the window, and asks it from moments within. It returns how many due moments the window holds.
func compare(t *testing.T, r *rand.Rand, j job, s Schedule, from, to time.Time) int {
	t.Helper()
	// The daemon starts a day earlier, so that it knows of a change just before.
	want := daemon(j, s.cron.zone, from.Add(-24*time.Hour), to)
	for len(want) > 0 && !want[0].After(from) {
		want = want[1:]
	}
	at := from
	for i, due := range want {
		if at = s.Next(at); !at.Equal(due) {
			t.Errorf("%s: due moment %d after %s is %s, the daemon runs it at %s", s, i+1, from.In(s.cron.zone), at.In(s.cron.zone), due.In(s.cron.zone))
			return i
		}
	}
	if at = s.Next(at); !at.IsZero() && !at.After(to) {
		t.Errorf("%s: due at %s, the daemon does not run it", s, at.In(s.cron.zone))
	}
	for range 16 {
		after := from.Add(time.Duration(r.Int64N(int64(to.Sub(from)))))
		got := s.Next(after)
		for _, due := range want {
			if due.After(after) {
				if !got.Equal(due) {
					t.Errorf("%s: after %s comes %s, the daemon runs it at %s", s, after.In(s.cron.zone), got.In(s.cron.zone), due.In(s.cron.zone))
				}
				break
			}
		}
	}
	return len(want)
}

// TestZonesKeepTheirOffsetForHours holds every zone to what opens rests on: no two changes within three hours. It also finds the jumps below
// five minutes, in which wall-clock jobs deviate from cron's.
func TestZonesKeepTheirOffsetForHours(t *testing.T) {
	text, err := os.ReadFile("testdata/zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	zones, changes := 0, 0
	for name := range strings.Lines(string(text)) {
		name = strings.TrimSpace(name)
		if name[0] == '#' {
			continue
		}
		zone, err := new(Compiler).zone(name)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		zones++
		s := segmentAt(zone, time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
		for s.end < time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix() {
			for at := max(s.start, 0); at < s.end; at += 5 * day {
				if _, offset := time.Unix(at, 0).In(zone).Zone(); int64(offset) != s.offset {
					t.Errorf("%s: offset %d at %s, its segment has %d", name, offset, time.Unix(at, 0).UTC(), s.offset)
				}
			}
			next := s.following(zone)
			if next.offset == s.offset { // the turn of a year
				s.end = next.end
				continue
			}
			if next.start-s.start < day && s.start > math.MinInt64 {
				t.Errorf("%s keeps an offset for %d s only, to %s", name, next.start-s.start, time.Unix(next.start, 0).UTC())
			}
			if jump := next.offset - s.offset; jump > 0 && jump < 5*60 && next.start > 0 {
				t.Errorf("%s jumps by %d s at %s", name, jump, time.Unix(next.start, 0).UTC())
			}
			s = next
			changes++
		}
	}
	t.Logf("%d zones, %d changes", zones, changes)
	if zones < 400 {
		t.Errorf("only %d zones read", zones)
	}
}
