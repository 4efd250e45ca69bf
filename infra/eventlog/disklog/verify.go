package disklog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// corrupt adds the file and what to do where err says that its content is wrong.
func corrupt(path string, err error) error {
	if errors.Is(err, errDamaged) || errors.Is(err, types.ErrCorrupt) {
		return fmt.Errorf("%w: %s: %w; take the file from a backup, or move the log's whole folder away to begin an empty one "+
			"(what its consumers have not read is lost then)", ErrCorrupt, path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// verifyTail compares what the segment library recovered of the unsealed file with what the file's bytes prove to have
// been there. The library takes the first broken frame for the torn end of the last write, cuts there and writes over
// the rest. That is right for a torn write, of which nothing follows; after damage in the middle it would drop answered
// pings without a word. Every entry carries its offset and a checksum, so the two can be told apart: behind a torn write
// stands no later entry.
//
// base is the offset the first entry must have, -1 where nothing is before it. next is the offset behind the last entry
// that counts.
func (c *chain) verifyTail(seed uint32, base int64) (next int64, err error) {
	path := filepath.Join(c.dir, segment.FileName(c.tailInfo))
	data, err := os.ReadFile(path) //nolint:gosec // a path of our own making
	if err != nil {
		return 0, err
	}
	counted := uint64(0) // entries the library recovered
	if last := c.tail.LastIndex(); last > 0 {
		counted = last - c.tailInfo.BaseIndex + 1
	}
	next = base
	expected := base // of any entry, counted or not
	found := uint64(0)
	for pos := 0; ; {
		at := bytes.Index(data[pos:], []byte(entryMagic))
		if at < 0 {
			break
		}
		pos += at
		h, err := parseHead(data[pos:], seed)
		if err != nil {
			pos++
			continue
		}
		if expected >= 0 && h.base != expected {
			return 0, corrupt(path, fmt.Errorf("%w: the records from offset %d to %d are not readable", errDamaged, expected, h.base))
		}
		expected = h.base + h.count
		if found++; found <= counted {
			next = expected
			if !c.framed(data, c.tailInfo.BaseIndex+found-1, pos, h.size) {
				return 0, corrupt(path, fmt.Errorf("%w: the frame of offset %d is not that of its entry", errDamaged, h.base))
			}
		}
		if found > counted+1 {
			return 0, corrupt(path, fmt.Errorf("%w: a frame before offset %d is not readable", errDamaged, h.base))
		}
		pos += h.size
	}
	if found < counted {
		return 0, corrupt(path, fmt.Errorf("%w: %d of %d entries are readable", errDamaged, found, counted))
	}
	return next, c.verifySeal(data, counted)
}

// verifySeal looks at the index that ends a full segment. The library takes a segment for sealed when it has seen the
// frame of an index, even if the write that held it was torn, and appends to it no more. Such a frame is cut off.
func (c *chain) verifySeal(data []byte, counted uint64) error {
	path := filepath.Join(c.dir, segment.FileName(c.tailInfo))
	for {
		sealed, start, err := c.tail.Sealed()
		if err != nil || !sealed || c.indexed(data, start, counted) {
			return err
		}
		if err := c.tail.Close(); err != nil {
			return err
		}
		c.tail = nil
		data = data[:start-frameHeader]
		if err := truncate(path, int64(len(data))); err != nil {
			return err
		}
		if c.tail, err = c.filer.RecoverTail(c.tailInfo); err != nil {
			c.tail = nil
			return corrupt(path, err)
		}
		last := c.tail.LastIndex()
		if counted > 0 && last != c.tailInfo.BaseIndex+counted-1 || counted == 0 && last != 0 {
			return corrupt(path, fmt.Errorf("%w: %d entries before its torn end, and then up to %d", errDamaged, counted, last))
		}
	}
}

// indexed reports whether the index at start says of every entry where it is.
func (c *chain) indexed(data []byte, start, counted uint64) bool {
	if start > uint64(len(data)) || uint64(len(data))-start < 4*counted || start < frameHeader {
		return false
	}
	if data[start-frameHeader] != segment.FrameIndex || uint64(binary.LittleEndian.Uint32(data[start-4:])) != 4*counted {
		return false
	}
	for i := range counted {
		at, err := c.offsetOf(c.tailInfo.BaseIndex + i)
		if err != nil || binary.LittleEndian.Uint32(data[start+4*i:]) != at {
			return false
		}
	}
	return true
}

// frameHeader is the length of what the library puts before everything: type, three bytes of nothing, length.
const frameHeader = 8

// framed reports whether the library has found the entry at pos where it is, and as long as it is.
func (c *chain) framed(data []byte, index uint64, pos, size int) bool {
	at, err := c.offsetOf(index)
	return err == nil && int(at) == pos-frameHeader && int(binary.LittleEndian.Uint32(data[pos-4:])) == size
}

// offsetOf returns where in the unsealed file the library has an entry's frame.
func (c *chain) offsetOf(index uint64) (uint32, error) {
	w, ok := c.tail.(*segment.Writer)
	if !ok {
		return 0, fmt.Errorf("a tail of type %T", c.tail)
	}
	return w.OffsetForFrame(index)
}
