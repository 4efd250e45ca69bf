package schedule

import (
	"math"
	"time"
)

// cron is an expression in a zone.
type cron struct {
	expression
	zone *time.Location
	text string // the expression as it was written, blanks apart
}

const (
	// catchUp is the largest step of the wall clock, in minutes, after which fixed times are made up for or held back.
	catchUp = 3 * 60
	// The Unix seconds of the years 1 to 9999.
	firstSecond = -62135596800
	lastSecond  = 253402300799
	day         = 24 * 60 * 60
)

// segment is a stretch of time in which a zone's offset from UTC stays the same. Its neighbours may have the same offset.
type segment struct {
	start, end int64 // Unix seconds; end is not part of it
	offset     int64 // seconds east of UTC
}

// segmentAt is the segment that holds a moment. Where it starts is left open: for zones whose data end with a rule, Go's answer can
// lie before a change (America/Ciudad_Juarez, 2022).
func segmentAt(zone *time.Location, unix int64) segment {
	t := time.Unix(unix, 0).In(zone)
	_, offset := t.Zone()
	s := segment{start: math.MinInt64, end: math.MaxInt64, offset: int64(offset)}
	if _, end := t.ZoneBounds(); !end.IsZero() {
		s.end = end.Unix()
	}
	// Beyond the changes its data list, Go ends a segment with the year in UTC, and on the last day of a leap year a day too
	// early (golang/go#81583).
	if s.end <= unix {
		s.end = (floorDiv(unix, day) + 1) * day
	}
	return s
}

// following is the segment after s.
func (s segment) following(zone *time.Location) segment {
	n := segmentAt(zone, s.end)
	n.start = s.end
	return n
}

// wall is the wall-clock minute of a moment in the segment.
func (s segment) wall(unix int64) int64 { return floorDiv(unix+s.offset, 60) }

// next is Schedule.Next. It walks the zone's segments from the one that holds after, looking for a match on the wall clock.
func (c *cron) next(after time.Time) time.Time {
	now := after.Unix()
	if now < firstSecond || now > lastSecond {
		return time.Time{}
	}
	// A change of the clock is felt for three hours.
	s, opens := segmentAt(c.zone, now-(catchUp+1)*60), int64(math.MinInt64)
	for s.end <= now {
		n := s.following(c.zone)
		s, opens = n, c.opens(s, n)
	}
	from := max(s.wall(now)+1, opens)
	for hop := 0; ; hop++ {
		m, ok := c.search(from)
		if !ok {
			return time.Time{}
		}
		// A minute that the segment's start cut off, or that the jump before it skipped, is due with the start.
		due := max(m*60-s.offset, s.start)
		if due < s.end {
			return time.Unix(due, 0).UTC()
		}
		if before := due - 2*day; hop > 0 && before > s.end {
			// The whole of s holds no match, and none comes before m, so the segments that end well before m need no look.
			s = segmentAt(c.zone, before)
			from = s.wall(before)
			continue
		}
		n := s.following(c.zone)
		s, from = n, c.opens(s, n)
	}
}

// opens is the first wall-clock minute that belongs to segment s, which follows another. For fixed times these are the minutes that
// have not had their turn yet: more than s holds after a jump forward, fewer where it repeats what was. This is the state of
// Debian's cron (up to which minute it has run its jobs) told from one change alone, which suffices as no zone changes twice
// within three hours.
func (c *cron) opens(before, s segment) int64 {
	done, first := before.wall(s.start-1), s.wall(s.start)
	step := first - done // 1 where the clock just goes on
	switch {
	case step == 0: // a change by seconds, within one minute
		return done + 1
	case !c.wild && step > -catchUp && step <= catchUp:
		return done + 1
	}
	return first
}
