package recipient

import (
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
)

// Due is when an alert of the severity that came at the instant is to be told: then, or later. It does not depend on when it
// is asked, so that what was missed is told as soon as it can be.
//
// Local times follow the wall clock: one that daylight saving skips is the instant of the change, one that comes twice is the first.
func (p Preferences) Due(severity string, at time.Time) time.Time {
	p = p.Normalise()
	if severity == string(incident.Critical) && p.Critical == CriticalNow {
		return at
	}
	loc := p.Location()
	due := at
	switch p.Digest {
	case Hourly:
		due = nextHour(at.In(loc))
	case Daily:
		due = nextDaily(p.DigestAt, at.In(loc))
	case Immediately:
	}
	return p.opens(due, loc).In(at.Location())
}

// nextHour is the next full hour of the wall clock, after the instant.
func nextHour(at time.Time) time.Time {
	past := time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
	return at.Add(time.Hour - past)
}

// nextDaily is the next time of day after the instant, in the instant's zone.
func nextDaily(clock string, at time.Time) time.Time {
	minutes, err := parseClock(clock)
	if err != nil {
		return at
	}
	for days := range 3 {
		if t := instants(at, days, minutes)[0]; t.After(at) {
			return t
		}
	}
	return at // not reached: a time of day comes within two days
}

// opens is the first instant of the hours, at or after the instant; the instant itself where there are no hours to be had.
func (p Preferences) opens(at time.Time, loc *time.Location) time.Time {
	at = at.In(loc)
	if len(p.Hours) == 0 || p.open(at) {
		return at
	}
	// They open where a range starts, or where daylight saving jumps into one.
	var candidates []time.Time
	for days := range 9 {
		for _, h := range p.Hours {
			if from, err := parseClock(h.From); err == nil {
				candidates = append(candidates, instants(at, days, from)...)
			}
		}
	}
	for _, change := at.ZoneBounds(); !change.IsZero() && change.Before(at.AddDate(0, 0, 9)); _, change = change.ZoneBounds() {
		candidates = append(candidates, change.In(loc))
	}
	slices.SortFunc(candidates, time.Time.Compare)
	for _, c := range candidates {
		if c.After(at) && p.open(c) {
			return c
		}
	}
	return at
}

// open reports whether the wall clock is within the hours.
func (p Preferences) open(local time.Time) bool {
	now := local.Hour()*60 + local.Minute()
	today := local.Weekday()
	yesterday := (today + 6) % 7
	for _, h := range p.Hours {
		from, err1 := parseClock(h.From)
		to, err2 := parseClock(h.To)
		if err1 != nil || err2 != nil {
			continue
		}
		if from < to {
			if h.on(today) && now >= from && now < to {
				return true
			}
			continue
		}
		if h.on(today) && now >= from || h.on(yesterday) && now < to {
			return true
		}
	}
	return false
}

func (h Hours) on(d time.Weekday) bool {
	if len(h.Days) == 0 {
		return true
	}
	return slices.ContainsFunc(h.Days, func(name string) bool {
		of, ok := weekdays()[name]
		return ok && of == d
	})
}

// instants are those at which the wall clock of from's zone shows the time of day, so many days after from: one, two where
// daylight saving repeats it, and the change itself where it is skipped.
func instants(from time.Time, days, minutes int) []time.Time {
	loc := from.Location()
	y, m, d := from.Date()
	wall := time.Date(y, m, d+days, 0, minutes, 0, 0, time.UTC)
	var out []time.Time
	var offsets []int
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := wall.Add(near).In(loc).Zone()
		if slices.Contains(offsets, offset) {
			continue
		}
		offsets = append(offsets, offset)
		t := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		if _, is := t.Zone(); is == offset {
			out = append(out, t)
		}
	}
	if len(out) == 0 { // skipped: with the offset of before, the instant lies after the change
		t := wall.Add(-time.Duration(offsets[0]) * time.Second).In(loc)
		change, _ := t.ZoneBounds()
		return []time.Time{change.In(loc)}
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}
