package promapi

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// jsonWriter writes JSON as it comes: an answer of many megabytes is never in memory whole.
type jsonWriter struct {
	b   []byte
	w   io.Writer
	err error

	stamps []stamp // of the points of a series, by their place: most series of an answer have the same
}

// stamp is an instant as it is written.
type stamp struct {
	at   int64 // ms
	text string
}

// flushAt is how much is gathered before it is written.
const flushAt = 64 << 10

func (j *jsonWriter) raw(s string) { j.b = append(j.b, s...) }

func (j *jsonWriter) comma(i int) {
	if i > 0 {
		j.b = append(j.b, ',')
	}
}

// breathe writes what is gathered once that is much.
func (j *jsonWriter) breathe() {
	if len(j.b) >= flushAt {
		j.flush()
	}
}

func (j *jsonWriter) flush() {
	if j.err == nil && len(j.b) > 0 {
		_, j.err = j.w.Write(j.b)
	}
	j.b = j.b[:0]
}

// any writes small things of a shape of their own.
func (j *jsonWriter) any(v any) {
	b, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = err
	}
	j.b = append(j.b, b...)
}

func (j *jsonWriter) string(s string) { j.b = appendString(j.b, s) }

func (j *jsonWriter) strings(list []string) {
	j.raw("[")
	for i, s := range list {
		j.comma(i)
		j.string(s)
		j.breathe()
	}
	j.raw("]")
}

func (j *jsonWriter) labels(ls labels.Labels) {
	j.raw("{")
	i := 0
	ls.Range(func(l labels.Label) {
		j.comma(i)
		j.string(l.Name)
		j.raw(":")
		j.string(l.Value)
		i++
	})
	j.raw("}")
}

func (j *jsonWriter) labelSets(list []labels.Labels) {
	j.raw("[")
	for i, ls := range list {
		j.comma(i)
		j.labels(ls)
		j.breathe()
	}
	j.raw("]")
}

// value writes the result of a query.
func (j *jsonWriter) value(v parser.Value) {
	switch v := v.(type) {
	case promql.Matrix:
		j.matrix(v)
	case promql.Vector:
		j.vector(v)
	case promql.Scalar:
		j.b = appendPoint(j.b, v.T, v.V)
	case promql.String:
		j.raw("[")
		j.b = appendMillis(j.b, v.T)
		j.raw(",")
		j.string(v.V)
		j.raw("]")
	default:
		j.raw("null")
	}
}

func (j *jsonWriter) vector(v promql.Vector) {
	j.raw("[")
	for i := range v {
		s := &v[i]
		j.comma(i)
		j.raw(`{"metric":`)
		j.labels(s.Metric)
		if s.H == nil {
			j.raw(`,"value":`)
			j.b = appendPoint(j.b, s.T, s.F)
		} else {
			j.raw(`,"histogram":`)
			j.histogram(s.T, s.H)
		}
		j.raw("}")
		j.breathe()
	}
	j.raw("]")
}

func (j *jsonWriter) matrix(m promql.Matrix) {
	j.raw("[")
	for i := range m {
		s := &m[i]
		j.comma(i)
		j.raw(`{"metric":`)
		j.labels(s.Metric)
		if len(s.Floats) > 0 {
			j.raw(`,"values":[`)
			j.points(s.Floats)
			j.raw("]")
		}
		if len(s.Histograms) > 0 {
			j.raw(`,"histograms":[`)
			for k, p := range s.Histograms {
				j.comma(k)
				j.histogram(p.T, p.H)
				j.breathe()
			}
			j.raw("]")
		}
		j.raw("}")
	}
	j.raw("]")
}

// points writes floats. Most are worth what the one before was, so its digits are used again.
func (j *jsonWriter) points(list []promql.FPoint) {
	var digits []byte
	var last uint64
	for i, p := range list {
		j.comma(i)
		j.b = append(j.b, '[')
		j.stamp(i, p.T)
		if bits := math.Float64bits(p.F); digits == nil || bits != last {
			last = bits
			digits = append(digits[:0], ',', '"')
			digits = appendFloat(digits, p.F)
			digits = append(digits, '"', ']')
		}
		j.b = append(j.b, digits...)
		j.breathe()
	}
}

// stamp writes when the i-th point of a series was.
func (j *jsonWriter) stamp(i int, at int64) {
	if i < len(j.stamps) && j.stamps[i].at == at {
		j.raw(j.stamps[i].text)
		return
	}
	from := len(j.b)
	j.b = appendMillis(j.b, at)
	if i == len(j.stamps) && i < maxSteps {
		j.stamps = append(j.stamps, stamp{at: at, text: string(j.b[from:])})
	}
}

func (j *jsonWriter) histogram(t int64, h *histogram.FloatHistogram) {
	b := append(j.b, '[')
	b = appendMillis(b, t)
	b = append(b, `,{"count":"`...)
	b = appendFloat(b, h.Count)
	b = append(b, `","sum":"`...)
	b = appendFloat(b, h.Sum)
	b = append(b, '"')
	first := true
	for it := h.AllBucketIterator(); it.Next(); {
		k := it.At()
		if k.Count == 0 {
			continue
		}
		if first {
			b = append(b, `,"buckets":[`...)
		} else {
			b = append(b, ',')
		}
		first = false
		b = append(b, '[', bounds(k.LowerInclusive, k.UpperInclusive), ',', '"')
		b = appendFloat(b, k.Lower)
		b = append(b, '"', ',', '"')
		b = appendFloat(b, k.Upper)
		b = append(b, '"', ',', '"')
		b = appendFloat(b, k.Count)
		b = append(b, '"', ']')
	}
	if !first {
		b = append(b, ']')
	}
	j.b = append(b, '}', ']')
}

// bounds is Prometheus' digit for which ends of a bucket belong to it.
func bounds(lower, upper bool) byte {
	switch {
	case lower && upper:
		return '3'
	case lower:
		return '1'
	case upper:
		return '0'
	}
	return '2'
}

func appendPoint(b []byte, t int64, f float64) []byte {
	b = appendMillis(append(b, '['), t)
	b = appendFloat(append(b, ',', '"'), f)
	return append(b, '"', ']')
}

// appendMillis writes milliseconds as seconds, with a fraction where there is one.
func appendMillis(b []byte, t int64) []byte {
	if t < 0 {
		b, t = append(b, '-'), -t
	}
	b = strconv.AppendInt(b, t/1000, 10)
	if f := t % 1000; f != 0 {
		b = append(b, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
	}
	return b
}

// appendFloat writes a value with the fewest digits that tell it from others, NaN and infinities as Go does.
func appendFloat(b []byte, f float64) []byte {
	const exact = 1 << 53 // whole numbers below have no exponent, and their digits are quickly written
	if f == math.Trunc(f) && f < exact && f > -exact && (f != 0 || !math.Signbit(f)) {
		return strconv.AppendInt(b, int64(f), 10)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

// appendString writes a string; bytes that are no UTF-8 become the replacement character.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(append(b, s[from:i]...), "\ufffd"...)
			i++
			from = i
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}
