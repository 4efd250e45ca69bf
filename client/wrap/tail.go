package wrap

import (
	"bytes"
	"sync"
	"unicode/utf8"
)

// lineSearch is how many bytes of a cut line are given up so that the tail begins with a whole one.
const lineSearch = 1000

// tail keeps the last bytes that were written to it. It is safe for concurrent use.
type tail struct {
	mu    sync.Mutex
	limit int
	kept  []byte
	cut   bool // bytes have been dropped from the front,
	whole bool // and the last of them ended a line
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > t.limit || over > 1<<20 {
		t.drop(over)
	}
	return len(p), nil
}

// drop forgets the first n bytes.
func (t *tail) drop(n int) {
	t.cut, t.whole = true, t.kept[n-1] == '\n'
	t.kept = append(t.kept[:0], t.kept[n:]...)
}

// setLimit changes how many bytes are kept. What was dropped before does not come back.
func (t *tail) setLimit(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = max(0, n)
}

// bytes returns at most the last limit bytes. Where something was cut off, they begin with a whole line if one begins
// within lineSearch bytes, else with a whole UTF-8 character.
func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := max(0, len(t.kept)-t.limit)
	between := !t.cut || t.whole // whether the cut falls between two lines
	if over > 0 {
		between = t.kept[over-1] == '\n'
	}
	rest := t.kept[over:]
	if between {
		return bytes.Clone(rest)
	}
	if i := bytes.IndexByte(rest[:min(len(rest), lineSearch)], '\n'); i >= 0 && i+1 < len(rest) {
		return bytes.Clone(rest[i+1:])
	}
	for i := 0; i < utf8.UTFMax-1 && len(rest) > 0 && !utf8.RuneStart(rest[0]); i++ {
		rest = rest[1:]
	}
	return bytes.Clone(rest)
}
