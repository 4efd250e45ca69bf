package samples

import (
	"encoding/binary"
	"testing"
)

func numbered(n int) (k key) {
	binary.BigEndian.PutUint64(k[:], uint64(n))
	return k
}

func TestCacheKeepsWhatIsInUse(t *testing.T) {
	c := newCache(100)
	for n := range 10_000 {
		c.put(numbered(n), known{id: int64(n), last: 1})
		for used := range 10 { // asked for all the time
			if n < used {
				continue
			}
			e := c.get(numbered(used))
			if e == nil || e.id != int64(used) {
				t.Fatalf("after %d: series %d is forgotten, or another: %+v", n, used, e)
			}
			e.last++
		}
		if have := len(c.young.entries) + len(c.old.entries); have > 200 {
			t.Fatalf("%d entries, want at most 200", have)
		}
	}
	if e := c.get(numbered(5)); e.last != 1+10_000-5 {
		t.Errorf("last is %d: changes were lost when the entry moved", e.last)
	}
	if e := c.get(numbered(5_000)); e != nil {
		t.Errorf("series 5000 is still there: %+v", e)
	}
	if e := c.get(numbered(9_999)); e == nil || e.id != 9_999 {
		t.Errorf("the last series is not there: %+v", e)
	}
}

func TestCachePutReplaces(t *testing.T) {
	c := newCache(0) // at least 1
	c.put(numbered(1), known{id: 1})
	c.put(numbered(1), known{id: 2})
	if e := c.get(numbered(1)); e == nil || e.id != 2 {
		t.Errorf("got %+v", e)
	}
}
