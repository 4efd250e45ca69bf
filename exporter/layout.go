package exporter

import (
	"math"
	"strings"

	"github.com/tokiflow/tokiflow/core/metric"
)

// layout is core/metric's families with everything prepared that writing them needs.
type layout struct {
	families []family
	names    map[string]int // what a family goes by in name[] → its index
}

// family is a metric of monitors, ready to be written.
type family struct {
	name   string
	typ    metric.Type
	series []line // none: the info family
	heads  [formats][]byte
}

// line is one series of a monitor, ready to be written.
type line struct {
	of func(p *metric.Point) (metric.Line, bool)
	// before and after stand around the monitor's id in the text.
	before, after string
	pair          []byte // the label beside the id, as a field of a protobuf Metric
	part          part
	bound         float64 // of a bucket
}

// part is what a series of a histogram is in its protobuf message.
type part uint8

const (
	plain part = iota // not of a histogram
	bucket
	sum
	count
)

func newLayout() *layout {
	l := &layout{names: map[string]int{}}
	for i, f := range metric.Families() {
		l.names[f.Name] = i
		l.names[openMetricsName(f.Name, f.Type)] = i
		p := family{name: f.Name, typ: f.Type, heads: heads(f.Name, f.Help, f.Unit, f.Type)}
		for _, s := range f.Series {
			l.names[f.Name+s.Suffix] = i
			p.series = append(p.series, prepare(&f, &s))
		}
		l.families = append(l.families, p)
	}
	return l
}

func prepare(f *metric.Family, s *metric.Series) line {
	p := line{of: s.Line, before: f.Name + s.Suffix + "{" + metric.LabelID + `="`, after: `"} `}
	if s.Label != "" {
		p.after = `",` + s.Label + `="` + string(appendEscaped(nil, s.Value)) + `"} `
		p.pair = appendPair(nil, s.Label, s.Value)
	}
	switch s.Suffix {
	case "_bucket":
		p.part = bucket
		p.bound = bound(s.Value)
	case "_sum":
		p.part = sum
	case "_count":
		p.part = count
	}
	return p
}

// still is what a line is worth, where it is worth the same at any instant.
func still(l *metric.Line) (v float64, ok bool) {
	switch {
	case l.Constant() && l.Den == 0: // nearly all: this spares them the call below
		return l.Num, true
	case l.Constant():
		return l.Value(l.At), true
	case l.Num == l.Den && l.NumRate == l.DenRate: // always up
		return 1, true
	case l.Num == 0 && l.NumRate == 0: // never
		return 0, true
	}
	return 0, false
}

// count is how many series the monitor has in the family.
func (f *family) count(e *entry) int {
	if f.typ == metric.Info {
		return 1
	}
	n := 0
	for i := range f.series {
		if _, ok := f.series[i].of(&e.point); ok {
			n++
		}
	}
	return n
}

// differ reports whether the two states of a monitor are written differently in the family.
func (f *family) differ(a, b *entry) bool {
	if f.typ == metric.Info {
		return !equalLabels(a.labels, b.labels)
	}
	for i := range f.series {
		la, oka := f.series[i].of(&a.point)
		lb, okb := f.series[i].of(&b.point)
		if oka != okb {
			return true
		}
		if !oka {
			continue
		}
		va, sa := still(&la)
		vb, sb := still(&lb)
		if !sa || !sb || math.Float64bits(va) != math.Float64bits(vb) { // of what moves another instant is known now
			return true
		}
	}
	return false
}

// openMetricsName is the name of the family in OpenMetrics, where the suffixes of counters and infos belong to the samples.
func openMetricsName(name string, t metric.Type) string {
	switch t {
	case metric.Counter:
		return strings.TrimSuffix(name, "_total")
	case metric.Info:
		return strings.TrimSuffix(name, "_info")
	case metric.Gauge, metric.Histogram, metric.StateSet:
	}
	return name
}
