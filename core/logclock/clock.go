// Package logclock reads the time off a partition of the log: which records are new, up to when everything has been seen,
// and when nothing could be received. It is a pure function of the records in their order, so every reader of a partition,
// and every replay, comes to the same.
package logclock

import (
	"time"

	"github.com/tokiflow/tokiflow/core/record"
)

// DeadAfter is how far the others may go on after an appender's last record before it is taken for dead and no longer holds
// the watermark back. It is measured by their progress, not by their clocks' readings: an appender whose clock is an hour
// ahead makes nobody dead. It is twice the appender's longest delay between stamping a record and giving up on it
// (infra/eventlog, AppendTimeout), so that what a living appender has answered is always waited for.
const DeadAfter = 10 * time.Second

// Gap is a time in which no appender could receive pings for the partition: From ≤ t < To.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Clock is the time of one partition. The zero value is that of an empty log. Its JSON is stored beside the offset it
// belongs to. Not safe for concurrent use.
type Clock struct {
	Appenders map[uint64]*Appender `json:"appenders,omitempty"`
	// Read is the watermark: every record stamped before it has been observed. It never goes back.
	Read time.Time `json:"read,omitzero"`
	// Covered is the time up to which it is known whether pings could be received.
	Covered time.Time `json:"covered,omitzero"`
	// Claims are what markers say beyond Covered: times in which some appender could receive, in order and apart.
	Claims []Claim `json:"claims,omitempty"`

	// Lost says that records behind the last one observed are missing; Floor is the stamp of the first one after them: no
	// claim reaches behind it.
	Lost  bool      `json:"lost,omitempty"`
	Floor time.Time `json:"floor,omitzero"`

	gaps []Gap
}

// Claim is a time in which pings could be received: From ≤ t ≤ To.
type Claim struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Appender is what is known of one process that writes to the partition.
type Appender struct {
	Seq uint64    `json:"seq"` // of its last record
	At  time.Time `json:"at"`  // stamp of its last record
	// Marked appenders have sent a marker: they take pings. The others only write changes of configuration, and nothing
	// of them is waited for.
	Marked bool `json:"marked,omitempty"`
	// Skew is what to add to its times to compare its progress with that of the others: when it joined it was level with
	// the one that was furthest.
	Skew time.Duration `json:"skew,omitempty"`
	// Ended appenders are remembered for a while so that a retry of their last records is known for one.
	Ended bool `json:"ended,omitempty"`
}

// Observe takes the next record in log order. fresh is false for a repetition, which must have no effect. A record that cannot
// be read is an error and leaves the clock as it was.
func (c *Clock) Observe(rec []byte) (h record.Header, fresh bool, err error) {
	h, err = record.ParseHeader(rec)
	if err != nil {
		return h, false, err
	}
	var m record.Marker
	if h.Type == record.TypeMarker {
		if m, err = record.ParseMarker(rec); err != nil {
			return h, false, err
		}
	}
	a := c.Appenders[h.Appender]
	if a == nil {
		if c.Appenders == nil {
			c.Appenders = map[uint64]*Appender{}
		}
		a = &Appender{At: h.At}
		if furthest := c.furthest(); !furthest.IsZero() {
			a.Skew = furthest.Sub(h.At)
		}
		c.Appenders[h.Appender] = a
	}
	if h.Seq <= a.Seq {
		return h, false, nil
	}
	a.Seq, a.At = h.Seq, later(a.At, h.At)
	if c.Lost {
		c.Lost, c.Floor, c.Claims = false, later(h.At, c.Judged()), nil
	}
	if h.Type == record.TypeMarker {
		c.mark(a, m)
	}
	c.advance()
	return h, true, nil
}

// Judged is the time up to which deadlines may be judged: every ping received before it has been observed, and it is known
// which of that time was a gap.
func (c *Clock) Judged() time.Time {
	if c.Covered.Before(c.Read) {
		return c.Covered
	}
	return c.Read
}

// TakeGaps returns the gaps found since the last call, in order. Each lies wholly before Judged.
func (c *Clock) TakeGaps() []Gap {
	g := c.gaps
	c.gaps = nil
	return g
}

func (c *Clock) mark(a *Appender, m record.Marker) {
	if m.Exclusive {
		for _, other := range c.Appenders {
			other.Ended = true
		}
	}
	a.Marked, a.Ended = true, m.Closing
	m.Since = later(m.Since, c.Floor)
	if c.Covered.IsZero() {
		c.Covered = m.Since
	}
	c.claim(Claim{From: m.Since, To: later(m.Since, m.At)})
}

// claim adds to the claims, joining those that touch.
func (c *Clock) claim(n Claim) {
	claims := make([]Claim, 0, len(c.Claims)+1)
	for _, old := range c.Claims {
		switch {
		case old.To.Before(n.From):
			claims = append(claims, old)
		case n.To.Before(old.From):
			claims = append(claims, n)
			n = old
		default:
			n = Claim{From: earlier(n.From, old.From), To: later(n.To, old.To)}
		}
	}
	c.Claims = append(claims, n)
	c.cover()
}

// advance moves the watermark to the oldest last record of the living appenders, forgets the dead, and closes every hole in
// the claims that the watermark has passed: none of the living can still fill it.
func (c *Clock) advance() {
	furthest := c.furthest()
	var oldest time.Time
	for id, a := range c.Appenders {
		if furthest.Sub(a.At.Add(a.Skew)) > DeadAfter {
			delete(c.Appenders, id)
			continue
		}
		if !a.Ended && a.Marked && (oldest.IsZero() || a.At.Before(oldest)) {
			oldest = a.At
		}
	}
	c.Read = later(c.Read, oldest)
	for c.Covered.Before(c.Read) && len(c.Claims) > 0 && !c.Claims[0].From.After(c.Read) {
		c.gaps = append(c.gaps, Gap{From: c.Covered, To: c.Claims[0].From})
		c.Covered = c.Claims[0].From
		c.cover()
	}
}

// furthest is the progress of the appender that is furthest, in the times of the first.
func (c *Clock) furthest() time.Time {
	var t time.Time
	for _, a := range c.Appenders {
		t = later(t, a.At.Add(a.Skew))
	}
	return t
}

// cover extends Covered by the claims that join on to it.
func (c *Clock) cover() {
	for len(c.Claims) > 0 && !c.Claims[0].From.After(c.Covered) {
		c.Covered = later(c.Covered, c.Claims[0].To)
		c.Claims = c.Claims[1:]
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
