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
	twoDays     = 48 * 60 * 60
)

// segment is a stretch of time in which a zone's offset from UTC stays the same.
type segment struct {
	start, end int64 // Unix seconds; end is not part of it
	offset     int64 // seconds east of UTC
}

func segmentAt(zone *time.Location, unix int64) segment {
	t := time.Unix(unix, 0).In(zone)
	_, offset := t.Zone()
	s := segment{start: math.MinInt64, end: math.MaxInt64, offset: int64(offset)}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		s.start = start.Unix()
	}
	if !end.IsZero() {
		s.end = end.Unix()
	}
	return s
}

// wall is the wall-clock minute of a moment in the segment.
func (s segment) wall(unix int64) int64 { return floorDiv(unix+s.offset, 60) }

// next is Schedule.Next. It walks the zone's segments from the one that holds after, looking for a match on the wall clock.
func (c *cron) next(after time.Time) time.Time {
	now := after.Unix()
	if now < firstSecond || now > lastSecond {
		return time.Time{}
	}
	s := segmentAt(c.zone, now)
	from := s.wall(now) + 1
	if s.start > now-(catchUp+1)*60 { // else opens is long past
		from = max(from, c.opens(s))
	}
	for {
		m, ok := c.search(from)
		if !ok {
			return time.Time{}
		}
		// A minute that the segment's start cut off, or that the jump before it skipped, is due with the start.
		due := max(m*60-s.offset, s.start)
		if due < s.end {
			return time.Unix(due, 0).UTC()
		}
		// Nothing matches on the wall clock before m, so segments that end well before it need no look.
		s = segmentAt(c.zone, max(s.end, due-twoDays))
		from = c.opens(s)
	}
}

// opens is the first wall-clock minute that belongs to the segment. For fixed times these are the minutes that have not had
// their turn yet: more than the segment holds after a jump forward, fewer where it repeats what was. This is the state of
// Debian's cron (its clock of minutes already run) told from the one change of offset before it, which suffices as no zone
// changes twice within three hours.
func (c *cron) opens(s segment) int64 {
	if s.start == math.MinInt64 {
		return math.MinInt64 / 60
	}
	before := segment{offset: offsetAt(c.zone, s.start-1)}
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

func offsetAt(zone *time.Location, unix int64) int64 {
	_, offset := time.Unix(unix, 0).In(zone).Zone()
	return int64(offset)
}
