package rule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
)

// State is the state of an alert. Its values are those of the label alertstate.
type State string

// The states.
const (
	Inactive State = "inactive"
	Pending  State = "pending" // the expression holds, but not for long enough yet
	Firing   State = "firing"
)

// Retention is how long an alert is remembered after it was resolved.
const Retention = 15 * time.Minute

// ErrDuplicate says that two results of a rule are told apart by nothing once its labels are on them.
var ErrDuplicate = errors.New("vector contains metrics with the same labelset after applying alert labels")

// Alert is one set of labels for which an alerting rule's expression holds, or held a while ago.
type Alert struct {
	State       State          `json:"state"`
	Labels      []series.Label `json:"labels"` // sorted, with alertname
	Annotations []series.Label `json:"annotations,omitempty"`
	Value       Value          `json:"value"`
	ActiveAt    time.Time      `json:"active_at"` // since when the expression holds
	FiredAt     time.Time      `json:"fired_at,omitzero"`
	ResolvedAt  time.Time      `json:"resolved_at,omitzero"`
	// KeepSince is when a firing alert's expression ceased to hold, while keep_firing_for keeps it.
	KeepSince time.Time `json:"keep_since,omitzero"`
}

// Active reports whether the alert is pending or firing.
func (a Alert) Active() bool { return a.State == Pending || a.State == Firing }

// Result is one element of what an alerting rule's expression gave, with the rule's labels and annotations on it.
type Result struct {
	Labels      []series.Label // sorted, with alertname
	Annotations []series.Label
	Value       float64
}

// Change is an alert's step from one state to another. The alert is as the step left it; one that is no longer active has
// ResolvedAt.
type Change struct {
	Alert    Alert
	From, To State
	FiredAt  time.Time // when it began to fire, also where it has ceased to; zero: it never did
}

func changeOf(before, after Alert) Change {
	c := Change{Alert: after, From: before.State, To: after.State, FiredAt: after.FiredAt}
	if before.State == Firing {
		c.FiredAt = before.FiredAt
	}
	return c
}

// Rule is what the state machine needs to know of an alerting rule.
type Rule struct {
	For           time.Duration // how long the expression must hold before the alert fires; 0: it fires at once
	KeepFiringFor time.Duration // how long it goes on firing when the expression no longer holds
	Limit         int           // of active alerts; 0: none
}

// Next takes the alerts of a rule to the instant at, at which its expression gave the results. It returns all that must be
// remembered, in the order of the labels, and what changed in the same order. The alerts given stay as they are, and they are to
// be kept where there is an error: an evaluation that fails neither resolves nor fires anything.
func (r Rule) Next(alerts []Alert, results []Result, at time.Time) ([]Alert, []Change, error) {
	given := make(map[string]Result, len(results))
	for _, res := range results {
		k := Key(res.Labels)
		if _, twice := given[k]; twice {
			return nil, nil, ErrDuplicate
		}
		given[k] = res
	}
	var next []Alert
	var changes []Change
	active := 0
	step := func(a Alert, res *Result) {
		before := a
		a, keep := r.one(a, res, at)
		if a.State != before.State {
			changes = append(changes, changeOf(before, a))
		}
		if a.Active() {
			active++
		}
		if keep {
			next = append(next, a)
		}
	}
	for _, a := range alerts {
		k := Key(a.Labels)
		res, holds := given[k]
		if !holds {
			step(a, nil)
			continue
		}
		delete(given, k)
		if !a.Active() {
			a = Alert{State: Inactive, Labels: a.Labels, ActiveAt: at} // resolved a while ago: this is a new one
		}
		step(a, &res)
	}
	for _, res := range given {
		step(Alert{State: Inactive, Labels: res.Labels, ActiveAt: at}, &res)
	}
	if r.Limit > 0 && active > r.Limit {
		return nil, nil, fmt.Errorf("exceeded limit of %d with %d alerts", r.Limit, active)
	}
	slices.SortFunc(next, func(a, b Alert) int { return Compare(a.Labels, b.Labels) })
	slices.SortFunc(changes, func(a, b Change) int { return Compare(a.Alert.Labels, b.Alert.Labels) })
	return next, changes, nil
}

// one takes one alert to the instant at; without a result its expression does not hold. keep is false where the alert can be
// forgotten.
func (r Rule) one(a Alert, res *Result, at time.Time) (_ Alert, keep bool) {
	if res == nil {
		if !r.lingers(&a, at) {
			return r.end(a, at)
		}
	} else {
		a.KeepSince = time.Time{}
		a.Value, a.Annotations = Value(res.Value), res.Annotations
		if a.State == Inactive {
			a.State = Pending
		}
	}
	held := at.Sub(a.ActiveAt)
	if a.State == Pending && held >= r.For {
		a.State, a.FiredAt = Firing, at
	}
	if a.State == Firing && held < r.For { // For was made longer meanwhile
		a.State, a.FiredAt, a.KeepSince = Pending, time.Time{}, time.Time{}
	}
	return a, true
}

// lingers reports whether the alert goes on firing although its expression does not hold.
func (r Rule) lingers(a *Alert, at time.Time) bool {
	if a.State != Firing || r.KeepFiringFor <= 0 {
		return false
	}
	if a.KeepSince.IsZero() {
		a.KeepSince = at
	}
	return at.Sub(a.KeepSince) < r.KeepFiringFor
}

// end makes the alert inactive. One that never fired is forgotten at once.
func (r Rule) end(a Alert, at time.Time) (_ Alert, keep bool) {
	keep = a.State == Firing || a.State == Inactive && at.Sub(a.ResolvedAt) <= Retention
	if a.State != Inactive {
		a.State, a.ResolvedAt = Inactive, at
	}
	return a, keep
}

// Dismiss ends every alert of a rule that is no longer there.
func Dismiss(alerts []Alert, at time.Time) []Change {
	var changes []Change
	for _, a := range alerts {
		if a.Active() {
			ended, _ := Rule{}.end(a, at)
			changes = append(changes, changeOf(a, ended))
		}
	}
	return changes
}

// Compare puts sets of labels in an order.
func Compare(a, b []series.Label) int {
	return slices.CompareFunc(a, b, func(a, b series.Label) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
}
