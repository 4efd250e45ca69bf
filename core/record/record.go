// Package record is the binary form of what stands in the logs: pings, markers and control records in one, samples in the other.
//
// A record is a fixed header followed by a payload. The header is stamped by the appender at the moment the record takes
// its place in the partition's queue, so that within one appender and partition times and sequence numbers never go
// backwards in log order; everything that judges time by the log rests on this.
//
//	byte  0      version (1)
//	byte  1      type
//	bytes 2-9    appender id, big endian: one per process start
//	bytes 10-17  sequence number of the appender in this partition, from 1: a record whose number is not greater than
//	             the last one seen of its appender is a producer's retry and counts for nothing
//	bytes 18-25  time of receipt, microseconds since 1970 UTC, big endian
//	bytes 26-    payload
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Type tells what a record's payload is.
type Type uint8

// The types of a record.
const (
	TypePing    Type = 1
	TypeMarker  Type = 2
	TypeControl Type = 3
	TypeSamples Type = 4
)

// Version is the version of the header and payloads written by this package.
const Version = 1

// HeaderLen is the length of the header in bytes.
const HeaderLen = 26

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed record")

// ErrVersion says that a record was written by a newer program: it must not be passed over, but read by one that knows it.
var ErrVersion = errors.New("record of another version")

// Header is what every record begins with.
type Header struct {
	Type     Type
	Appender uint64
	Seq      uint64
	At       time.Time // UTC, microseconds
}

// Entry is a record with its place in a partition.
type Entry struct {
	Offset int64
	Value  []byte // header and payload; valid until the handler of the batch returns
}

// Partition says which of n partitions holds a monitor's records. FNV-1a over the id, so that it is the same in every
// process and for every log.
func Partition(monitor uuid.UUID, n int) int {
	return int(Hash(monitor) % uint32(n))
}

// Hash is the 31-bit hash of which Partition takes the remainder; it is stored beside the monitor's state.
func Hash(monitor uuid.UUID) uint32 {
	h := uint32(2166136261)
	for _, b := range monitor {
		h = (h ^ uint32(b)) * 16777619
	}
	return h & 0x7fffffff
}

// Stamp writes appender, sequence number and time into the header at the front of rec, which an Append function of this
// package made.
func Stamp(rec []byte, appender, seq uint64, at time.Time) {
	binary.BigEndian.PutUint64(rec[2:], appender)
	binary.BigEndian.PutUint64(rec[10:], seq)
	binary.BigEndian.PutUint64(rec[18:], uint64(at.UnixMicro()))
}

// appendHeader appends an unstamped header.
func appendHeader(dst []byte, t Type) []byte {
	var h [HeaderLen]byte
	h[0], h[1] = Version, byte(t)
	return append(dst, h[:]...)
}

// ParseHeader reads the header of a record.
func ParseHeader(rec []byte) (Header, error) {
	if len(rec) < HeaderLen {
		return Header{}, fmt.Errorf("%w: %d bytes, a header has %d", ErrMalformed, len(rec), HeaderLen)
	}
	if rec[0] != Version {
		return Header{}, fmt.Errorf("%w: %w %d: this program reads %d", ErrMalformed, ErrVersion, rec[0], Version)
	}
	t := Type(rec[1])
	if t < TypePing || t > TypeSamples {
		return Header{}, fmt.Errorf("%w: unknown type %d", ErrMalformed, rec[1])
	}
	return Header{
		Type:     t,
		Appender: binary.BigEndian.Uint64(rec[2:]),
		Seq:      binary.BigEndian.Uint64(rec[10:]),
		At:       time.UnixMicro(int64(binary.BigEndian.Uint64(rec[18:]))).UTC(),
	}, nil
}
