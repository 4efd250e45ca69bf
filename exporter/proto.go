package exporter

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// The messages of client_model's metrics.proto, written by hand: field numbers and wire types are in the bytes below (number
// shifted left by three, or'ed with 0 for a varint, 1 for eight bytes, 2 for what has a length).
const (
	familyName, familyHelp, familyType, familyMetric, familyUnit = 0x0a, 0x12, 0x18, 0x22, 0x2a

	metricLabel, metricGauge, metricCounter, metricHistogram = 0x0a, 0x12, 0x1a, 0x3a

	pairName, pairValue = 0x0a, 0x12

	number = 0x09 // the value of a Gauge or Counter

	histogramCount, histogramSum, histogramBucket               = 0x08, 0x11, 0x1a
	histogramSchema, histogramZeroThreshold, histogramZero      = 0x28, 0x31, 0x38
	histogramSpan, histogramDelta                               = 0x62, 0x68
	bucketCount, bucketBound, spanOffset, spanLength            = 0x08, 0x11, 0x08, 0x10
	typeCounter, typeGauge, typeHistogram                  byte = 0, 1, 4
)

// zeroThreshold is the least there can be that still says "this is a native histogram": client_golang's.
const zeroThreshold = 0x1p-128

// protoHead is the fields of a MetricFamily above its metrics. Infos and state sets are gauges there.
func protoHead(name, help, unit string, t metric.Type) []byte {
	kind := typeGauge
	switch t {
	case metric.Counter:
		kind = typeCounter
	case metric.Histogram:
		kind = typeHistogram
	case metric.Gauge, metric.Info, metric.StateSet:
	}
	b := appendString(nil, familyName, name)
	b = append(appendString(b, familyHelp, help), familyType, kind)
	if unit != "" {
		b = appendString(b, familyUnit, unit)
	}
	return b
}

// appendProto writes a monitor's metrics of a family, as fields of its MetricFamily. n counts series as the text has them, so
// that a limit cuts the same monitors whatever the format. Values that move with time are 0, and holes takes where they stand.
func (f *family) appendProto(b []byte, e *entry, holes *[]hole) (out []byte, n int) {
	switch f.typ {
	case metric.Info:
		return appendInfoProto(b, e), 1
	case metric.Histogram:
		return f.appendHistogram(b, e)
	case metric.Gauge, metric.Counter, metric.StateSet:
	}
	kind := byte(metricGauge)
	if f.typ == metric.Counter {
		kind = metricCounter
	}
	for i := range f.series {
		s := &f.series[i]
		l, ok := s.of(&e.point)
		if !ok {
			continue
		}
		b = binary.AppendUvarint(append(b, familyMetric), uint64(len(e.pair)+len(s.pair)+11))
		b = append(append(b, e.pair[:]...), s.pair...)
		v, fixed := still(&l)
		b = appendDouble(append(b, kind, 9), number, v)
		if !fixed {
			*holes = append(*holes, hole{at: len(b) - 8, line: l})
		}
		n++
	}
	return b, n
}

// appendFilledProto writes what stands in fixed, with the values at now in its holes.
func appendFilledProto(b, fixed []byte, holes []hole, now time.Time) []byte {
	start := len(b)
	b = append(b, fixed...)
	for i := range holes {
		h := &holes[i]
		binary.LittleEndian.PutUint64(b[start+h.at:], math.Float64bits(h.line.Value(now)))
	}
	return b
}

func appendInfoProto(b []byte, e *entry) []byte {
	var m []byte
	for _, l := range e.labels {
		m = append(m, appendPair(nil, l.Name, l.Value)...)
	}
	m = appendDouble(append(m, metricGauge, 9), number, 1)
	return append(binary.AppendUvarint(append(b, familyMetric), uint64(len(m))), m...)
}

// appendHistogram writes the classic buckets and the native ones, both into one message. Nothing in it moves with time.
func (f *family) appendHistogram(b []byte, e *entry) (out []byte, n int) {
	h := make([]byte, 0, 512)
	for i := range f.series {
		s := &f.series[i]
		l, ok := s.of(&e.point)
		if !ok {
			continue
		}
		n++
		switch s.part {
		case count:
			h = binary.AppendUvarint(append(h, histogramCount), uint64(l.Value(l.At)))
		case sum:
			h = appendDouble(h, histogramSum, l.Value(l.At))
		case bucket:
			if math.IsInf(s.bound, 1) {
				continue // it is the count, and optional
			}
			c := uint64(l.Value(l.At))
			h = binary.AppendUvarint(append(h, histogramBucket), uint64(1+uvarintSize(c)+9))
			h = binary.AppendUvarint(append(h, bucketCount), c)
			h = appendDouble(h, bucketBound, s.bound)
		case plain:
		}
	}
	if n == 0 {
		return b, 0
	}
	var native monitor.Histogram
	if e.point.Totals != nil {
		native = e.point.Totals.Durations
	}
	h = appendNative(h, &native)
	b = binary.AppendUvarint(append(b, familyMetric), uint64(len(e.pair)+1+uvarintSize(uint64(len(h)))+len(h)))
	b = binary.AppendUvarint(append(append(b, e.pair[:]...), metricHistogram), uint64(len(h)))
	return append(b, h...), n
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// appendNative writes the native buckets: runs of buckets next to each other as spans, and each count as the difference from
// the one before.
func appendNative(b []byte, h *monitor.Histogram) []byte {
	b = binary.AppendVarint(append(b, histogramSchema), monitor.HistogramSchema)
	b = appendDouble(b, histogramZeroThreshold, zeroThreshold)
	b = binary.AppendUvarint(append(b, histogramZero), uint64(h.Zero))
	next := int32(0) // the index behind the last span
	for i := 0; i < len(h.Buckets); {
		j := i + 1
		for j < len(h.Buckets) && h.Buckets[j].Index == h.Buckets[j-1].Index+1 {
			j++
		}
		s := binary.AppendVarint([]byte{spanOffset}, int64(h.Buckets[i].Index-next))
		s = binary.AppendUvarint(append(s, spanLength), uint64(j-i))
		b = append(binary.AppendUvarint(append(b, histogramSpan), uint64(len(s))), s...)
		next = h.Buckets[j-1].Index + 1
		i = j
	}
	last := int64(0)
	for _, k := range h.Buckets {
		b = binary.AppendVarint(append(b, histogramDelta), k.Count-last)
		last = k.Count
	}
	return b
}

// appendPair writes a label as a field of a Metric.
func appendPair(b []byte, name, value string) []byte {
	p := appendString(appendString(nil, pairName, name), pairValue, value)
	return append(binary.AppendUvarint(append(b, metricLabel), uint64(len(p))), p...)
}

func appendString(b []byte, field byte, s string) []byte {
	return append(binary.AppendUvarint(append(b, field), uint64(len(s))), s...)
}

func appendDouble(b []byte, field byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, field), math.Float64bits(v))
}
