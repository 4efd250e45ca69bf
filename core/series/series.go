// Package series names what others write to us: labelled series with their samples.
package series

import (
	"slices"
	"strings"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// NameLabel is the label that holds a metric's name.
const NameLabel = "__name__"

// Label is a label's name and value.
type Label struct{ Name, Value string }

// Sort puts labels in the order of their names, in which they are stored and compared.
func Sort(l []Label) {
	slices.SortFunc(l, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
}

// Series is a series with some of its samples. Labels are sorted by name and include NameLabel.
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

// Hash is a number of the organisation's series of those labels, which must be sorted. It never changes: the series'
// partition, Hash modulo the number of partitions, rests on it. FNV-1a over the organisation's id and the labels, each name
// and value ended by 0xff, which no UTF-8 has in it; then mixed, so that every bit depends on all (the finaliser of
// MurmurHash3, Appleby 2011).
func Hash(org tenant.OrgID, labels []Label) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range org.UUID {
		h = (h ^ uint64(b)) * prime
	}
	for i := range labels {
		h = hashString(h, labels[i].Name)
		h = hashString(h, labels[i].Value)
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

const prime = 1099511628211

func hashString(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	return (h ^ 0xff) * prime
}

// Partition says which of n partitions holds a series' samples.
func Partition(org tenant.OrgID, labels []Label, n int) int {
	return int(Hash(org, labels) % uint64(n))
}
