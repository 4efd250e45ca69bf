package mail

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestKeysOfGroupsFitIntoAnIndex: what PostgreSQL does not take could never be told later.
func TestKeysOfGroupsFitIntoAnIndex(t *testing.T) {
	t.Parallel()
	if got := heldKey("{}:{project=\"shop\"}"); got != "{}:{project=\"shop\"}" {
		t.Error(got)
	}
	long := strings.Repeat("ü", 5000)
	a, b := heldKey(long+"a"), heldKey(long+"b")
	if len(a) > maxGroupKey || !utf8.ValidString(a) || a == b || a != heldKey(long+"a") {
		t.Errorf("%d bytes, %q and %q", len(a), a, b)
	}
}
