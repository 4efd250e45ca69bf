package record

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Marker is an appender's word that it could receive pings for this partition without a break from Since to At. It keeps
// the partition's watermark moving without traffic, and a time that no marker covers is a gap.
type Marker struct {
	At    time.Time // the header's
	Since time.Time
	// Closing says that nothing follows from this appender.
	Closing bool
	// Exclusive says that every earlier appender of the partition has ended for certain (the local log's file lock).
	Exclusive bool
}

const (
	flagClosing   = 1
	flagExclusive = 2
)

// AppendMarker appends m as an unstamped record.
func AppendMarker(dst []byte, m Marker) []byte {
	dst = appendHeader(dst, TypeMarker)
	dst = appendVarint(dst, m.Since.UnixMicro())
	var f byte
	if m.Closing {
		f |= flagClosing
	}
	if m.Exclusive {
		f |= flagExclusive
	}
	return append(dst, f)
}

// ParseMarker decodes a record of type TypeMarker.
func ParseMarker(rec []byte) (Marker, error) {
	h, err := ParseHeader(rec)
	if err != nil {
		return Marker{}, err
	}
	if h.Type != TypeMarker {
		return Marker{}, fmt.Errorf("%w: type %d is not a marker", ErrMalformed, h.Type)
	}
	r := reader{b: rec[HeaderLen:]}
	m := Marker{At: h.At, Since: time.UnixMicro(r.varint()).UTC()}
	f := r.byte()
	m.Closing, m.Exclusive = f&flagClosing != 0, f&flagExclusive != 0
	return m, r.end()
}

// Action is what a control record asks of the evaluator.
type Action uint8

// The actions of a control record.
const (
	Configure       Action = 1 // Config holds the whole configuration; makes the monitor where it is unknown
	Pause           Action = 2
	Resume          Action = 3
	Delete          Action = 4
	ResolveIncident Action = 5 // Config holds the incident's id (16 bytes)
)

// Control is a change to a monitor, in order with its pings.
type Control struct {
	At      time.Time // the header's
	Org     tenant.OrgID
	Monitor uuid.UUID
	Action  Action
	// Version rises with every control record of the monitor. One that is not greater than the last applied is a
	// repetition and is ignored.
	Version int64
	Config  []byte // JSON of monitor.Config, or what Action says
}

// AppendControl appends c as an unstamped record.
func AppendControl(dst []byte, c *Control) []byte {
	dst = appendHeader(dst, TypeControl)
	dst = append(dst, c.Org.UUID[:]...)
	dst = append(dst, c.Monitor[:]...)
	dst = append(dst, byte(c.Action))
	dst = appendVarint(dst, c.Version)
	return appendBytes(dst, c.Config)
}

// ParseControl decodes a record of type TypeControl. Config shares memory with rec.
func ParseControl(rec []byte) (Control, error) {
	h, err := ParseHeader(rec)
	if err != nil {
		return Control{}, err
	}
	if h.Type != TypeControl {
		return Control{}, fmt.Errorf("%w: type %d is not a control record", ErrMalformed, h.Type)
	}
	r := reader{b: rec[HeaderLen:]}
	c := Control{At: h.At}
	r.fill(c.Org.UUID[:])
	r.fill(c.Monitor[:])
	c.Action = Action(r.byte())
	c.Version = r.varint()
	c.Config = r.bytes()
	if err := r.end(); err != nil {
		return Control{}, err
	}
	if c.Action < Configure || c.Action > ResolveIncident {
		return Control{}, fmt.Errorf("%w: unknown action %d", ErrMalformed, c.Action)
	}
	return c, nil
}
