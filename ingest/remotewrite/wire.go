package remotewrite

import (
	"encoding/binary"
	"errors"
	"math"
)

// errWire says that bytes are not a protobuf message, or not of the schema.
var errWire = errors.New("not a protobuf message of the type that Content-Type says")

// The wire types of protobuf.
const (
	kindVarint  = 0
	kindFixed64 = 1
	kindBytes   = 2
	kindFixed32 = 5
)

// wire reads a protobuf message field by field. Strings are cut out of s: nothing is copied. After its first failure bad is set
// and next returns false.
type wire struct {
	s   string
	bad bool
}

// next reads the next field's number and wire type; false at the end.
func (w *wire) next() (field uint64, kind uint8, ok bool) {
	if w.bad || w.s == "" {
		return 0, 0, false
	}
	key := w.varint()
	field, kind = key>>3, uint8(key&7)
	if field == 0 || field > 1<<29-1 {
		w.bad = true
	}
	return field, kind, !w.bad
}

func (w *wire) varint() uint64 {
	if len(w.s) > 0 && w.s[0] < 0x80 {
		v := uint64(w.s[0])
		w.s = w.s[1:]
		return v
	}
	var v uint64
	for i := 0; i < len(w.s) && i < binary.MaxVarintLen64; i++ {
		b := w.s[i]
		if i == binary.MaxVarintLen64-1 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			w.s = w.s[i+1:]
			return v
		}
	}
	w.bad, w.s = true, ""
	return 0
}

func (w *wire) double() float64 {
	if len(w.s) < 8 {
		w.bad, w.s = true, ""
		return 0
	}
	s := w.s[:8]
	w.s = w.s[8:]
	return math.Float64frombits(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56)
}

func (w *wire) bytes() string {
	n := w.varint()
	if n > uint64(len(w.s)) {
		w.bad, w.s = true, ""
		return ""
	}
	s := w.s[:n]
	w.s = w.s[n:]
	return s
}

// is notes a failure where a known field has not the wire type of the schema.
func (w *wire) is(kind, want uint8) bool {
	if kind != want {
		w.bad, w.s = true, ""
	}
	return !w.bad
}

// skip passes over a field that is not known.
func (w *wire) skip(kind uint8) {
	n := 0
	switch kind {
	case kindVarint:
		w.varint()
	case kindBytes:
		w.bytes()
	case kindFixed64:
		n = 8
	case kindFixed32:
		n = 4
	default: // groups, which no schema of ours has
		w.bad = true
	}
	if n > len(w.s) {
		w.bad, n = true, len(w.s)
	}
	w.s = w.s[n:]
}
