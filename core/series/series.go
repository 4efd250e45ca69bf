// Package series names what others write to us: labelled series with their samples.
package series

import (
	"slices"
	"strings"
)

// Label is a label's name and value.
type Label struct{ Name, Value string }

// Sort puts labels in the order of their names, in which they are stored and compared.
func Sort(l []Label) {
	slices.SortFunc(l, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
}

// Series is a series with some of its samples. Labels are sorted by name and include __name__.
type Series struct {
	Labels     []Label
	Floats     []Float
	Histograms []Histogram
}

// Float is a sample. Value keeps its bits: a staleness marker is a NaN with a payload.
type Float struct {
	At    int64 // milliseconds since 1970
	Value float64
}

// Histogram is a native histogram's sample.
type Histogram struct {
	At   int64  // milliseconds since 1970
	Data []byte // a message prometheus.Histogram, as remote write 1.0 has it
}

// Metadata describes a metric.
type Metadata struct {
	Name string // of the metric family
	Type string // counter, gauge, histogram, summary, … "" is unknown
	Help string
	Unit string
}
