// Package rule is the pure part of recording and alerting rules: what a group of them is, when it is evaluated, and what
// becomes of an alert as its expression holds and ceases to hold. The meaning of all of it is Prometheus'.
package rule

import (
	"slices"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
)

// DefaultInterval is the interval of a group that names none.
const DefaultInterval = time.Minute

// Kind tells the two sorts of rules apart. Its values are those of Prometheus' API.
type Kind string

// The kinds.
const (
	Recording Kind = "recording"
	Alerting  Kind = "alerting"
)

// Health is how the last evaluation of a rule went. Its values are those of Prometheus' API.
type Health string

// The healths.
const (
	Unknown Health = "unknown" // it has not been evaluated yet
	Good    Health = "ok"
	Bad     Health = "err"
)

// Group is what was configured: rules that are evaluated in order, at the same instants.
type Group struct {
	Name        string            `json:"name"`
	Interval    time.Duration     `json:"interval,omitempty"` // nanoseconds; 0: DefaultInterval
	QueryOffset *time.Duration    `json:"query_offset,omitempty"`
	Limit       int               `json:"limit,omitempty"` // of the series or alerts of one rule; 0: none
	Labels      map[string]string `json:"labels,omitempty"`
	Rules       []Definition      `json:"rules"`
}

// Every is the interval in force.
func (g Group) Every() time.Duration {
	if g.Interval > 0 {
		return g.Interval
	}
	return DefaultInterval
}

// Offset is how far in the past the expressions are asked.
func (g Group) Offset() time.Duration {
	if g.QueryOffset != nil {
		return *g.QueryOffset
	}
	return 0
}

// Definition is one rule as it was configured: Record or Alert is set.
type Definition struct {
	Record        string            `json:"record,omitempty"`
	Alert         string            `json:"alert,omitempty"`
	Expr          string            `json:"expr"`
	For           time.Duration     `json:"for,omitempty"`             // nanoseconds
	KeepFiringFor time.Duration     `json:"keep_firing_for,omitempty"` // nanoseconds
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Kind is the rule's kind.
func (d Definition) Kind() Kind {
	if d.Alert != "" {
		return Alerting
	}
	return Recording
}

// Name is what the rule records or alerts of.
func (d Definition) Name() string {
	if d.Alert != "" {
		return d.Alert
	}
	return d.Record
}

// LabelsOf are the labels that a rule of the group puts on what it gives: its own, and those of the group that it has not.
// They are sorted by name, and their values may still be templates.
func (g Group) LabelsOf(d Definition) []series.Label {
	out := make([]series.Label, 0, len(g.Labels)+len(d.Labels))
	for k, v := range d.Labels {
		out = append(out, series.Label{Name: k, Value: v})
	}
	for k, v := range g.Labels {
		if _, own := d.Labels[k]; !own {
			out = append(out, series.Label{Name: k, Value: v})
		}
	}
	series.Sort(out)
	return out
}

// Progress is how far a rule has come: what is stored between two evaluations. Kind, Name and Labels say which rule it is of, so
// that a changed group finds the state of those rules that stayed.
type Progress struct {
	Kind      Kind           `json:"kind"`
	Name      string         `json:"name"`
	Labels    []series.Label `json:"labels,omitempty"` // as Group.LabelsOf gives them
	Health    Health         `json:"health"`
	LastError string         `json:"last_error,omitempty"`
	Evaluated time.Time      `json:"evaluated,omitzero"` // when, by the wall clock
	Took      time.Duration  `json:"took,omitempty"`     // nanoseconds
	Alerts    []Alert        `json:"alerts,omitempty"`
	// Series are those that a recording rule gave last. They are stored apart, because they are many and seldom change.
	Series [][]series.Label `json:"-"`
}

// Is reports whether the progress is that of such a rule.
func (p Progress) Is(kind Kind, name string, labels []series.Label) bool {
	return p.Kind == kind && p.Name == name && slices.Equal(p.Labels, labels)
}

// State is the weightiest state of the rule's alerts: firing before pending before inactive.
func (p Progress) State() State {
	worst := Inactive
	for _, a := range p.Alerts {
		if a.State == Firing {
			return Firing
		}
		if a.State == Pending {
			worst = Pending
		}
	}
	return worst
}

// Status is a group with what became of it, as /rules and /alerts of the Prometheus API show it.
type Status struct {
	Group
	Evaluated time.Time     // the instant of the last evaluation; zero: none yet
	Took      time.Duration // the last evaluation
	Rules     []Standing    // in order
}

// Standing is a rule with what became of it.
type Standing struct {
	Definition
	Progress Progress
}

// StatusOf puts a group and its progress together. A rule without progress is of unknown health.
func StatusOf(g Group, progress []Progress, evaluated time.Time, took time.Duration) Status {
	s := Status{Group: g, Evaluated: evaluated, Took: took, Rules: make([]Standing, len(g.Rules))}
	matched := Match(g, progress)
	for i, d := range g.Rules {
		s.Rules[i] = Standing{Definition: d, Progress: matched[i]}
	}
	return s
}

// Match finds the progress of each of a group's rules by kind, name and labels: of several alike the first gets the first. A rule
// without any gets an empty one of unknown health.
func Match(g Group, progress []Progress) []Progress {
	found, _ := Split(g, progress)
	return found
}

// Split is Match, and what was left over: the progress of rules that are no longer there.
func Split(g Group, progress []Progress) (found, left []Progress) {
	used := make([]bool, len(progress))
	found = make([]Progress, len(g.Rules))
	for i, d := range g.Rules {
		kind, name, labels := d.Kind(), d.Name(), g.LabelsOf(d)
		found[i] = Progress{Kind: kind, Name: name, Labels: labels, Health: Unknown}
		for j, p := range progress {
			if !used[j] && p.Is(kind, name, labels) {
				found[i], used[j] = p, true
				break
			}
		}
	}
	for j, p := range progress {
		if !used[j] {
			left = append(left, p)
		}
	}
	return found, left
}

// Key is a string that only equal sets of labels have.
func Key(labels []series.Label) string {
	n := 0
	for _, l := range labels {
		n += len(l.Name) + len(l.Value) + 2
	}
	var b strings.Builder
	b.Grow(n)
	for _, l := range labels {
		b.WriteString(l.Name)
		b.WriteByte(0xff) // in no UTF-8 text
		b.WriteString(l.Value)
		b.WriteByte(0xff)
	}
	return b.String()
}
