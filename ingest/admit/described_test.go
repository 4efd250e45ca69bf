package admit

import (
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
)

// TestDescribed: what is repeated is stored once in ten minutes, unless it says something else or is another organisation's.
func TestDescribed(t *testing.T) {
	d := NewDescribed()
	now := noon()
	a, b := series.Metadata{Name: "a", Help: "x"}, series.Metadata{Name: "a", Help: "y"}
	fresh := func(n byte, m ...series.Metadata) int { return len(d.Fresh(org(n), m, now)) }
	for range 2 { // to ask is not to store
		if fresh(1, a) != 1 {
			t.Error("what was not stored is not fresh")
		}
	}
	d.Stored(org(1), []series.Metadata{a})
	if fresh(1, a) != 0 || fresh(1, a, b) != 1 || fresh(2, a) != 1 || fresh(1) != 0 {
		t.Error("what was stored is fresh, or what was not is not")
	}
	d.Stored(org(1), nil)
	now = now.Add(10 * time.Minute)
	if fresh(1, a) != 1 {
		t.Error("it is never stored again")
	}
}
