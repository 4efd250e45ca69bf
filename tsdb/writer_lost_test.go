package tsdb

import (
	"context"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
)

func TestReadingGoesOnWhereTheLogWasCut(t *testing.T) {
	w := NewWriter(nil, "log", nil, nil)
	// Assigned said 1000; the log ends at 500 (ErrBeyondEnd), Drive tells Lost and reads on at 500.
	w.parts[0] = &assigned{pos: pg.Position{Offset: 1000}, next: 1000, committed: 1000, flushed: time.Now()}
	w.parts[0].rows.Begin()
	w.Lost(0, nil, 500)
	rec := record.AppendMarker(nil, record.Marker{Since: time.Now()})
	record.Stamp(rec, 1, 1, time.Now())
	if err := w.Batch(context.Background(), 0, []record.Entry{{Offset: 500, Value: rec}}, true); err != nil {
		t.Errorf("for ever, until the log has 1000 records again: %v", err)
	}
}
