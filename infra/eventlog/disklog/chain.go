package disklog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// codecID stands in the segments' headers.
const codecID = 1 << 16

// chain is the segment files of one partition. The files, their recovery and their index are raft-wal's; which files
// there are, and when the next begins, is decided here, because raft-wal's own manager keeps refusing to append once
// making the next file has failed or was cut short (docs/adr/0003-local-log.md).
//
// Entries are numbered from 1. One goroutine writes; get may be called at any time beside it. After any error of a
// writing method the chain must be closed and opened anew.
type chain struct {
	dir   string
	fs    types.VFS
	filer *segment.Filer
	limit int // bytes after which a segment is sealed
	now   func() time.Time

	mu       sync.RWMutex // guards what follows against get
	sealed   []sealedSegment
	tailInfo types.SegmentInfo   // ID 0: there is none yet
	tail     types.SegmentWriter // nil: its file is yet to be made
	nextID   uint64
}

type sealedSegment struct {
	types.SegmentInfo
	r types.SegmentReader
}

// openChain opens the segments of a folder without writing to them, so that they can be read on a full disk.
func openChain(dir string, fs types.VFS, limit int, now func() time.Time) (*chain, error) {
	state, err := loadSegments(dir)
	if err != nil {
		return nil, err
	}
	c := &chain{dir: dir, fs: fs, filer: segment.NewFiler(dir, fs), limit: limit, now: now, nextID: max(state.NextSegmentID, 1)}
	trimmed := 0
	for _, info := range state.Segments {
		err := c.openSegment(info)
		if errors.Is(err, os.ErrNotExist) && len(c.sealed) == 0 {
			trimmed++ // the crash came before the list was written
			continue
		}
		if err != nil {
			return nil, errors.Join(corrupt(filepath.Join(dir, segment.FileName(info)), err), c.close())
		}
	}
	if trimmed > 0 && c.last() == 0 {
		return nil, errors.Join(corrupt(dir, fmt.Errorf("%w: %d listed segment files are missing", errDamaged, trimmed)), c.close())
	}
	return c, c.deleteStrays(state)
}

func (c *chain) openSegment(info types.SegmentInfo) error {
	if !info.SealTime.IsZero() {
		r, err := c.filer.Open(info)
		if err != nil {
			return err
		}
		c.sealed = append(c.sealed, sealedSegment{info, r})
		return nil
	}
	c.tailInfo = info
	w, err := c.filer.RecoverTail(info)
	if errors.Is(err, os.ErrNotExist) {
		return nil // listed, and then the power failed: it never held anything
	}
	if err != nil {
		return err
	}
	c.tail = w
	return nil
}

// deleteStrays removes segment files that are not listed: what a crash left of trimming.
func (c *chain) deleteStrays(state types.PersistentState) error {
	files, err := c.filer.List()
	if err != nil {
		return err
	}
	for _, info := range state.Segments {
		delete(files, info.ID)
	}
	for id, base := range files {
		if err := c.filer.Delete(base, id); err != nil {
			return err
		}
	}
	return nil
}

// first is the number of the oldest entry, 0 when there is none.
func (c *chain) first() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.sealed) > 0 {
		return c.sealed[0].BaseIndex
	}
	if c.tail != nil && c.tail.LastIndex() > 0 {
		return c.tailInfo.BaseIndex
	}
	return 0
}

// last is the number of the newest entry, 0 when there is none.
func (c *chain) last() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.tail != nil && c.tail.LastIndex() > 0 {
		return c.tail.LastIndex()
	}
	if n := len(c.sealed); n > 0 {
		return c.sealed[n-1].MaxIndex
	}
	return 0
}

// get calls f with the entry; the bytes are f's until it returns.
func (c *chain) get(index uint64, f func(entry []byte) error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, name := c.find(index)
	if r == nil {
		return fmt.Errorf("entry %d: %w", index, types.ErrNotFound)
	}
	b, err := r.GetLog(index)
	if err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Join(c.dir, name), err)
	}
	defer func() { _ = b.Close() }()
	if err := f(b.Bs); err != nil {
		return corrupt(filepath.Join(c.dir, name), err)
	}
	return nil
}

