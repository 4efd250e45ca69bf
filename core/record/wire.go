package record

import (
	"encoding/binary"
	"fmt"
)

func appendVarint(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader takes a payload apart; after its first failure every call returns zero values and end returns the error.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) fill(dst []byte) { copy(dst, r.take(uint64(len(dst)))) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) bytes() []byte {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.bad = true
		return nil
	}
	r.take(uint64(used))
	return r.take(n)
}

// end reports whether the payload was whole and nothing is left over.
func (r *reader) end() error {
	if r.bad {
		return fmt.Errorf("%w: payload ends early", ErrMalformed)
	}
	if len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes behind the payload", ErrMalformed, len(r.b))
	}
	return nil
}
