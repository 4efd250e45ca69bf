package disklog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tokiflow/tokiflow/core/record"
)

// An entry is what one append writes: a batch of records.
//
//	bytes 0-7    magic
//	bytes 8-11   CRC-32C of all that follows, begun with the partition's seed, little endian like the rest
//	bytes 12-15  length of all that follows
//	bytes 16-23  offset of the first record
//	bytes 24-27  number of records
//	bytes 28-    each record: uvarint length, bytes
//
// The write-ahead log's own checksum is looked at only for the last batch and only on opening; this one is checked at
// every read. Its seed differs from log to log and partition to partition, so that neither a segment of another log nor
// an entry forged inside a ping's body can pass for ours.
const (
	entryMagic  = "\x89tkflog\x01"
	entryHeader = 28
	// maxEntry bounds an append; the segment format itself ends at 64 MiB.
	maxEntry = 48 << 20
)

// errDamaged says that bytes are not an entry of this partition.
var errDamaged = errors.New("damaged entry")

// seed makes the start value of a partition's checksums.
func seed(logID string, partition int) uint32 {
	return crc32.Checksum(fmt.Appendf(nil, "%s/%d", logID, partition), castagnoli())
}

// castagnoli is the table of CRC-32C, which crc32 keeps and computes with the processor's instruction.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendEntry appends the entry of values to dst.
func appendEntry(dst []byte, seed uint32, base int64, values [][]byte) []byte {
	start := len(dst)
	dst = append(dst, entryMagic...)
	dst = append(dst, make([]byte, entryHeader-len(entryMagic))...)
	for _, v := range values {
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	e := dst[start:]
	binary.LittleEndian.PutUint32(e[12:], uint32(len(e)-16))
	binary.LittleEndian.PutUint64(e[16:], uint64(base))
	binary.LittleEndian.PutUint32(e[24:], uint32(len(values)))
	binary.LittleEndian.PutUint32(e[8:], crc32.Update(seed, castagnoli(), e[12:]))
	return dst
}

// entryHead is what an entry says of itself.
type entryHead struct {
	base  int64
	count int64
	size  int // bytes of the whole entry
}

// parseHead checks the entry at the front of b, which may be longer, as a whole.
func parseHead(b []byte, seed uint32) (entryHead, error) {
	if len(b) < entryHeader || string(b[:8]) != entryMagic {
		return entryHead{}, errDamaged
	}
	size := int64(binary.LittleEndian.Uint32(b[12:])) + 16
	if size < entryHeader || size > int64(len(b)) {
		return entryHead{}, errDamaged
	}
	if crc32.Update(seed, castagnoli(), b[12:size]) != binary.LittleEndian.Uint32(b[8:]) {
		return entryHead{}, errDamaged
	}
	h := entryHead{
		base:  int64(binary.LittleEndian.Uint64(b[16:])),
		count: int64(binary.LittleEndian.Uint32(b[24:])),
		size:  int(size),
	}
	if h.base < 0 || h.count == 0 || h.count > size {
		return entryHead{}, errDamaged
	}
	return h, nil
}

// parseEntry appends the records of the entry b to recs. Their values share memory with b.
func parseEntry(recs []record.Entry, b []byte, seed uint32) ([]record.Entry, error) {
	h, err := parseHead(b, seed)
	if err != nil {
		return recs, err
	}
	if h.size != len(b) {
		return recs, errDamaged
	}
	b = b[entryHeader:]
	for i := range h.count {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return recs, errDamaged
		}
		end := used + int(n)
		recs = append(recs, record.Entry{Offset: h.base + i, Value: b[used:end:end]})
		b = b[end:]
	}
	if len(b) > 0 {
		return recs, errDamaged
	}
	return recs, nil
}
