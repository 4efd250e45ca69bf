package guard

import (
	"time"

	amalert "github.com/prometheus/alertmanager/alert"

	"github.com/tokiflow/tokiflow/core/alert"
	core "github.com/tokiflow/tokiflow/core/guard"
)

// by is what is shown as inhibiting an alert.
const by = "installation-guard"

// Mutes holds back that a monitor was missed or late, where it began with the fall or later: while the fall lasts, at most Hold. One that
// was over before anybody could be told of it is held back for good. The answer depends on nothing but the state, the alert and the
// time, so every process gives the same.
func (g *Guard) Mutes(a *amalert.Alert) (string, bool) {
	switch a.Labels[alert.LabelName] {
	case "MonitorMissed", "MonitorLate":
	default:
		return "", false
	}
	s := g.State()
	if s.Since.IsZero() || a.StartsAt.Before(s.Since) {
		return "", false
	}
	now := g.o.Clock()
	held := now.Before(a.StartsAt.Add(g.o.Hold)) && s.Phase != core.Normal
	if a.ResolvedAt(now) {
		held = g.untold(a, s)
	}
	if !held {
		return "", false
	}
	return by, true
}

// untold reports whether nobody can have been told that the resolved alert fired: every process knew of the fall when it began, and
// it was known to be over before the hold was and the fall was.
func (g *Guard) untold(a *amalert.Alert, s core.State) bool {
	over := latest(a.EndsAt, a.UpdatedAt).Add(every) // to those who tell
	released := a.StartsAt.Add(g.o.Hold)
	if s.Phase == core.Normal {
		released = earliest(released, s.EndedAt.Add(after))
	}
	return !a.StartsAt.Before(s.DetectedAt.Add(reach)) && over.Before(released)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
