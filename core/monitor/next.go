package monitor

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// Rules are a configuration made ready to judge by. Immutable, safe for concurrent use.
type Rules struct {
	Config   Config
	schedule schedule.Schedule
}

// NewRules pairs a configuration with its compiled schedule, which monitors may share.
func NewRules(c Config, s schedule.Schedule) *Rules { return &Rules{Config: c, schedule: s} }

// Event is what happened to a monitor. Of Ping and Control at most one is set; with none it is a tick.
type Event struct {
	// Judged is the partition's: deadlines up to it may be judged (core/logclock).
	Judged time.Time
	Gaps   *logclock.Gaps // all that lie before Judged

	Ping    *Ping
	Control *Control
}

// Control is a change that a person made.
type Control struct {
	At      time.Time
	Action  record.Action
	Version int64
	// Rules are the new ones of a record.Configure.
	Rules *Rules
	// Incident is that of a record.ResolveIncident.
	Incident uuid.UUID
}

// Next is what a monitor's state becomes by an event, and what else that does. It changes nothing it is given, and depends
// on nothing else: the same events give the same states.
//
// Order: whatever the state waits for (a due moment, a deadline) comes before a ping received at the same instant or
// later. A deadline that may not be judged yet makes such a ping wait in State.Held.
func Next(id uuid.UUID, r *Rules, s State, e Event) (State, Effects) {
	m := machine{id: id, rules: r, s: s, gaps: e.Gaps}
	switch {
	case e.Ping != nil:
		if t := s.Timer(); len(s.Held) == 0 && (t.IsZero() || e.Ping.At.Before(t)) {
			m.ping(*e.Ping) // the ordinary case, without a list
		} else {
			m.hold(*e.Ping)
		}
	case e.Control != nil:
		m.drain(e.Judged)
		m.control(*e.Control)
	}
	m.drain(e.Judged)
	m.count()
	return m.s, m.out
}

// Timer is the next instant at which something is to be judged without a ping; zero: none.
func (s *State) Timer() time.Time {
	if s.Status == Paused {
		return time.Time{}
	}
	var t time.Time
	if s.expecting() {
		t = s.Deadline
		// A monitor that went up behind the due moment (the end of an older run) is not late for it any more.
		if s.Status == Up && s.Due.Before(t) && s.Due.After(s.Since) {
			t = s.Due
		}
	}
	for i := range s.Open {
		if o := &s.Open[i]; !o.Overdue && !o.Deadline.IsZero() && (t.IsZero() || o.Deadline.Before(t)) {
			t = o.Deadline
		}
	}
	return t
}

// expecting reports whether a due moment is waited for; after a miss Due and Deadline only tell what was missed.
func (s *State) expecting() bool {
	return !s.Deadline.IsZero() && !s.missed()
}

// missed reports whether the incident is open: only the end of a run, or a person, settles it.
func (s *State) missed() bool {
	_, open := s.Incidents[incident.Missed]
	return open
}

// machine is one call of Next.
type machine struct {
	id    uuid.UUID
	rules *Rules
	gaps  *logclock.Gaps
	s     State
	out   Effects
}

// hold puts a ping behind those that wait already, by time.
func (m *machine) hold(p Ping) {
	i := len(m.s.Held)
	for i > 0 && p.At.Before(m.s.Held[i-1].At) {
		i--
	}
	held := make([]Ping, 0, len(m.s.Held)+1)
	held = append(append(append(held, m.s.Held[:i]...), p), m.s.Held[i:]...)
	m.s.Held = held
}

// drain does all that can be done, in the order of time: timers up to judged, and pings that no timer precedes.
func (m *machine) drain(judged time.Time) {
	for !m.out.Deleted {
		t := m.s.Timer()
		switch {
		case len(m.s.Held) > 0 && (t.IsZero() || m.s.Held[0].At.Before(t)):
			p := m.s.Held[0]
			m.s.Held = m.s.Held[1:]
			m.ping(p)
		case !t.IsZero() && !t.After(judged):
			m.fire(t)
		default:
			if len(m.s.Held) == 0 {
				m.s.Held = nil
			}
			return
		}
	}
}

// fire judges what the state waits for at t. All gaps up to there are known by then.
func (m *machine) fire(t time.Time) {
	for i, o := range m.s.Open {
		if o.Overdue || !o.Deadline.Equal(t) {
			continue
		}
		if _, gap := m.gaps.Last(t, t); gap { // its end may have been turned away
			m.s.Open = without(m.s.Open, i)
			m.end(o, t, Unknown)
		} else {
			m.overrun(i, t)
		}
		return
	}
	if g, ok := m.rules.Doubtful(m.gaps, m.s.Due, m.s.Deadline, m.s.Deadline); ok { // m.gaps are all known
		m.excuse(t, g)
		return
	}
	if !m.s.Deadline.After(t) {
		m.missed(t)
		return
	}
	m.become(Late, t, "due")
	if m.rules.Config.LateIncidents {
		m.open(incident.Late, t, m.evidence())
	}
}

func (m *machine) missed(t time.Time) {
	m.resolve(incident.Late, t, "missed")
	m.out.Runs = append(m.out.Runs, Run{
		ID:         uuid.NewSHA1(m.id, m.s.Due.UTC().AppendFormat([]byte("missed/"), time.RFC3339Nano)),
		FinishedAt: t,
		Outcome:    Missed,
		ExitCode:   record.NoExitCode,
		Duration:   record.NoDuration,
		Lateness:   -1,
	})
	m.open(incident.Missed, t, m.evidence())
	m.become(Down, t, "missed")
}

func (m *machine) overrun(i int, t time.Time) {
	open := append([]OpenRun(nil), m.s.Open...)
	open[i].Overdue = true
	m.s.Open = open
	ev := m.evidence()
	ev.RunID, ev.RunStartedAt = &open[i].ID, &open[i].StartedAt
	ev.DeadlineAt = &open[i].Deadline
	limit := time.Duration(m.rules.Config.MaxRuntime).Seconds()
	ev.MaxRuntimeSeconds = &limit
	m.open(incident.Overrun, t, ev)
	m.become(Down, t, "overrun")
}

// arm expects what the rules say after a ping (or a resumption) at t.
func (m *machine) arm(t time.Time) {
	var running time.Time
	for _, o := range m.s.Open {
		running = latest(running, o.Deadline)
	}
	m.s.Due, m.s.Deadline = m.rules.Arm(t, running)
}

// become changes the status, if it is another.
func (m *machine) become(to Status, t time.Time, reason string) {
	if m.s.Status == to {
		return
	}
	spent := max(0, t.Sub(m.s.Since)-m.gaps.Between(m.s.Since, t))
	m.out.Transitions = append(m.out.Transitions, Transition{
		At: t, From: m.s.Status, To: to, Reason: reason, SecondsInPrevious: spent.Seconds(),
	})
	m.s.Status, m.s.Since = to, t
}

// settle leaves Down when nothing that makes a monitor down is open any more.
func (m *machine) settle(t time.Time, reason string) {
	if m.s.Status == Down && m.sound() {
		m.become(Up, t, reason)
	}
}

// sound reports whether no incident that makes a monitor down is open.
func (m *machine) sound() bool {
	for k := range m.s.Incidents {
		if k == incident.Missed || k == incident.Fail || k == incident.Overrun {
			return false
		}
	}
	return true
}
