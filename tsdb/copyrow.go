package tsdb

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
)

// copyPings is the statement for which copyRows holds the data.
const copyPings = `copy pings (received_at, org_id, monitor_id, id, kind, exit_code, duration_seconds, rid, body_size,
	remote_addr, user_agent, method, body) from stdin (format binary)`

const pingColumns = 13

// copyRows are rows of pings in PostgreSQL's binary COPY format, made in place: a value costs its bytes and no allocation.
// https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
type copyRows struct {
	buf  []byte
	rows int
}

// begin empties the rows, keeping their memory unless it has grown out of proportion.
func (c *copyRows) begin() {
	const keep = 32 << 20
	if cap(c.buf) > keep {
		c.buf = nil
	}
	c.buf = append(c.buf[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	c.rows = 0
}

// end closes the format and returns it. More rows may follow after begin only.
func (c *copyRows) end() []byte {
	c.buf = append(c.buf, 0xff, 0xff)
	return c.buf
}

// add appends one ping.
func (c *copyRows) add(p *record.Ping) {
	c.rows++
	c.buf = binary.BigEndian.AppendUint16(c.buf, pingColumns)
	c.time(p.At)
	c.uuid(p.Org.UUID)
	c.uuid(p.Monitor)
	c.uuid(p.ID)
	c.int16(int16(p.Kind))
	if p.ExitCode == record.NoExitCode {
		c.null()
	} else {
		c.int16(p.ExitCode)
	}
	if p.Duration < 0 {
		c.null()
	} else {
		c.float(p.Duration.Seconds())
	}
	if p.RID == uuid.Nil {
		c.null()
	} else {
		c.uuid(p.RID)
	}
	c.int64(p.BodySize)
	c.text(p.RemoteAddr)
	c.text(p.UserAgent)
	c.text(p.Method)
	if len(p.Body) == 0 {
		c.null()
	} else {
		c.length(len(p.Body))
		c.buf = append(c.buf, p.Body...)
	}
}

func (c *copyRows) length(n int) { c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(n)) }

func (c *copyRows) null() { c.buf = binary.BigEndian.AppendUint32(c.buf, math.MaxUint32) }

func (c *copyRows) int16(v int16) {
	c.length(2)
	c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(v))
}

func (c *copyRows) int64(v int64) {
	c.length(8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(v))
}

func (c *copyRows) float(v float64) {
	c.length(8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, math.Float64bits(v))
}

func (c *copyRows) uuid(id uuid.UUID) {
	c.length(len(id))
	c.buf = append(c.buf, id[:]...)
}

// postgresEpoch is 2000-01-01 00:00 UTC in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000

func (c *copyRows) time(t time.Time) { c.int64(t.UnixMicro() - postgresEpoch) }

// text appends s as PostgreSQL can hold it: a byte 0 or one that is not UTF-8 would make it refuse the whole batch, for
// ever.
func (c *copyRows) text(s string) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	c.length(len(s))
	c.buf = append(c.buf, s...)
}

// storable reports whether PostgreSQL's timestamps, and a sane partition of time, can hold t.
func storable(t time.Time) bool {
	y := t.Year()
	return y >= 2000 && y < 10000
}
