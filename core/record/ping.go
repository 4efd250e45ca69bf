package record

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// PingKind is what a ping says.
type PingKind uint8

// The kinds of a ping. An exit status is Success (0) or Fail (else) with ExitCode set.
const (
	Success PingKind = 1
	Start   PingKind = 2
	Fail    PingKind = 3
	Log     PingKind = 4
)

// String is the kind's name in the API and the database.
func (k PingKind) String() string {
	switch k {
	case Success:
		return "success"
	case Start:
		return "start"
	case Fail:
		return "fail"
	case Log:
		return "log"
	}
	return fmt.Sprintf("PingKind(%d)", uint8(k))
}

// ParsePingKind is the inverse of String.
func ParsePingKind(s string) (PingKind, bool) {
	for k := Success; k <= Log; k++ {
		if k.String() == s {
			return k, true
		}
	}
	return 0, false
}

// NoExitCode stands in ExitCode where the ping carried none.
const NoExitCode = int16(-1)

// NoDuration stands in Duration where the ping carried none.
const NoDuration = time.Duration(-1)

// Ping is one received request.
type Ping struct {
	ID         uuid.UUID // UUIDv7, made at receipt
	Org        tenant.OrgID
	Monitor    uuid.UUID
	At         time.Time     // time of receipt: the header's
	Kind       PingKind      //
	RID        uuid.UUID     // run id given by the client; uuid.Nil: none
	ExitCode   int16         // 0 to 255; NoExitCode: none
	Duration   time.Duration // given by the client, microseconds kept; NoDuration: none
	RemoteAddr string        // IP address without port
	UserAgent  string
	Method     string // HTTP method
	BodySize   int64  // bytes the client sent, before the limit and redaction
	Body       []byte // what is kept of them, redacted
}

// AppendPing appends p as an unstamped record. At is not written: Stamp sets it.
func AppendPing(dst []byte, p *Ping) []byte {
	dst = appendHeader(dst, TypePing)
	dst = append(dst, p.ID[:]...)
	dst = append(dst, p.Org.UUID[:]...)
	dst = append(dst, p.Monitor[:]...)
	dst = append(dst, byte(p.Kind))
	dst = append(dst, p.RID[:]...)
	dst = appendVarint(dst, int64(p.ExitCode))
	d := int64(-1)
	if p.Duration >= 0 {
		d = p.Duration.Microseconds()
	}
	dst = appendVarint(dst, d)
	dst = appendString(dst, p.RemoteAddr)
	dst = appendString(dst, p.UserAgent)
	dst = appendString(dst, p.Method)
	dst = appendVarint(dst, p.BodySize)
	return appendBytes(dst, p.Body)
}

// ParsePing decodes a record of type TypePing. Body shares memory with rec.
func ParsePing(rec []byte) (Ping, error) {
	h, err := ParseHeader(rec)
	if err != nil {
		return Ping{}, err
	}
	if h.Type != TypePing {
		return Ping{}, fmt.Errorf("%w: type %d is not a ping", ErrMalformed, h.Type)
	}
	r := reader{b: rec[HeaderLen:]}
	p := Ping{At: h.At}
	r.fill(p.ID[:])
	r.fill(p.Org.UUID[:])
	r.fill(p.Monitor[:])
	p.Kind = PingKind(r.byte())
	r.fill(p.RID[:])
	exit := r.varint()
	micros := r.varint()
	p.RemoteAddr = string(r.bytes())
	p.UserAgent = string(r.bytes())
	p.Method = string(r.bytes())
	p.BodySize = r.varint()
	p.Body = r.bytes()
	if err := r.end(); err != nil {
		return Ping{}, err
	}
	if p.Kind < Success || p.Kind > Log {
		return Ping{}, fmt.Errorf("%w: unknown ping kind %d", ErrMalformed, p.Kind)
	}
	if exit < -1 || exit > 255 || p.BodySize < 0 || micros < -1 || micros > maxMicros {
		return Ping{}, fmt.Errorf("%w: exit status %d, body size %d, duration %d µs", ErrMalformed, exit, p.BodySize, micros)
	}
	p.ExitCode = int16(exit)
	p.Duration = NoDuration
	if micros >= 0 {
		p.Duration = time.Duration(micros) * time.Microsecond
	}
	return p, nil
}

const maxMicros = int64(1<<63-1) / 1000
