package quiet

import "time"

// The defaults of StormRules.
const (
	DefaultStormLimit  = 20
	DefaultStormWindow = time.Minute
	DefaultStormHold   = 2 * time.Second
	DefaultStormFree   = 3
)

// StormRules say when many notifications become one. The zero value of a field is its default, but for Limit.
type StormRules struct {
	Limit  int           // first notifications of distinct groups to one receiver within Window that are not yet a storm; 0: there are no storms
	Window time.Duration // in which they are counted
	// Hold is how long a first notification waits for more to come, once Free came before it within Window. So a storm is known for
	// one before most of what it begins with was told, and a lone alert never waits.
	Hold time.Duration
	Free int
}

// Filled are the rules with their defaults.
func (r StormRules) Filled() StormRules {
	if r.Window == 0 {
		r.Window = DefaultStormWindow
	}
	if r.Hold == 0 {
		r.Hold = DefaultStormHold
	}
	if r.Free == 0 {
		r.Free = DefaultStormFree
	}
	return r
}

// Verdict is what is to be done with a group's first notification.
type Verdict int

// The verdicts.
const (
	Tell Verdict = iota // on its own
	Wait                // for the rules' Hold, then ask On
	Join                // it belongs to the storm
)

// Storm counts the first notifications of distinct groups to one receiver. It begins when more than the limit came within the
// window, and ends when no more than half of the limit did. Times must not go back by much. Not safe for concurrent use.
type Storm struct {
	rules StormRules
	on    bool
	at    map[string]time.Time // of the groups within the window
	order []came
}

type came struct {
	group string
	at    time.Time
}

// NewStorm makes one that is not on.
func NewStorm(r StormRules) *Storm {
	return &Storm{rules: r.Filled(), at: map[string]time.Time{}}
}

// First counts the group, once within the window, and says what to do with its notification.
func (s *Storm) First(group string, now time.Time) Verdict {
	if s.rules.Limit <= 0 {
		return Tell
	}
	s.forget(now)
	if _, again := s.at[group]; !again {
		s.at[group] = now
		s.order = append(s.order, came{group, now})
	}
	if s.on = s.on || len(s.order) > s.rules.Limit; s.on {
		return Join
	}
	if len(s.order) > min(s.rules.Free, s.rules.Limit) {
		return Wait
	}
	return Tell
}

// On reports whether there is a storm.
func (s *Storm) On(now time.Time) bool {
	s.forget(now)
	return s.on
}

// Resume says that there was a storm at the instant: another process had it. It goes on for the window from then.
func (s *Storm) Resume(at, now time.Time) {
	if s.rules.Limit <= 0 || now.Sub(at) >= s.rules.Window {
		return
	}
	s.on = true
	s.order = nil
	clear(s.at)
	for i := range s.rules.Limit/2 + 1 { // as many as keep it on
		s.order = append(s.order, came{group: "\x00" + string(rune(i)), at: at})
	}
}

func (s *Storm) forget(now time.Time) {
	n := 0
	for n < len(s.order) && now.Sub(s.order[n].at) >= s.rules.Window {
		delete(s.at, s.order[n].group)
		n++
	}
	s.order = s.order[n:]
	if len(s.order) <= s.rules.Limit/2 {
		s.on = false
	}
}
