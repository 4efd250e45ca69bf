package guard

import (
	"slices"
	"time"
)

// How far back a minute is compared.
const (
	Days = 14 // days whose same minute counts
	Hour = 60 // minutes before it that count while the days are few

	fewDays    = 3  // with fewer the last hour counts
	fewMinutes = 30 // with fewer of its minutes nothing is expected
)

// Past is what an earlier minute brought that was believed.
type Past struct {
	At    time.Time
	Pings int64
}

// History is what a minute is compared with. The order of either does not matter.
type History struct {
	Days []Past // the same minute of the last Days days, as far as they are known
	Hour []Past // the last Hour minutes that were believed, of the last 24 hours
}

// expected is how many pings the minute usually brings, and whether the days say so. 0: it cannot be told.
//
// Of the days it is their median, which one odd day does not move. But where it is known what the same weekday brought, the least
// of both: a weekend is not to be taken for a fall, nor is a Monday without traffic.
//
// The last hour cannot know of peaks (cron jobs run at the full hour, at every fifth minute), so it says what nine of ten of its
// minutes exceeded.
func (h History) expected(at time.Time) (pings float64, daily bool) {
	if len(h.Days) >= fewDays {
		usual := quantile(h.Days, 0.5)
		var weekdays []Past
		for _, p := range h.Days {
			if days := int(at.Sub(p.At).Round(24*time.Hour) / (24 * time.Hour)); days%7 == 0 {
				weekdays = append(weekdays, p)
			}
		}
		if len(weekdays) > 0 {
			usual = min(usual, quantile(weekdays, 0.5))
		}
		return usual, true
	}
	if len(h.Hour) >= fewMinutes {
		return quantile(h.Hour, 0.1), false
	}
	return 0, false
}

// quantile is the value below which that part of the pings lies, between two of them their mean by distance.
func quantile(past []Past, q float64) float64 {
	pings := make([]int64, len(past))
	for i, p := range past {
		pings[i] = p.Pings
	}
	slices.Sort(pings)
	rank := q * float64(len(pings)-1)
	low := int(rank)
	high := min(low+1, len(pings)-1)
	return float64(pings[low]) + (rank-float64(low))*float64(pings[high]-pings[low])
}
