package disklog

import (
	"bytes"
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
		}
		if found > counted+1 {
			return 0, corrupt(path, fmt.Errorf("%w: a frame before offset %d is not readable", errDamaged, h.base))
		}
		pos += h.size
	}
	if found < counted {
		return 0, corrupt(path, fmt.Errorf("%w: %d of %d entries are readable", errDamaged, found, counted))
	}
	return next, nil
}
