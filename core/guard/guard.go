// Package guard tells a fall of the pings of the whole installation from monitors that were missed: when far fewer pings come
// than this minute usually brings, the network before us, or we, are the likelier cause than that many jobs at once, and what
// was missed since then is not believed at once.
//
// It is a state machine of four states, stepped once for each minute, and pure: the minute, what came in it and what came
// before are arguments.
package guard

import (
	"fmt"
	"math"
	"time"
)

// Phase is how far the pings are believed.
type Phase string

// The phases. What was missed is held back in all but Normal.
const (
	Normal     Phase = "normal"
	Suspicious Phase = "suspicious" // a minute brought far too few
	Incident   Phase = "incident"   // several did, or nobody could take pings
	Recovering Phase = "recovering" // they come again, for too short a time to be believed
)

// Phases are all of them, in the order in which they follow one another.
func Phases() []Phase { return []Phase{Normal, Suspicious, Incident, Recovering} }

// Minute is what the whole installation accepted in one minute.
type Minute struct {
	At        time.Time // its beginning
	Pings     int64
	Processes int // that were there to take pings
}

// State is where the guard stands after a minute. The zero value is that of an installation of which nothing is known.
type State struct {
	Phase      Phase
	Minute     time.Time // the last one judged, its beginning
	Pings      int64     // in it
	Processes  int       // that were there to take pings in it
	Expected   float64   // pings in it; 0: nothing was to be expected
	Since      time.Time // the beginning of the fall: what was missed from then on is not believed. Of the last fall, once it is over
	DetectedAt time.Time // when that fall was noticed: the end of its first minute
	EndedAt    time.Time // when the last fall was over; zero while it lasts
	JudgedAt   time.Time // the end of the last minute of which enough was to be expected to judge it
	Streak     int       // minutes in a row that speak for the next phase
	Level      float64   // what the last minutes that were believed brought, as a part of what their days had let expect
	Seen       float64   // the same of all minutes, believed or not
	Accepted   bool      // with this minute an incident was taken for the new usual: all minutes from Since on are believed after all
}

// Believed reports whether the state's last minute may be learnt from.
func (s State) Believed() bool { return s.Phase == Normal }

// String says it in one line, for people.
func (s State) String() string {
	text := fmt.Sprintf("%s: %d pings in the minute %s, where %.0f were to be expected",
		s.Phase, s.Pings, s.Minute.UTC().Format("15:04"), s.Expected)
	if s.Phase == Normal {
		return text
	}
	return text + "; since " + s.Since.UTC().Format(time.RFC3339)
}

// Rules are the thresholds. The zero value of each field means its default.
type Rules struct {
	Smallest float64       // pings a minute below which nothing is expected: noise is no fall; 20
	Fall     float64       // part of what was expected below which a minute is a fall; 0.5
	Well     float64       // part of it from which on a minute speaks for recovery; 0.8
	Confirm  int           // minutes of fall that make an incident, the first included; 3
	Settle   int           // minutes in a row that are well before the pings are believed again; 5
	Longest  time.Duration // of an incident, before what comes is taken for the new usual; 6 h
	Blind    time.Duration // how long a fall stands while nothing is to be expected that would tell its end; 15 min
}

// withDefaults returns the rules with nothing left out.
func (r Rules) withDefaults() Rules {
	set := func(to *float64, value float64) {
		if *to <= 0 {
			*to = value
		}
	}
	set(&r.Smallest, 20)
	set(&r.Fall, 0.5)
	set(&r.Well, 0.8)
	if r.Confirm <= 0 {
		r.Confirm = 3
	}
	if r.Settle <= 0 {
		r.Settle = 5
	}
	if r.Longest <= 0 {
		r.Longest = 6 * time.Hour
	}
	if r.Blind <= 0 {
		r.Blind = 15 * time.Minute
	}
	return r
}

// memory is how many minutes the level looks back, as the time constant of an exponential mean.
const memory = 30

// Next is the state after one more minute. Minutes are given in order; some may be left out.
func (r Rules) Next(s State, m Minute, h History) State {
	r = r.withDefaults()
	if s.Phase == "" {
		s.Phase, s.Level, s.Seen = Normal, 1, 1
	}
	base, daily := h.expected(m.At)
	s.Minute, s.Pings, s.Processes, s.Accepted = m.At, m.Pings, m.Processes, false
	s.Expected = base
	if daily {
		// The days say how the minute compares with others, the last half hour how today compares with the days. More than
		// they is never expected: what grew is known soon enough, and only a false alarm could come of it.
		s.Expected = base * min(1, s.Level)
	}
	if base < r.Smallest {
		return r.unjudged(s)
	}
	ratio := float64(m.Pings) / base
	if daily {
		s.Seen += (min(ratio, 4) - s.Seen) / memory
	}
	if s.Expected < r.Smallest {
		return r.unjudged(r.learn(s, ratio, daily))
	}
	s.JudgedAt = m.At.Add(time.Minute)
	s = r.step(s, m)
	if s.Phase == Normal {
		s = r.learn(s, ratio, daily)
	}
	return s
}

// unjudged is a minute of which nothing is to be expected. A fall that is under way stands, for a while: where all pings come at
// the full hour, the next minutes cannot tell whether they would come again.
func (r Rules) unjudged(s State) State {
	if s.Phase != Normal && s.Minute.Sub(s.JudgedAt) >= r.Blind {
		return s.normal()
	}
	return s
}

// learn follows what comes, while it is believed.
func (r Rules) learn(s State, ratio float64, daily bool) State {
	if daily && s.Phase == Normal {
		s.Level += (min(ratio, 4) - s.Level) / memory
	}
	return s
}

// step moves from phase to phase.
func (r Rules) step(s State, m Minute) State {
	part := float64(m.Pings) / s.Expected
	// Chance alone makes a minute fall short by a few times the root of what was expected.
	fell := part < r.Fall && float64(m.Pings) < s.Expected-4*math.Sqrt(s.Expected)
	well := part >= r.Well
	switch s.Phase {
	case Suspicious:
		switch {
		case well:
			return s.normal()
		case fell:
			if s.Streak++; s.Streak >= r.Confirm || m.Processes == 0 {
				s.Phase, s.Streak = Incident, 0
			}
		}
	case Incident:
		switch {
		case s.Minute.Sub(s.Since) >= r.Longest:
			s.Level, s.Accepted = s.Seen, true
			return s.normal()
		case well:
			s.Phase, s.Streak = Recovering, 1
		}
	case Recovering:
		switch {
		case fell:
			s.Phase, s.Streak = Incident, 0
		case !well:
			s.Streak = 0
		default:
			s.Streak++
		}
	default:
		if fell {
			return r.fall(s, m)
		}
		return s
	}
	if s.Phase == Recovering && s.Streak >= r.Settle {
		return s.normal()
	}
	return s
}

// fall is the first minute of one. Where nobody was there to take pings there is nothing to be confirmed.
func (r Rules) fall(s State, m Minute) State {
	s.Phase, s.Streak = Suspicious, 1
	if m.Processes == 0 || r.Confirm == 1 {
		s.Phase, s.Streak = Incident, 0
	}
	s.Since, s.DetectedAt, s.EndedAt = m.At, m.At.Add(time.Minute), time.Time{}
	return s
}

// normal ends a fall.
func (s State) normal() State {
	s.Phase, s.Streak, s.EndedAt = Normal, 0, s.Minute.Add(time.Minute)
	return s
}
