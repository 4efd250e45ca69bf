package rule

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// NextSlot is the first instant after t at which a group is evaluated. Its instants are an interval apart for ever, whoever
// evaluates it and however often it is restarted, and those of different groups lie spread over the interval. It is a whole number
// of milliseconds, as samples' times are.
func NextSlot(org tenant.OrgID, name string, interval time.Duration, t time.Time) time.Time {
	step := max(interval.Milliseconds(), 1)
	h := fnv.New64a()
	_, _ = h.Write(org.UUID[:]) // a hash takes everything
	_, _ = h.Write([]byte(name))
	offset := int64(h.Sum64() % uint64(step))
	n := t.UnixMilli() - offset
	past := n % step
	if past < 0 {
		past += step
	}
	return time.UnixMilli(n - past + step + offset).UTC()
}

// Skip returns the last of a group's instants that is not after the horizon, counted on from due, and how many that leaves out.
func Skip(due, horizon time.Time, interval time.Duration) (at time.Time, missed int64) {
	if interval <= 0 || !horizon.After(due) {
		return due, 0
	}
	missed = int64(horizon.Sub(due) / interval)
	return due.Add(time.Duration(missed) * interval), missed
}

// Unseen takes time of which nobody knows whether the expressions held, because instants were left out, off what pending alerts have
// held for: it delays an alert and must not make one. What is given stays as it is.
func Unseen(progress []Progress, d time.Duration) []Progress {
	if d <= 0 {
		return progress
	}
	out := slices.Clone(progress)
	for i := range out {
		out[i].Alerts = slices.Clone(out[i].Alerts)
		for j := range out[i].Alerts {
			if a := &out[i].Alerts[j]; a.State == Pending {
				a.ActiveAt = a.ActiveAt.Add(d)
			}
		}
	}
	return out
}
