// Package quiet says when alerts are to be held back: in maintenance windows, while what a monitor depends on is down, and when
// so many groups are told at once that they become one message. Its rules are pure: time is an argument.
package quiet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Bounds of a maintenance window.
const (
	MostWindows  = 500 // of an organisation
	MostInScope  = 1000
	MinDuration  = time.Minute
	MaxDuration  = 366 * 24 * time.Hour // of a window that comes once
	MaxRecurring = 7 * 24 * time.Hour   // of one occurrence of a window that comes again
	// MostADay is how often a window may begin within 24 hours.
	MostADay = 24
)

// Window is a maintenance window: alerts of what is in its scope are not told while it is on.
type Window struct {
	ID        uuid.UUID
	Org       tenant.OrgID
	Name      string
	Comment   string
	Scope     Scope
	Time      Time
	CreatedBy uuid.UUID // the API key's id; zero: not known
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Scope is what a window is about: all of the organisation's alerts, or those of which one of the rest is true. Its JSON is stored.
type Scope struct {
	All      bool        `json:"all,omitempty"`
	Monitors []uuid.UUID `json:"monitors,omitempty"`
	Tags     []string    `json:"tags,omitempty"`
	Projects []uuid.UUID `json:"projects,omitempty"`
}

// Holds reports whether a monitor is in the scope.
func (s Scope) Holds(monitor, project uuid.UUID, tags []string) bool {
	return s.All || slices.Contains(s.Monitors, monitor) || slices.Contains(s.Projects, project) ||
		slices.ContainsFunc(tags, func(t string) bool { return slices.Contains(s.Tags, t) })
}

// Time is when a window is on: once, from StartsAt to EndsAt, or for Duration from each moment at which Cron, or Weekly, is due in
// Timezone. Its JSON is stored.
type Time struct {
	StartsAt time.Time     `json:"starts_at,omitzero"`
	EndsAt   time.Time     `json:"ends_at,omitzero"`
	Cron     string        `json:"cron,omitempty"`
	Weekly   *Weekly       `json:"weekly,omitempty"`
	Timezone string        `json:"timezone,omitempty"` // empty: UTC
	Duration time.Duration `json:"duration,omitempty"` // of time that passes, not of the clock on the wall
}

// Weekly is a time of some days of the week.
type Weekly struct {
	Days []string `json:"days"` // mon, tue, wed, thu, fri, sat, sun
	At   string   `json:"at"`   // 22:30
}

// Once reports whether the window comes but once.
func (t Time) Once() bool { return t.Cron == "" && t.Weekly == nil }

// FieldError says what is wrong with a field of a window.
type FieldError struct {
	Field  string // as the API names it; empty: the whole
	Reason string
}

// Error names the field before the reason.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

func wrong(field, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Validate says all that is wrong with a window; now is for how often it comes.
func (w Window) Validate(now time.Time) []*FieldError {
	var bad []*FieldError
	add := func(e *FieldError) {
		if e != nil {
			bad = append(bad, e)
		}
	}
	if w.Name == "" {
		add(wrong("name", "must not be empty"))
	}
	for _, e := range w.Scope.validate() {
		add(e)
	}
	if w.Time.Once() {
		add(w.Time.validateOnce())
		return bad
	}
	for _, e := range w.Time.validateRecurring(now) {
		add(e)
	}
	return bad
}

func (s Scope) validate() (bad []*FieldError) {
	n := len(s.Monitors) + len(s.Tags) + len(s.Projects)
	switch {
	case s.All && n > 0:
		bad = append(bad, wrong("scope", "all stands alone: leave monitors, tags and projects out"))
	case !s.All && n == 0:
		bad = append(bad, wrong("scope", "is empty: give all, monitors, tags or projects"))
	case n > MostInScope:
		bad = append(bad, wrong("scope", "names %d things; allowed: %d", n, MostInScope))
	}
	for i, tag := range s.Tags {
		if tag == "" || strings.Contains(tag, ",") {
			bad = append(bad, wrong(fmt.Sprintf("scope.tags[%d]", i), "must be a tag as monitors have it, without a comma"))
		}
	}
	return bad
}

func (t Time) validateOnce() *FieldError {
	length := t.EndsAt.Sub(t.StartsAt)
	switch {
	case t.StartsAt.IsZero() && t.EndsAt.IsZero():
		return wrong("", "give starts_at and ends_at, or recurring")
	case t.StartsAt.IsZero():
		return wrong("starts_at", "is missing")
	case t.EndsAt.IsZero():
		return wrong("ends_at", "is missing")
	case t.StartsAt.Year() < 1970 || t.EndsAt.Year() > 9998:
		return wrong("starts_at", "must be within the years 1970 to 9998")
	case length < MinDuration || length > MaxDuration:
		return wrong("ends_at", "must be 1m to 366d behind starts_at")
	}
	return nil
}

func (t Time) validateRecurring(now time.Time) (bad []*FieldError) {
	if !t.StartsAt.IsZero() || !t.EndsAt.IsZero() {
		bad = append(bad, wrong("recurring", "does not go with starts_at and ends_at"))
	}
	if t.Duration < MinDuration || t.Duration > MaxRecurring {
		bad = append(bad, wrong("recurring.duration", "must be 1m to 7d"))
	}
	if t.Cron != "" && t.Weekly != nil {
		return append(bad, wrong("recurring", "has both cron and weekly; give one of them"))
	}
	s, err := t.compile(new(schedule.Compiler))
	if err != nil {
		return append(bad, asFieldError(err))
	}
	return append(bad, tooOften(s, now)...)
}

// tooOften looks at the next thousand due moments.
func tooOften(s schedule.Schedule, now time.Time) []*FieldError {
	due := schedule.NextN(s, now, 1000)
	if len(due) == 0 {
		return []*FieldError{wrong("recurring", "never comes: no calendar holds such a day")}
	}
	for i := range due {
		if i >= MostADay && due[i].Sub(due[i-MostADay]) < 24*time.Hour {
			return []*FieldError{wrong("recurring", "comes more than %d times a day", MostADay)}
		}
	}
	return nil
}

func asFieldError(err error) *FieldError {
	if own, ok := errors.AsType[*FieldError](err); ok {
		return own
	}
	e, ok := errors.AsType[*schedule.Error](err)
	switch {
	case !ok:
		return wrong("recurring", "%v", err)
	case e.Field == "":
		return wrong("recurring", "%s", e.Reason)
	case e.Position > 0:
		return wrong("recurring."+e.Field, "character %d: %s", e.Position, e.Reason)
	}
	return wrong("recurring."+e.Field, "%s", e.Reason)
}

// compile makes a schedule of the window's beginnings. The error is a *FieldError or a *schedule.Error.
func (t Time) compile(c *schedule.Compiler) (schedule.Schedule, error) {
	cron := t.Cron
	if t.Weekly != nil {
		var err error
		if cron, err = t.Weekly.cron(); err != nil {
			return schedule.Schedule{}, err
		}
	}
	return c.Compile(schedule.Spec{Cron: cron, Timezone: t.Timezone})
}

// cron writes the days and the time as a cron expression.
func (w Weekly) cron() (string, error) {
	if len(w.Days) == 0 {
		return "", wrong("recurring.weekly.days", "is empty; give one of mon, tue, wed, thu, fri, sat, sun, or several")
	}
	for i, d := range w.Days {
		if !slices.Contains(strings.Fields("mon tue wed thu fri sat sun"), d) {
			return "", wrong(fmt.Sprintf("recurring.weekly.days[%d]", i), "must be mon, tue, wed, thu, fri, sat or sun")
		}
	}
	at, err := time.Parse("15:04", w.At)
	if err != nil || len(w.At) != len("15:04") {
		return "", wrong("recurring.weekly.at", "must be a time as 22:30")
	}
	return fmt.Sprintf("%d %d * * %s", at.Minute(), at.Hour(), strings.Join(w.Days, ",")), nil
}
