package store_test

import (
	"testing"

	"github.com/tokiflow/tokiflow/core/monitor"
)

// The database is restored from a backup in which the monitor has version 1; the log brings the evaluator to version 3.
func TestRestoredVersions(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	s.evaluate(m, monitor.Up, 3)
	got, err := s.store.UpdateMonitor(s.ctx, m.Org, m.ID, func(c monitor.Config) (monitor.Config, error) { return c, nil })
	s.must(err)
	if got.Version <= 3 {
		t.Errorf("version %d: the evaluator takes this change for a repetition and ignores it", got.Version)
	}
}
