// Package pgcopy makes rows in PostgreSQL's binary COPY format in place: a value costs its bytes and no allocation.
// https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
package pgcopy

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Rows are rows of one table. Begin comes first; then Row for each row, and a call for each of its columns; then End. Not safe
// for concurrent use.
type Rows struct {
	buf  []byte
	rows int
}

// Begin empties the rows, keeping their memory unless it has grown out of proportion.
func (r *Rows) Begin() {
	const keep = 32 << 20
	if cap(r.buf) > keep {
		r.buf = nil
	}
	r.buf = append(r.buf[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	r.rows = 0
}

// End closes the format and returns it. More rows may follow after Begin only.
func (r *Rows) End() []byte {
	r.buf = append(r.buf, 0xff, 0xff)
	return r.buf
}

// Len is the number of rows.
func (r *Rows) Len() int { return r.rows }

// Size is the number of bytes.
func (r *Rows) Size() int { return len(r.buf) }

// Row begins a row of that many columns.
func (r *Rows) Row(columns uint16) {
	r.rows++
	r.buf = binary.BigEndian.AppendUint16(r.buf, columns)
}

func (r *Rows) length(n int) { r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(n)) }

// Null appends a null of any type.
func (r *Rows) Null() { r.buf = binary.BigEndian.AppendUint32(r.buf, math.MaxUint32) }

// Int16 appends a smallint.
func (r *Rows) Int16(v int16) {
	r.length(2)
	r.buf = binary.BigEndian.AppendUint16(r.buf, uint16(v))
}

// Int64 appends a bigint.
func (r *Rows) Int64(v int64) {
	r.length(8)
	r.buf = binary.BigEndian.AppendUint64(r.buf, uint64(v))
}

// Float appends a double precision and keeps the bits of a NaN.
func (r *Rows) Float(v float64) {
	r.length(8)
	r.buf = binary.BigEndian.AppendUint64(r.buf, math.Float64bits(v))
}

// UUID appends a uuid.
func (r *Rows) UUID(id uuid.UUID) {
	r.length(len(id))
	r.buf = append(r.buf, id[:]...)
}

// Epoch is 2000-01-01 00:00 UTC in microseconds since 1970: from there PostgreSQL counts a timestamptz.
const Epoch = 946_684_800_000_000

// Time appends a timestamptz; what is finer than a microsecond is cut off.
func (r *Rows) Time(t time.Time) { r.Int64(t.UnixMicro() - Epoch) }

// Millis appends a timestamptz given in milliseconds since 1970.
func (r *Rows) Millis(ms int64) { r.Int64(ms*1000 - Epoch) }

// Bytes appends a bytea.
func (r *Rows) Bytes(b []byte) {
	r.length(len(b))
	r.buf = append(r.buf, b...)
}

// Text appends a text, made Storable.
func (r *Rows) Text(s string) {
	s = Storable(s)
	r.length(len(s))
	r.buf = append(r.buf, s...)
}

// Storable is s as PostgreSQL can hold it: a byte 0 or one that is not UTF-8 would make it refuse the whole batch, for ever.
// What it cannot hold becomes U+FFFD.
func Storable(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
