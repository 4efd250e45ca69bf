package disklog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// How much of a segment file a cursor reads at once: little at the end of the log, where there is little to come, and
// twice as much each time it goes on.
const (
	smallWindow = 16 << 10
	largeWindow = 256 << 10
)

// cursor reads one entry after the other. The segment library finds any single entry, at the price of a read of 64 KiB
// and four allocations each; a consumer wants them all, in order, and gets them from its own window over the file.
// Not safe for concurrent use.
type cursor struct {
	p     *partition
	index uint64 // the next entry

	f    types.ReadableFile // of the segment that holds it; nil: to be opened
	id   uint64             // of that segment
	max  uint64             // its last entry; frames behind it are those of an append that failed
	path string
	pos  int64  // in the file: of the next frame
	buf  []byte // a part of the file
	from int64  // where buf begins
	size int    // of the next part to be read
}

// place makes sure that the cursor stands in the segment that holds its entry. It must be called after an entry has
// become durable and before it is read: where an append failed, the entry's number may have come up before, in a segment
// that was cut.
func (c *cursor) place() error {
	return c.p.withChain(func(ch *chain) error {
		info, pos, err := ch.position(c.index)
		if err != nil {
			return err
		}
		if c.f != nil && c.id == info.ID {
			if c.max == math.MaxUint64 {
				// What was read ahead may have been written since.
				c.buf, c.from, c.size = c.buf[:0], 0, smallWindow
			}
			if !info.SealTime.IsZero() {
				c.max = info.MaxIndex
			}
			return nil
		}
		if err := c.close(); err != nil {
			return err
		}
		name := segment.FileName(info)
		c.path = filepath.Join(ch.dir, name)
		if c.f, err = ch.fs.OpenReader(ch.dir, name); err != nil {
			return err
		}
		c.id, c.pos, c.max = info.ID, pos, math.MaxUint64
		if !info.SealTime.IsZero() {
			c.max = info.MaxIndex
		}
		c.buf, c.from, c.size = c.buf[:0], 0, smallWindow
		return nil
	})
}

// entry returns the next entry, valid until the next call. done: the segment ends here, the cursor must be placed anew.
func (c *cursor) entry() (b []byte, done bool, err error) {
	for {
		if c.index > c.max {
			return nil, true, nil
		}
		h, err := c.bytes(c.pos, frameHeader)
		if err != nil {
			return nil, false, err
		}
		switch h[0] {
		case segment.FrameEntry:
			n := int64(binary.LittleEndian.Uint32(h[4:]))
			if n > maxEntry {
				return nil, false, c.damaged()
			}
			b, err := c.bytes(c.pos+frameHeader, int(n))
			if err != nil {
				return nil, false, err
			}
			c.pos += frameHeader + (n+frameHeader-1)&^(frameHeader-1)
			c.index++
			return b, false, nil
		case segment.FrameCommit:
			c.pos += frameHeader
		case segment.FrameIndex:
			return nil, true, nil
		default:
			return nil, false, c.damaged()
		}
	}
}

func (c *cursor) damaged() error {
	return corrupt(c.path, fmt.Errorf("%w: no frame at byte %d", errDamaged, c.pos))
}

// bytes returns n bytes of the file at pos, from the window where they are in it.
func (c *cursor) bytes(pos int64, n int) ([]byte, error) {
	if pos < c.from || pos+int64(n) > c.from+int64(len(c.buf)) {
		size := max(c.size, n)
		c.size = min(2*c.size, largeWindow)
		if cap(c.buf) < size || cap(c.buf) > keepBuffer && size <= largeWindow {
			c.buf = make([]byte, size)
		}
		got, err := c.f.ReadAt(c.buf[:size], pos)
		c.from, c.buf = pos, c.buf[:got]
		if got < n {
			if errors.Is(err, io.EOF) {
				return nil, c.damaged()
			}
			return nil, fmt.Errorf("reading %s: %w", c.path, err)
		}
	}
	return c.buf[pos-c.from:][:n], nil
}

func (c *cursor) close() error {
	if c.f == nil {
		return nil
	}
	f := c.f
	c.f = nil
	return f.Close()
}

// position returns the segment that holds an entry, and where in its file the entry's frame begins.
func (c *chain) position(index uint64) (types.SegmentInfo, int64, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.tail != nil && index >= c.tailInfo.BaseIndex {
		at, err := c.offsetOf(index)
		return c.tailInfo, int64(at), err
	}
	for i := len(c.sealed) - 1; i >= 0; i-- {
		s := &c.sealed[i]
		if index > s.MaxIndex || index < s.BaseIndex {
			continue
		}
		f, err := c.fs.OpenReader(c.dir, segment.FileName(s.SegmentInfo))
		if err != nil {
			return types.SegmentInfo{}, 0, err
		}
		var at [4]byte
		_, err = f.ReadAt(at[:], int64(s.IndexStart+4*(index-s.BaseIndex)))
		if errors.Is(err, io.EOF) {
			err = nil // the last of the file
		}
		return s.SegmentInfo, int64(binary.LittleEndian.Uint32(at[:])), errors.Join(err, f.Close())
	}
	return types.SegmentInfo{}, 0, fmt.Errorf("entry %d: %w", index, types.ErrNotFound)
}
