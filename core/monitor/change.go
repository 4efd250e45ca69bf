package monitor

import (
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/record"
)

// control applies what a person asked for. One that is not newer than the last is a repetition.
func (m *machine) control(c Control) {
	if c.Version <= m.s.Version {
		return
	}
	m.s.Version = c.Version
	held := m.s.Held // they stand before this in the log
	m.s.Held = nil
	for _, p := range held {
		m.ping(p)
	}
	c.At = latest(c.At, m.s.Since, m.s.LastPing.At)
	switch c.Action {
	case record.Configure:
		m.configure(c)
	case record.Pause:
		m.pause(c.At, "paused")
	case record.Resume:
		m.resume(c.At)
	case record.Delete:
		m.pause(c.At, "deleted")
		m.out.Deleted = true
	case record.ResolveIncident:
		m.resolveByPerson(c.At, c.Incident)
	}
}

func (m *machine) configure(c Control) {
	old := m.rules
	m.rules = c.Rules
	if m.s.Status == "" { // the monitor's first
		m.s.Status, m.s.Since = New, c.At
		return
	}
	if !m.rules.Config.LateIncidents {
		m.resolve(incident.Late, c.At, "turned off")
	}
	if !m.rules.Config.Anomaly.Enabled {
		m.resolve(incident.Anomaly, c.At, "turned off")
	}
	if m.rules.Config.MaxRuntime != old.Config.MaxRuntime {
		m.retime(c.At)
	}
	if !m.rules.SameTiming(old) && m.s.expecting() {
		m.rearm(c.At)
	}
}

// rearm puts the expectation under the new rules as from the last ping; where they would have been broken before they
// were in force, as from now.
func (m *machine) rearm(t time.Time) {
	m.arm(m.s.LastPing.At)
	if !m.s.Deadline.After(t) {
		m.arm(t)
	}
	if m.s.Status == Late && m.s.Due.After(t) {
		m.resolve(incident.Late, t, "schedule changed")
		m.become(Up, t, "schedule changed")
	}
}

// retime gives the open runs the new max runtime; none ends before now.
func (m *machine) retime(t time.Time) {
	limit := time.Duration(m.rules.Config.MaxRuntime)
	open := append([]OpenRun(nil), m.s.Open...)
	for i := range open {
		if open[i].Overdue {
			continue
		}
		open[i].Deadline = time.Time{}
		if limit > 0 {
			if open[i].Deadline = open[i].StartedAt.Add(limit); open[i].Deadline.Before(t) {
				open[i].Deadline = t
			}
		}
	}
	m.s.Open = open
}

// pause lets go of everything that is expected, running or wrong.
func (m *machine) pause(t time.Time, reason string) {
	m.s.Due, m.s.Deadline = time.Time{}, time.Time{}
	m.drop(t, func(OpenRun) bool { return true })
	for _, k := range []incident.Kind{incident.Late, incident.Missed, incident.Fail, incident.Overrun, incident.Anomaly} {
		m.resolve(k, t, reason)
	}
	m.become(Paused, t, reason)
}

// resume expects the next run from now on; a monitor that was never pinged is new again.
func (m *machine) resume(t time.Time) {
	if m.s.Status != Paused {
		return
	}
	m.s.Failures = 0
	if m.s.LastPing.At.IsZero() {
		m.become(New, t, "resumed")
		return
	}
	m.become(Up, t, "resumed")
	m.arm(t)
}

func (m *machine) resolveByPerson(t time.Time, id uuid.UUID) {
	var kind incident.Kind
	for k, open := range m.s.Incidents {
		if open == id {
			kind = k
		}
	}
	if kind == "" {
		return
	}
	m.resolve(kind, t, "person")
	switch kind {
	case incident.Missed:
		m.arm(t)
	case incident.Overrun:
		m.drop(t, func(o OpenRun) bool { return o.Overdue })
	case incident.Fail:
		m.s.Failures = 0
	case incident.Late, incident.Anomaly:
	}
	m.settle(t, "resolved by a person")
}

// excuse puts the expectation behind the gap, as if a ping had come at its end.
func (m *machine) excuse(t time.Time, g logclock.Gap) {
	m.arm(g.To)
	if m.s.Status == Late {
		m.resolve(incident.Late, t, "gap")
		m.become(Up, t, "gap")
	}
}

// open opens an incident, if none of the kind is open.
func (m *machine) open(k incident.Kind, t time.Time, ev incident.Evidence) {
	if _, ok := m.s.Incidents[k]; ok {
		return
	}
	m.s.Opened++
	id := incident.ID(m.id, k, t, m.s.Opened)
	open := maps.Clone(m.s.Incidents)
	if open == nil {
		open = map[incident.Kind]uuid.UUID{}
	}
	open[k] = id
	m.s.Incidents = open
	m.out.Incidents = append(m.out.Incidents, incident.Change{ID: id, Kind: k, At: t, Evidence: ev})
}

// resolve resolves the open incident of the kind, if there is one.
func (m *machine) resolve(k incident.Kind, t time.Time, reason string) {
	id, ok := m.s.Incidents[k]
	if !ok {
		return
	}
	open := maps.Clone(m.s.Incidents)
	delete(open, k)
	m.s.Incidents = open
	m.out.Incidents = append(m.out.Incidents, incident.Change{ID: id, Kind: k, At: t, Resolved: true, Reason: reason})
}

// evidence is what every incident tells: the last ping and what was expected.
func (m *machine) evidence() incident.Evidence {
	var ev incident.Evidence
	if last := m.s.LastPing; !last.At.IsZero() {
		ev.LastPingAt, ev.LastPingKind = &last.At, last.Kind.String()
		if last.ExitCode != record.NoExitCode {
			code := int(last.ExitCode)
			ev.ExitCode = &code
		}
		ev.Output = last.Output
	}
	if !m.s.Due.IsZero() {
		due, deadline := m.s.Due, m.s.Deadline
		ev.DueAt, ev.DeadlineAt = &due, &deadline
	}
	return ev
}
