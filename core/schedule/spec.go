package schedule

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
)

// MinInterval and MaxInterval bound Spec.Interval.
const (
	MinInterval = time.Second
	MaxInterval = 1000 * 24 * time.Hour
)

// Spec is a schedule as the API writes it: either Interval, or Cron with Timezone. Specs are comparable: equal ones compile to
// schedules that behave the same.
type Spec struct {
	Interval model.Duration `json:"interval,omitempty"` // MinInterval to MaxInterval
	Cron     string         `json:"cron,omitempty"`     // see the package comment
	Timezone string         `json:"timezone,omitempty"` // IANA name for Cron; empty: UTC
}

// String is the spec for people: "every 1h30m" or "0 3 * * * Europe/Berlin".
func (s Spec) String() string {
	switch {
	case s.Interval > 0:
		return "every " + s.Interval.String()
	case s.Timezone == "":
		return s.Cron + " UTC"
	}
	return s.Cron + " " + s.Timezone
}

// Error says what is wrong with a Spec. Its text is meant for whoever wrote the Spec.
type Error struct {
	Field    string // the JSON name of the offending field; empty where it is the whole that does not fit
	Position int    // of the offending character in the field, from 1; 0: the field as a whole
	Reason   string
}

// Error names the field and the position before the reason.
func (e *Error) Error() string {
	switch {
	case e.Field == "":
		return "schedule: " + e.Reason
	case e.Position == 0:
		return e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("%s, character %d: %s", e.Field, e.Position, e.Reason)
}

// Compile checks the spec and makes a Schedule of it. The error is an *Error. To compile many, use a Compiler: a time
// zone's data is some kilobytes.
func (s Spec) Compile() (Schedule, error) { return new(Compiler).Compile(s) }

// Compiler compiles specs and shares the data of a time zone between all of its schedules. The zero value is ready; it is safe
// for concurrent use.
type Compiler struct {
	zones sync.Map // IANA name → *time.Location; only names that exist are kept, so it stays small
}

// Compile is Spec.Compile with shared time zone data.
func (c *Compiler) Compile(s Spec) (Schedule, error) {
	switch {
	case s.Interval == 0 && s.Cron == "":
		return Schedule{}, &Error{Reason: "is empty; give interval (1s or more) or cron"}
	case s.Interval != 0 && s.Cron != "":
		return Schedule{}, &Error{Reason: "has both interval and cron; give one of them"}
	case s.Cron == "":
		return compileInterval(s)
	}
	zone, err := c.zone(s.Timezone)
	if err != nil {
		return Schedule{}, err
	}
	e, err := parse(s.Cron)
	if err != nil {
		return Schedule{}, err
	}
	text := strings.Join(strings.Fields(s.Cron), " ")
	return Schedule{cron: &cron{expression: e, zone: zone, text: text}}, nil
}

func compileInterval(s Spec) (Schedule, error) {
	d := time.Duration(s.Interval)
	if d < MinInterval || d > MaxInterval {
		return Schedule{}, &Error{Field: "interval", Reason: fmt.Sprintf("%s is not allowed; allowed: %s to %s",
			s.Interval, model.Duration(MinInterval), model.Duration(MaxInterval))}
	}
	if s.Timezone != "" {
		return Schedule{}, &Error{Field: "timezone", Reason: "goes with cron only; an interval has no time zone"}
	}
	return Schedule{every: d}, nil
}

// zone loads the zone of that name.
func (c *Compiler) zone(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	if loc, ok := c.zones.Load(name); ok {
		return loc.(*time.Location), nil
	}
	// Every IANA name begins with a capital letter. The system's folder of zones also holds localtime, posixrules and
	// right/…, which are the machine's own time and time with leap seconds; Go takes "Local" for the former.
	if name == "Local" || name[0] < 'A' || name[0] > 'Z' {
		return nil, unknownZone(name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, unknownZone(name)
	}
	shared, _ := c.zones.LoadOrStore(name, loc)
	return shared.(*time.Location), nil
}

func unknownZone(name string) error {
	return &Error{Field: "timezone", Reason: fmt.Sprintf(
		"%.64q is not a known time zone; allowed: an IANA name in its exact spelling, as Europe/Berlin or UTC", name)}
}

// Schedule tells when a run is due. It is immutable and safe for concurrent use; the zero value is never due.
type Schedule struct {
	every time.Duration // above 0: an interval schedule
	cron  *cron
}

// Next is the first due moment strictly after `after`, in UTC. For an interval that is after + interval. It is the zero time
// where there is none: for the zero Schedule, for a date that no calendar holds (30 February), and where after is outside the
// years 1 to 9999.
func (s Schedule) Next(after time.Time) time.Time {
	switch {
	case s.every > 0:
		return after.Add(s.every).UTC()
	case s.cron != nil:
		return s.cron.next(after)
	}
	return time.Time{}
}

// Interval is the interval of an interval schedule, and whether it is one.
func (s Schedule) Interval() (time.Duration, bool) { return s.every, s.every > 0 }

// String is the schedule for people and logs: "every 1h30m", "0 3 * * * Europe/Berlin", or "never" for the zero Schedule.
func (s Schedule) String() string {
	switch {
	case s.every > 0:
		return "every " + model.Duration(s.every).String()
	case s.cron != nil:
		return s.cron.text + " " + s.cron.zone.String()
	}
	return "never"
}

// NextN is the first n due moments strictly after from; fewer where there are no more.
func NextN(s Schedule, from time.Time, n int) []time.Time {
	var due []time.Time
	for range n {
		from = s.Next(from)
		if from.IsZero() {
			break
		}
		due = append(due, from)
	}
	return due
}
