package schedule

import "math/bits"

// expression is a parsed cron expression. Its minutes are wall-clock minutes: minutes since 1970-01-01 00:00 on the local
// calendar, whatever the zone.
type expression struct {
	minutes uint64   // bit m
	hours   uint64   // bit h
	days    uint64   // bit d, 1 to 31
	months  uint64   // bit m, 1 to 12
	weekday uint8    // bit w, 0 Sunday
	nth     [5]uint8 // weekdays that count only as the k-th of the month, at k-1
	last    uint8    // weekdays that count only as the last of the month
	lastDay bool     // the month's last day
	either  bool     // a day need fit only one of day of month and day of week
	wild    bool     // follows the wall clock through its changes
}

func newExpression(s [5]set) expression {
	return expression{
		minutes: s[0].bits,
		hours:   s[1].bits,
		days:    s[dayOfMonth].bits,
		months:  s[3].bits,
		weekday: uint8(s[dayOfWeek].bits&0x7f | s[dayOfWeek].bits>>7), // 7 is Sunday too
		nth:     s[dayOfWeek].nth,
		last:    s[dayOfWeek].last,
		lastDay: s[dayOfMonth].last != 0,
		either:  !s[dayOfMonth].star && !s[dayOfWeek].star,
		wild:    s[0].star || s[1].star,
	}
}

const (
	minutesPerDay = 24 * 60
	// horizon is how many months ahead a match is looked for: 50 years. Every date of the calendar, with its day of the week, comes back
	// within 40 (29 February 2072 and 2112, across 2100), so what is not found does not exist.
	horizon = 50 * 12
)

// search is the first matching wall-clock minute that is not before from.
func (e *expression) search(from int64) (int64, bool) {
	today := floorDiv(from, minutesPerDay)
	year, month, day := civil(today)
	first := today - int64(day-1) // the month's first day
	ahead := ^uint64(0) << day    // days of this month still to come, today included
	if e.on(year, month, first)&(1<<day) != 0 {
		if m, ok := e.timeOfDay(int(from - today*minutesPerDay)); ok {
			return today*minutesPerDay + int64(m), true
		}
		ahead &^= 1 << day
	}
	for range horizon {
		if match := e.on(year, month, first) & ahead; match != 0 {
			m, _ := e.timeOfDay(0)
			return (first+int64(bits.TrailingZeros64(match))-1)*minutesPerDay + int64(m), true
		}
		ahead = ^uint64(0)
		first += int64(daysIn(year, month))
		if month++; month > 12 {
			year, month = year+1, 1
		}
	}
	return 0, false
}

// timeOfDay is the first matching minute of the day that is not before from.
func (e *expression) timeOfDay(from int) (int, bool) {
	hour, minute := from/60, from%60
	if e.hours&(1<<hour) != 0 {
		if m := e.minutes >> minute; m != 0 {
			return from + bits.TrailingZeros64(m), true
		}
	}
	later := e.hours >> hour >> 1
	if later == 0 {
		return 0, false
	}
	return (hour+1+bits.TrailingZeros64(later))*60 + bits.TrailingZeros64(e.minutes), true
}

// on is the set of matching days of a month whose first day is that many days after 1970-01-01: bit d for day d.
func (e *expression) on(year int64, month int, first int64) uint64 {
	if e.months&(1<<month) == 0 {
		return 0
	}
	n := daysIn(year, month)
	all := uint64(1)<<(n+1) - 2
	byDate := e.days & all
	if e.lastDay {
		byDate |= 1 << n
	}
	weekday := int(floorMod(first+4, 7)) // 1970-01-01 was a Thursday
	const everyWeek = 1 | 1<<7 | 1<<14 | 1<<21 | 1<<28
	byWeekday := week(e.weekday, weekday) * everyWeek
	for k, w := range e.nth {
		byWeekday |= week(w, weekday) << (7 * k)
	}
	if e.last != 0 {
		byWeekday |= week(e.last, weekday) * everyWeek & (0x7f << (n - 6))
	}
	byWeekday &= all
	if e.either {
		return byDate | byWeekday
	}
	return byDate & byWeekday
}

// week turns a set of weekdays into the matching ones of the days 1 to 7 of a month that begins on the weekday first.
func week(weekdays uint8, first int) uint64 {
	w := uint64(weekdays)
	return (w>>first | w<<(7-first)) & 0x7f << 1
}

func daysIn(year int64, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// civil is the date that many days after 1970-01-01, in the proleptic Gregorian calendar. After Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years begin in March, eras have 400 years.
func civil(days int64) (year int64, month, day int) {
	days += 719468 // since 0000-03-01
	era := floorDiv(days, 146097)
	ofEra := days - era*146097
	yearOfEra := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	ofYear := int(ofEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100))
	march := (5*ofYear + 2) / 153 // months since March
	day = ofYear - (153*march+2)/5 + 1
	year = era*400 + yearOfEra
	if march < 10 {
		return year, march + 3, day
	}
	return year + 1, march - 9, day
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }
