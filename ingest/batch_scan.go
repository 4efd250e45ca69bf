package ingest

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// scanFields reads a ping that is written plainly: one flat object of known fields, strings without escapes, plain
// numbers. That is what clients send, and it is many times faster than encoding/json, which takes the rest: for what is
// not plain, or not right, ok is false. A fuzz test holds the two against each other.
func scanFields(one []byte) (f plainFields, ok bool) {
	s := scanner{b: one}
	if !s.next('{') {
		return f, false
	}
	for first := true; !s.next('}'); first = false {
		if !first && !s.next(',') {
			return f, false
		}
		name, ok := s.text()
		if !ok || !s.next(':') || !s.field(&f, name) {
			return f, false
		}
	}
	s.blanks()
	return f, s.i == len(s.b)
}

// scanner is a place in a ping that is being read.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) blanks() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\r' || s.b[s.i] == '\n') {
		s.i++
	}
}

// next reads c, and blanks before it, if it is there.
func (s *scanner) next(c byte) bool {
	s.blanks()
	if s.i == len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

// text reads a string without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	end := bytes.IndexByte(s.b[s.i:], '"')
	if end < 0 {
		return nil, false
	}
	t := s.b[s.i : s.i+end]
	s.i += end + 1
	for _, c := range t {
		if c < ' ' || c == '\\' {
			return nil, false
		}
	}
	return t, utf8.Valid(t)
}

// number reads digits with at most one dot between them.
func (s *scanner) number() ([]byte, bool) {
	s.blanks()
	start, dot := s.i, -1
	for s.i < len(s.b) && (digit(s.b[s.i]) || s.b[s.i] == '.' && dot < 0) {
		if s.b[s.i] == '.' {
			dot = s.i
		}
		s.i++
	}
	n := s.b[start:s.i]
	whole := n
	if dot >= 0 {
		whole = s.b[start:dot]
	}
	// What JSON does not allow is left to encoding/json: nothing before or behind the dot, a leading zero.
	plain := len(whole) > 0 && (len(whole) == 1 || whole[0] != '0') && (dot < 0 || dot < s.i-1)
	return n, plain
}

// field reads the value of a field.
func (s *scanner) field(f *plainFields, name []byte) (ok bool) {
	switch string(name) {
	case "key":
		f.key.value, ok = s.text()
		f.key.given = true
	case "slug":
		f.slug.value, ok = s.text()
		f.slug.given = true
	case "kind":
		f.kind.value, ok = s.text()
		f.kind.given = true
	case "rid":
		f.rid.value, ok = s.text()
		f.rid.given = true
	case "body":
		f.body.value, ok = s.text()
		f.body.given = true
	case "exit_code":
		var n []byte
		if n, ok = s.number(); ok {
			var err error
			f.exit, err = strconv.Atoi(string(n))
			f.hasExit, ok = true, err == nil
		}
	case "duration":
		var n []byte
		if n, ok = s.number(); ok {
			var err error
			f.duration, err = strconv.ParseFloat(string(n), 64)
			f.hasDuration, ok = true, err == nil
		}
	}
	return ok
}
