package config

import (
	"errors"
	"testing"
	"time"
)

// TestTheTextsOfAMessageHaveABoundTogether: each of thousands may be as long as one may be.
func TestTheTextsOfAMessageHaveABoundTogether(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	m := &meter{now: func() time.Time { return now }}
	for i := range 20 {
		if err := m.begin()(1, maxOutput); (err != nil) != (i >= 8) || err != nil && !errors.Is(err, errBusy) {
			t.Errorf("text %d: %v", i, err)
		}
	}
	now = now.Add(window + 1)
	for i := range 20 {
		if err := m.begin()(maxSteps, 0); (err != nil) != (i >= 10) {
			t.Errorf("text %d: %v", i, err)
		}
	}
	now = now.Add(window + 1)
	check := m.begin()
	if err := check(1, 1); err != nil {
		t.Error(err)
	}
	now = now.Add(maxTime + 1)
	if err := check(1, 1); !errors.Is(err, errSlow) {
		t.Error(err)
	}
}