// find returns the segment that holds an entry.
func (c *chain) find(index uint64) (types.SegmentReader, string) {
	if c.tail != nil && index >= c.tailInfo.BaseIndex {
		return c.tail, segment.FileName(c.tailInfo)
	}
	for i := len(c.sealed) - 1; i >= 0; i-- { // a consumer reads near the end
		if s := &c.sealed[i]; index >= s.BaseIndex {
			if index > s.MaxIndex {
				return nil, ""
			}
			return s.r, segment.FileName(s.SegmentInfo)
		}
	}
	return nil, ""
}

// ready makes sure there is a tail to append to: that of before, or a new one where it is full.
func (c *chain) ready() error {
	if c.tail != nil {
		full, indexStart, err := c.tail.Sealed()
		if err != nil {
			return err
		}
		if !full {
			return nil
		}
		return c.rotate(c.tail.LastIndex(), indexStart)
	}
	if c.tailInfo.ID != 0 {
		return c.createTail()
	}
	return c.addTail(1)
}

// append makes an entry durable. A tail that it fills is followed by the next one at the next call of ready.
func (c *chain) append(index uint64, entry []byte) error {
	return c.tail.Append([]types.LogEntry{{Index: index, Data: entry}})
}

// cut drops the entries behind last, which nobody was told of.
func (c *chain) cut(last uint64) error {
	if last < c.tailInfo.BaseIndex {
		// Nothing of the tail stays: its file goes, a new one takes its place.
		old := c.tail
		base, stale := c.tailInfo.BaseIndex, c.tailInfo.ID
		c.mu.Lock()
		c.tail = nil
		c.mu.Unlock()
		if err := errors.Join(old.Close(), c.addTail(base)); err != nil {
			return err
		}
		return c.filer.Delete(base, stale)
	}
	indexStart, err := c.tail.ForceSeal()
	if err != nil {
		return err
	}
	return c.rotate(last, indexStart)
}

// rotate makes the tail a sealed segment that ends with last, and begins a new one.
func (c *chain) rotate(last, indexStart uint64) error {
	info := c.tailInfo
	info.SealTime, info.MaxIndex, info.IndexStart = c.now().UTC(), last, indexStart
	r, err := c.filer.Open(info)
	if err != nil {
		return err
	}
	old := c.tail
	c.mu.Lock()
	c.sealed = append(c.sealed, sealedSegment{info, r})
	c.tail, c.tailInfo = nil, types.SegmentInfo{}
	c.mu.Unlock()
	return errors.Join(old.Close(), c.addTail(last+1))
}

// addTail lists a new tail, then makes its file.
func (c *chain) addTail(base uint64) error {
	info := types.SegmentInfo{
		ID: c.nextID, BaseIndex: base, MinIndex: base,
		Codec: codecID, CreateTime: c.now().UTC(), SizeLimit: uint32(c.limit),
	}
	c.tailInfo = info
	c.nextID++
	if err := c.save(); err != nil {
		return err
	}
	return c.createTail()
}

func (c *chain) createTail() error {
	w, err := c.filer.Create(c.tailInfo)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.tail = w
	c.mu.Unlock()
	return nil
}

// drop lets whole sealed segments go that end before index and were sealed before the given time. The files go first,
// the oldest first, and then the list: on a full disk there is no room for a new list.
func (c *chain) drop(index uint64, before time.Time) (int, error) {
	n := 0
	for n < len(c.sealed) && c.sealed[n].MaxIndex < index && c.sealed[n].SealTime.Before(before) {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	c.mu.Lock()
	gone := c.sealed[:n]
	c.sealed = append([]sealedSegment(nil), c.sealed[n:]...)
	c.mu.Unlock()
	var errs []error
	for _, s := range gone {
		errs = append(errs, s.r.Close(), c.filer.Delete(s.BaseIndex, s.ID))
	}
	return n, errors.Join(append(errs, c.save())...)
}

// save lists the segments that there are.
func (c *chain) save() error {
	s := types.PersistentState{NextSegmentID: c.nextID}
	for _, seg := range c.sealed {
		s.Segments = append(s.Segments, seg.SegmentInfo)
	}
	if c.tailInfo.ID != 0 {
		s.Segments = append(s.Segments, c.tailInfo)
	}
	return saveSegments(c.dir, s)
}

func (c *chain) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.sealed {
		errs = append(errs, s.r.Close())
	}
	if c.tail != nil {
		errs = append(errs, c.tail.Close())
	}
	c.sealed, c.tail = nil, nil
	return errors.Join(errs...)
}
