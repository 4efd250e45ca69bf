package recipient

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
)

// Other is the kind of an alert that is no incident's: of a rule, or posted by somebody.
const Other = "other"

// Kinds are those that a recipient can choose from.
func Kinds() []string {
	return []string{
		string(incident.Missed), string(incident.Late), string(incident.Fail), string(incident.Overrun), string(incident.Anomaly), Other,
	}
}

// Digest says whether a recipient is told one by one.
type Digest string

// The digests.
const (
	Immediately Digest = "immediately"
	Hourly      Digest = "hourly" // at the full hour
	Daily       Digest = "daily"  // at Preferences.DigestAt
)

// Rank says what becomes of critical alerts that hours or a digest would hold.
type Rank string

// The ranks of a critical alert.
const (
	CriticalNow  Rank = "now"  // told at once, at any hour
	CriticalHeld Rank = "held" // held like any other
)

// Preferences say what a recipient is told, and when. The zero value is everything at once.
type Preferences struct {
	Kinds    []string `json:"kinds,omitempty"` // of Kinds; none: all
	Hours    []Hours  `json:"hours,omitempty"` // when it may be told; none: always
	Zone     string   `json:"zone,omitempty"`  // of hours, the digest and the times in messages; empty: UTC
	Digest   Digest   `json:"digest,omitempty"`
	DigestAt string   `json:"digest_at,omitempty"` // of a daily one, as 08:00
	Critical Rank     `json:"critical,omitempty"`
}

// Hours are a range of local time on some days of the week. One that does not end after it starts ends on the next day.
type Hours struct {
	Days []string `json:"days,omitempty"` // mon to sun; none: every day. Of a range past midnight, the day on which it starts.
	From string   `json:"from"`           // as 09:00
	To   string   `json:"to"`             // as 17:30; 24:00 is the end of the day. The minute itself is not in it.
}

// MaxHours is how many ranges there may be.
const MaxHours = 50

// Fault is one thing wrong with preferences, by its field.
type Fault struct{ Field, Message string }

// Normalise fills in the defaults.
func (p Preferences) Normalise() Preferences {
	if p.Zone == "" {
		p.Zone = "UTC"
	}
	if p.Digest == "" {
		p.Digest = Immediately
	}
	if p.Digest != Daily {
		p.DigestAt = ""
	} else if p.DigestAt == "" {
		p.DigestAt = "08:00"
	}
	if p.Critical == "" {
		p.Critical = CriticalNow
	}
	return p
}

// Validate says what is wrong with normalised preferences.
func (p Preferences) Validate() []Fault {
	var faults []Fault
	add := func(field, format string, args ...any) {
		faults = append(faults, Fault{field, fmt.Sprintf(format, args...)})
	}
	for i, k := range p.Kinds {
		if !slices.Contains(Kinds(), k) {
			add(fmt.Sprintf("kinds[%d]", i), "must be one of %s", strings.Join(Kinds(), ", "))
		}
	}
	if _, err := location(p.Zone); err != nil {
		add("zone", "must be a zone of the IANA database, as Europe/Berlin")
	}
	if !slices.Contains([]Digest{Immediately, Hourly, Daily}, p.Digest) {
		add("digest", "must be one of immediately, hourly, daily")
	}
	if p.Digest == Daily {
		if at, err := parseClock(p.DigestAt); err != nil || at == day {
			add("digest_at", "must be a time of day, as 08:00")
		}
	}
	if p.Critical != CriticalNow && p.Critical != CriticalHeld {
		add("critical", "must be one of now, held")
	}
	if len(p.Hours) > MaxHours {
		add("hours", "must be %d at most", MaxHours)
		return faults
	}
	for i, h := range p.Hours {
		for _, f := range h.validate() {
			add(fmt.Sprintf("hours[%d].%s", i, f.Field), "%s", f.Message)
		}
	}
	return faults
}

func (h Hours) validate() []Fault {
	var faults []Fault
	for i, d := range h.Days {
		if _, ok := weekdays()[d]; !ok {
			faults = append(faults, Fault{fmt.Sprintf("days[%d]", i), "must be one of mon, tue, wed, thu, fri, sat, sun"})
		}
	}
	from, err := parseClock(h.From)
	if err != nil || from == day {
		faults = append(faults, Fault{"from", "must be a time of day, as 09:00"})
	}
	to, err := parseClock(h.To)
	if err != nil || to == 0 {
		faults = append(faults, Fault{"to", "must be a time of day after 00:00, as 17:30 or 24:00"})
	}
	if len(faults) == 0 && from == to {
		faults = append(faults, Fault{"to", "must be another time than from: leave hours out to be told always, or write 00:00 to 24:00"})
	}
	return faults
}

// Wants reports whether a recipient wants to be told of alerts of the kind.
func (p Preferences) Wants(kind string) bool {
	if len(p.Kinds) == 0 {
		return true
	}
	if !slices.Contains(Kinds(), kind) {
		kind = Other
	}
	return slices.Contains(p.Kinds, kind)
}

// Location is that of the zone; UTC where there is none.
func (p Preferences) Location() *time.Location {
	loc, err := location(p.Zone)
	if err != nil {
		return time.UTC
	}
	return loc
}

func location(zone string) (*time.Location, error) {
	if zone == "Local" {
		return nil, fmt.Errorf("no zone: %s", zone)
	}
	return time.LoadLocation(zone)
}

func weekdays() map[string]time.Weekday {
	return map[string]time.Weekday{
		"mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
		"sun": time.Sunday,
	}
}

// day is 24:00, in minutes.
const day = 24 * 60

// parseClock reads HH:MM, 24:00 included, as minutes since midnight.
func parseClock(s string) (int, error) {
	if len(s) != 5 || s[2] != ':' {
		return 0, fmt.Errorf("no time of day: %q", s)
	}
	var h, m int
	for i, into := range map[int]*int{0: &h, 3: &m} {
		for _, c := range []byte(s[i : i+2]) {
			if c < '0' || c > '9' {
				return 0, fmt.Errorf("no time of day: %q", s)
			}
			*into = *into*10 + int(c-'0')
		}
	}
	if at := h*60 + m; m < 60 && at <= day {
		return at, nil
	}
	return 0, fmt.Errorf("no time of day: %q", s)
}
