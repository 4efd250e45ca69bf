// Package metric says what is exposed of a monitor to Prometheus: the families, their labels, and what each sample is worth
// at an instant. The exporter writes what it says of now, promapi what it says of any instant of the past; both come from
// here, so they cannot differ.
//
// Every series has the label id, the monitor's id, which never changes. Names, which people change, stand in
// tokiflow_monitor_info alone: a renamed monitor keeps its series, and with them its rates and the alerts that fire.
package metric

import (
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// Type is a family's type, as Prometheus writes it.
type Type string

// The types in use. A state set is a gauge to those who do not know it.
const (
	Gauge     Type = "gauge"
	Counter   Type = "counter"
	Histogram Type = "histogram"
	Info      Type = "info"
	StateSet  Type = "stateset"
)

// LabelID is the label that every series of a monitor has.
const LabelID = "id"

// Family is a metric of monitors.
type Family struct {
	Name string // of the family, as in a HELP line of the text format: that of a counter ends in _total
	Help string
	Type Type
	Unit string // "" or the unit that the name ends in
	// Series are those of one monitor, in the order in which they are written. Empty for the info family alone: its labels
	// are those of Labels.
	Series []Series
}

// Series is one series of a monitor. Beside id it has at most one label.
type Series struct {
	Suffix string // behind the family's name: "", or of a classic histogram _bucket, _sum, _count
	Label  string // "": none
	Value  string
	// Line is what the series is worth from the instant on that p describes, as long as nothing happens; ok is false
	// where there is no sample.
	Line func(p *Point) (l Line, ok bool)
}

// Point is a monitor as it stood from an instant on.
type Point struct {
	At           time.Time // the instant
	Status       monitor.Status
	Since        time.Time // of the status
	GapSeconds   float64   // of the time since Since, how much could not be observed
	LastPing     time.Time // zero: none, as with the next three
	LastSuccess  time.Time
	Due          time.Time
	Deadline     time.Time
	OpenRuns     int
	Open         map[incident.Kind]bool // incidents
	ZScore       float64
	Totals       *monitor.Totals // nil: nothing has happened; not to be changed
	LastDuration time.Duration   // of the last run that has one; only where Totals has durations
}

// PointOf is a monitor as its state says that it stands at t, which must not lie before what the state has taken in. gapSeconds
// is how much of the time since State.Since could not be observed.
func PointOf(s *monitor.State, t time.Time, gapSeconds float64) Point {
	p := Point{
		At: t, Status: s.Status, Since: s.Since, GapSeconds: gapSeconds, LastPing: s.LastPing.At, LastSuccess: s.LastSuccess,
		Due: s.Due, Deadline: s.Deadline, OpenRuns: len(s.Open), ZScore: s.ZScore, Totals: s.Totals,
	}
	if len(s.Incidents) > 0 {
		p.Open = make(map[incident.Kind]bool, len(s.Incidents))
		for k := range s.Incidents {
			p.Open[k] = true
		}
	}
	if s.Totals != nil {
		p.LastDuration = s.Totals.LastDuration
	}
	return p
}

// Line is a value that may move with time: (Num + NumRate·s) / (Den + DenRate·s), s seconds after At. With Den and DenRate 0
// it is Num.
type Line struct {
	At           time.Time
	Num, NumRate float64
	Den, DenRate float64
}

// Value is the line's at t.
func (l Line) Value(t time.Time) float64 {
	if l.Den == 0 && l.DenRate == 0 {
		return l.Num
	}
	s := t.Sub(l.At).Seconds()
	return (l.Num + l.NumRate*s) / (l.Den + l.DenRate*s)
}

// Constant reports whether the value never moves.
func (l Line) Constant() bool { return l.NumRate == 0 && l.DenRate == 0 }

func constant(v float64) Line { return Line{Num: v} }

// instant is a time as Prometheus has it: seconds since 1970.
func instant(t time.Time) (Line, bool) {
	if t.IsZero() {
		return Line{}, false
	}
	return constant(float64(t.UnixMicro()) / 1e6), true
}
