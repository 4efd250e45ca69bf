package monitor

import (
	"math"
	"slices"
	"time"
)

// Totals are what has happened to a monitor since it was made. Each only grows, so the counters that are exposed of them
// are right across restarts, and across the retention of the rows they count. What they were earlier is what they are now
// less the runs and transitions since. Everything is a whole number, so that the difference is exact.
type Totals struct {
	Succeeded int64 `json:"succeeded,omitempty"`
	Failed    int64 `json:"failed,omitempty"`
	Missed    int64 `json:"missed,omitempty"`
	Abandoned int64 `json:"abandoned,omitempty"`
	Unknown   int64 `json:"unknown,omitempty"`

	// Durations are those of the runs that have one.
	Durations    Histogram     `json:"durations,omitzero"`
	LastDuration time.Duration `json:"last_duration,omitempty"` // of the last such run

	// UpTime and DownTime are the time spent, without gaps, in the statuses that were left; late counts as up.
	UpTime   time.Duration `json:"up_time,omitempty"`
	DownTime time.Duration `json:"down_time,omitempty"`
	// Outages are the changes to down, Recoveries those from it.
	Outages    int64 `json:"outages,omitempty"`
	Recoveries int64 `json:"recoveries,omitempty"`
}

// AddRun counts a run; by is 1, or -1 to take it back (LastDuration is not put back).
func (t *Totals) AddRun(r *Run, by int64) {
	switch r.Outcome {
	case Succeeded:
		t.Succeeded += by
	case Failed:
		t.Failed += by
	case Missed:
		t.Missed += by
	case Abandoned:
		t.Abandoned += by
	case Unknown:
		t.Unknown += by
	}
	if r.Duration >= 0 {
		t.Durations.Add(r.Duration, by)
		t.LastDuration = r.Duration
	}
}

// AddTransition counts a transition; by is 1, or -1 to take it back.
func (t *Totals) AddTransition(x *Transition, by int64) {
	spent := time.Duration(math.Round(x.SecondsInPrevious*1e6)) * time.Microsecond * time.Duration(by)
	switch x.From {
	case Up, Late:
		t.UpTime += spent
	case Down:
		t.DownTime += spent
	case New, Paused:
	}
	if x.To == Down && x.From != Down {
		t.Outages += by
	}
	if x.From == Down && x.To != Down {
		t.Recoveries += by
	}
}

// Clone is a copy that shares nothing.
func (t *Totals) Clone() *Totals {
	if t == nil {
		return &Totals{}
	}
	c := *t
	c.Durations.Buckets = slices.Clone(t.Durations.Buckets)
	return &c
}

// count takes the step's effects into the totals. The state given to Next is not touched.
func (m *machine) count() {
	if len(m.out.Runs) == 0 && len(m.out.Transitions) == 0 {
		return
	}
	t := m.s.Totals.Clone()
	for i := range m.out.Runs {
		t.AddRun(&m.out.Runs[i], 1)
	}
	for i := range m.out.Transitions {
		t.AddTransition(&m.out.Transitions[i], 1)
	}
	m.s.Totals = t
}
