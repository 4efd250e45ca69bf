package exporter

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/metric"
)

// The lines of the samples are the same in both text formats; the lines above them differ.

// textHead is what stands above a family's samples in the text format 0.0.4, which knows neither infos nor state sets.
func textHead(name, help string, t metric.Type) []byte {
	if t == metric.Info || t == metric.StateSet {
		t = metric.Gauge
	}
	b := append([]byte("# HELP "), name...)
	b = append(append(b, ' '), strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help)...)
	b = append(append(b, "\n# TYPE "...), name...)
	return append(append(append(b, ' '), t...), '\n')
}

// openMetricsHead is the same in OpenMetrics. A state set there must carry its state in a label that has the family's name;
// ours is `status`, as everywhere else, so it goes as the gauge that it is as well.
func openMetricsHead(name, help, unit string, t metric.Type) []byte {
	name = openMetricsName(name, t)
	if t == metric.StateSet {
		t = metric.Gauge
	}
	b := append([]byte("# TYPE "), name...)
	b = append(append(append(b, ' '), t...), '\n')
	if unit != "" {
		b = append(append(b, "# UNIT "...), name...)
		b = append(append(append(b, ' '), unit...), '\n')
	}
	b = append(append(b, "# HELP "...), name...)
	b = append(append(b, ' '), appendEscaped(nil, help)...)
	return append(b, '\n')
}

// appendText writes the lines of a monitor in a family and says how many. Values that move with time are left out, and holes
// takes where they belong.
func (f *family) appendText(b []byte, e *entry, holes *[]hole) (out []byte, n int) {
	if f.typ == metric.Info {
		return appendInfoText(b, f.name, e), 1
	}
	for i := range f.series {
		s := &f.series[i]
		l, ok := s.of(&e.point)
		if !ok {
			continue
		}
		b = append(b, s.before...)
		b = append(b, e.text[:]...)
		b = append(b, s.after...)
		if v, fixed := still(&l); fixed {
			b = appendValue(b, v)
		} else {
			*holes = append(*holes, hole{at: len(b), line: l})
		}
		b = append(b, '\n')
		n++
	}
	return b, n
}

// appendFilledText writes what stands in fixed, with the values at now in its holes.
func appendFilledText(b, fixed []byte, holes []hole, now time.Time) []byte {
	done := 0
	for i := range holes {
		h := &holes[i]
		b = append(b, fixed[done:h.at]...)
		b = appendValue(b, h.line.Value(now))
		done = h.at
	}
	return append(b, fixed[done:]...)
}

func appendInfoText(b []byte, name string, e *entry) []byte {
	b = append(b, name...)
	separator := byte('{')
	for _, l := range e.labels {
		b = append(append(b, separator), l.Name...)
		b = appendEscaped(append(b, `="`...), l.Value)
		b = append(b, '"')
		separator = ','
	}
	return append(b, "} 1\n"...)
}

// appendValue writes a value so that it is read back as it is. Whole numbers and times are written without an exponent:
// that is quicker, and people can read it.
func appendValue(b []byte, v float64) []byte {
	size := math.Abs(v)
	switch {
	case v == math.Trunc(v) && size < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case size >= 1e-6 && size < 1e16:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64) // -Inf and NaN as Prometheus writes them
}

// appendEscaped writes the value of a label.
func appendEscaped(b []byte, s string) []byte {
	if !strings.ContainsAny(s, "\\\"\n") {
		return append(b, s...)
	}
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}

// clean is s as any parser of the formats takes it: what is not UTF-8 is replaced, and so is NUL, at which Prometheus' lexer
// believes the input to end.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// bound reads back the value of the label le.
func bound(le string) float64 {
	v, err := strconv.ParseFloat(le, 64)
	if err != nil {
		return math.NaN() // core/metric writes numbers
	}
	return v
}
