package app

import (
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog/memlog"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// TestWritten: what was taken before the instant told is stored, whether the log rests or never ends.
func TestWritten(t *testing.T) {
	pool := pgtest.New(t)
	l := memlog.New(2, nil)
	w := newWritten(pool, l)
	ask := func() time.Time {
		t.Helper()
		w.asked = time.Time{}
		at, err := w.at(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	grow := func() {
		t.Helper()
		if _, err := l.AppendBatch(t.Context(), 1, [][]byte{{1}, {2}}); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(next int64) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `
			insert into log_offsets (log_id, consumer, partition, epoch, next_offset) values ($1, $2, 1, 1, $3)
			on conflict (log_id, consumer, partition) do update set next_offset = excluded.next_offset`, l.ID(), samples.Consumer, next)
		if err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now()
	if at := ask(); at.Before(before) || at.After(time.Now()) {
		t.Errorf("an empty log is stored until %s", at)
	}
	grow()
	rested := time.Now()
	for range 3 {
		if at := ask(); at.After(rested) {
			t.Errorf("nothing of it is stored, and it is said to be until %s", at)
		}
	}
	looked := time.Now()
	grow()
	commit(2)
	if at := ask(); !at.After(rested) || at.After(looked) {
		t.Errorf("stored until %s; want until the first look behind %s", at, rested)
	}
	commit(4)
	if at := ask(); at.Before(looked) {
		t.Errorf("all is stored, and it is said to be until %s only", at)
	}
	if again, err := w.at(t.Context()); err != nil || again.Before(looked) {
		t.Error(again, err)
	}
}
