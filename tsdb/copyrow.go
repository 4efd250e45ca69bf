package tsdb

import (
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

// copyPings is the statement for which addPing makes the data.
const copyPings = `copy pings (received_at, org_id, monitor_id, id, kind, exit_code, duration_seconds, rid, body_size,
	remote_addr, user_agent, method, body) from stdin (format binary)`

const pingColumns = 13

// addPing appends one ping.
func addPing(c *pgcopy.Rows, p *record.Ping) {
	c.Row(pingColumns)
	c.Time(p.At)
	c.UUID(p.Org.UUID)
	c.UUID(p.Monitor)
	c.UUID(p.ID)
	c.Int16(int16(p.Kind))
	if p.ExitCode == record.NoExitCode {
		c.Null()
	} else {
		c.Int16(p.ExitCode)
	}
	if p.Duration < 0 {
		c.Null()
	} else {
		c.Float(p.Duration.Seconds())
	}
	if p.RID == uuid.Nil {
		c.Null()
	} else {
		c.UUID(p.RID)
	}
	c.Int64(p.BodySize)
	c.Text(p.RemoteAddr)
	c.Text(p.UserAgent)
	c.Text(p.Method)
	if len(p.Body) == 0 {
		c.Null()
	} else {
		c.Bytes(p.Body)
	}
}

// storable reports whether PostgreSQL's timestamps, and a sane partition of time, can hold t.
func storable(t time.Time) bool {
	y := t.Year()
	return y >= 2000 && y < 10000
}
