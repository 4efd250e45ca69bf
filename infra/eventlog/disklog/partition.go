package disklog

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft-wal/types"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// partition is one partition in a folder of its own.
type partition struct {
	dir   string
	seed  uint32
	fs    types.VFS
	limit int // bytes of a segment
	now   func() time.Time
	log   *slog.Logger

	tip  tip
	born int64 // the offset behind the last record when the process opened the log

	mu     sync.Mutex // held by whoever writes: append, trim, close
	next   int64      // offset of the next record
	last   uint64     // the last entry that an append has answered for
	buf    []byte     // the entry being written
	failed bool       // the next append must open the chain anew; reading what was answered for goes on
	closed bool

	chainMu sync.RWMutex // guards chain; written only with mu held
	chain   *chain       // nil once closed
}

// tip is how far a partition is durable, and wakes those who wait for more.
type tip struct {
	mu     sync.Mutex
	end    int64         // offset behind the last durable record
	last   uint64        // the entry that holds it
	closed bool          // nothing more will come
	more   chan struct{} // closed when end rises; nil while nobody waits
}

func (t *tip) get() (end int64, last uint64, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end, t.last, t.closed
}

// wait returns a channel that closes once end is above the given offset, or nothing more will come.
func (t *tip) wait(end int64) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more == nil {
		t.more = make(chan struct{})
	}
	more := t.more
	if t.end > end || t.closed {
		close(more)
		t.more = nil
	}
	return more
}

func (t *tip) set(end int64, last uint64, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end, t.last, t.closed = end, last, closed
	if t.more != nil {
		close(t.more)
		t.more = nil
	}
}

// open reads what is there. A log that was cut short by a crash is whole again afterwards.
func (p *partition) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, next, err := p.load()
	if err != nil {
		return err
	}
	p.chain, p.next, p.last, p.born = c, next, c.last(), next
	p.tip.set(next, p.last, false)
	if err := c.ready(); err != nil {
		// What is there can be read all the same; the appends say what is wrong.
		p.failed = true
		p.log.Error("the log takes no records yet", "dir", p.dir, "err", p.explain(err))
	}
	return nil
}

// load opens the chain, verifies its unsealed end and returns the offset behind it.
func (p *partition) load() (*chain, int64, error) {
	c, err := openChain(p.dir, p.fs, p.limit, p.now)
	if err != nil {
		return nil, 0, err
	}
	next := int64(-1)
	if n := len(c.sealed); n > 0 {
		err = c.get(c.sealed[n-1].MaxIndex, func(entry []byte) error {
			h, err := parseHead(entry, p.seed)
			next = h.base + h.count
			return err
		})
	}
	if err == nil && c.tail != nil {
		next, err = c.verifyTail(p.seed, next)
	}
	if err != nil {
		return nil, 0, errors.Join(err, c.close())
	}
	return c, max(next, 0), nil
}

// reopen opens the chain after a failure and cuts what the failed append may have left. A failed fsync says nothing of
// what is on the disk, and the kernel reports it once: so nothing behind the last answered entry is kept, even if it
// reads well, and what follows goes into a new file.
func (p *partition) reopen() error {
	c, next, err := p.load()
	if err != nil {
		return err
	}
	last := c.last()
	if last < p.last || next < p.next {
		return errors.Join(corrupt(p.dir, fmt.Errorf("%w: the log ends at offset %d, but records up to %d were answered for",
			errDamaged, next, p.next)), c.close())
	}
	if last > p.last {
		err = c.cut(p.last)
	}
	if err == nil {
		err = c.ready()
	}
	// Even where it takes no records yet it knows best what there is.
	old := p.chain
	p.chainMu.Lock()
	p.chain, p.failed = c, err != nil
	p.chainMu.Unlock()
	if closeErr := old.close(); closeErr != nil {
		p.log.Warn("closing a segment failed", "dir", p.dir, "err", closeErr)
	}
	return err
}

// append makes values durable and returns the offset of the first.
func (p *partition) append(values [][]byte) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, eventlog.ErrClosed
	}
	p.buf = appendEntry(p.buf[:0], p.seed, p.next, values)
	if len(p.buf) > maxEntry {
		return 0, fmt.Errorf("an append of %d bytes is over the limit of %d", len(p.buf), maxEntry)
	}
	if err := p.write(); err != nil {
		return 0, p.explain(err)
	}
	first := p.next
	p.last++
	p.next += int64(len(values))
	p.tip.set(p.next, p.last, false)
	if cap(p.buf) > keepBuffer {
		p.buf = nil
	}
	return first, nil
}

// keepBuffer is the largest buffer kept for the next append.
const keepBuffer = 4 << 20

func (p *partition) write() error {
	if p.failed {
		if err := p.reopen(); err != nil {
			return err
		}
	} else if err := p.chain.ready(); err != nil {
		p.failed = true
		return err
	}
	if err := p.chain.append(p.last+1, p.buf); err != nil {
		p.failed = true
		return err
	}
	return nil
}

// explain names the folder, and what to do where the disk is full.
func (p *partition) explain(err error) error {
	if full(err) {
		return fmt.Errorf("no room left for the log in %s; free some, and appending goes on by itself: %w", p.dir, err)
	}
	return fmt.Errorf("appending to the log in %s: %w", p.dir, err)
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// trim lets whole segments go that hold only records below offset and were filled before the given time.
func (p *partition) trim(offset int64, before time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return eventlog.ErrClosed
	}
	if p.failed {
		// Perhaps for want of the room that trimming makes.
		if err := p.reopen(); err != nil && !full(err) {
			return p.explain(err)
		}
	}
	if p.chain.first() == 0 {
		return nil
	}
	index, err := p.find(p.chain, offset)
	if err != nil {
		return err
	}
	n, err := p.chain.drop(index, before)
	if err != nil {
		p.failed = true
		return fmt.Errorf("trimming the log in %s: %w", p.dir, err)
	}
	if n > 0 {
		p.log.Debug("trimmed the log", "dir", p.dir, "segments", n, "below", offset)
	}
	return nil
}

// find returns the entry that holds offset, the first or last one where it is outside.
func (p *partition) find(c *chain, offset int64) (uint64, error) {
	_, last, _ := p.tip.get()
	lo, hi := c.first(), last
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		h, err := p.head(c, mid)
		if err != nil {
			return 0, err
		}
		if h.base <= offset {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo, nil
}

func (p *partition) head(c *chain, index uint64) (h entryHead, err error) {
	err = c.get(index, func(entry []byte) error {
		h, err = parseHead(entry, p.seed)
		return err
	})
	return h, err
}

func (p *partition) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	end, last, _ := p.tip.get()
	p.tip.set(end, last, true)
	p.chainMu.Lock()
	defer p.chainMu.Unlock()
	if p.chain == nil {
		return nil
	}
	c := p.chain
	p.chain = nil
	return c.close()
}

// name is the folder of a partition within the log's.
func name(dir string, partition int) string {
	return filepath.Join(dir, fmt.Sprintf("p%04d", partition))
}
