package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// states reads the states of an organisation and sorts them, by id.
func (s *bundle) states(o owner, since int64) inventory.States {
	s.t.Helper()
	got, err := s.store.MonitorStates(s.ctx, o.org, since)
	s.must(err)
	slices.SortFunc(got.Monitors, func(a, b inventory.MonitorState) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return got
}

// settled reads states once what is written counts as old: the transactions of other tests on the server hold that up.
func (s *bundle) settled(o owner, since int64) inventory.States {
	s.t.Helper()
	for {
		got := s.states(o, since)
		if s.count(`select count(*) from (select written_in from monitor_states union all select written_in from monitor_versions union all select written_in from gaps) w
			where written_in >= $1 and written_in < pg_snapshot_xmax(pg_current_snapshot())::text::bigint`, got.Cursor) == 0 {
			return got
		}
		time.Sleep(time.Millisecond)
	}
}

func idsOf(list []inventory.MonitorState) []uuid.UUID {
	var ids []uuid.UUID
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestStatesSinceAReading(t *testing.T) {
	s := newBundle(t)
	one, two, other := s.create(s.a, "one"), s.create(s.a, "two"), s.create(s.b, "other")
	for _, m := range []inventory.Monitor{one, two, other} {
		s.evaluate(m, monitor.Up, 1)
	}
	all := s.settled(s.a, 0)
	if d := cmp.Diff([]uuid.UUID{one.ID, two.ID}, idsOf(all.Monitors)); d != "" || !all.Full || all.Cursor <= 0 {
		t.Fatalf("at first: full %v, cursor %d, monitors (-want +got)\n%s", all.Full, all.Cursor, d)
	}
	if m := all.Monitors[0]; m.State.Status != monitor.Up || m.Project != "default" || m.Config.Grace != monitor.DefaultConfig().Grace {
		t.Errorf("read %+v", m)
	}

	none := s.states(s.a, all.Cursor)
	if none.Full || len(none.Monitors) > 0 || len(none.Deleted) > 0 || none.Cursor < all.Cursor {
		t.Errorf("nothing happened, and it says %+v", none)
	}
	s.touch(two)
	s.touch(other)
	some := s.states(s.a, none.Cursor)
	if d := cmp.Diff([]uuid.UUID{two.ID}, idsOf(some.Monitors)); d != "" || some.Full || len(some.Deleted) > 0 {
		t.Errorf("one was written: %+v (-want +got)\n%s", some, d)
	}
	if ahead := s.states(s.a, all.Cursor+1_000_000); !ahead.Full || len(ahead.Monitors) != 2 {
		t.Errorf("a cursor of another cluster gives %+v", ahead)
	}
}

// touch writes a monitor's state again.
func (s *bundle) touch(m inventory.Monitor) {
	s.exec(`update monitor_states set written_in = default where monitor_id = $1`, m.ID)
}

// TestStatesOfATransactionUnderWay: it began before one reading and ended behind it; the next reading tells of it.
func TestStatesOfATransactionUnderWay(t *testing.T) {
	s := newBundle(t)
	slow, quick := s.create(s.a, "slow"), s.create(s.a, "quick")
	s.evaluate(slow, monitor.Up, 1)
	s.evaluate(quick, monitor.Up, 1)
	s.settled(s.a, 0)
	tx, err := s.pool.Begin(s.ctx)
	s.must(err)
	defer func() { _ = tx.Rollback(s.ctx) }()
	_, err = tx.Exec(s.ctx, `update monitor_states set written_in = default, status = 'down' where monitor_id = $1`, slow.ID)
	s.must(err)
	s.touch(quick)
	first := s.states(s.a, 0)
	again := s.states(s.a, first.Cursor)
	if d := cmp.Diff([]uuid.UUID{quick.ID}, idsOf(again.Monitors)); d != "" {
		t.Errorf("while it is under way, what is younger comes again: (-want +got)\n%s", d)
	}
	s.must(tx.Commit(s.ctx))
	if d := cmp.Diff([]uuid.UUID{slow.ID, quick.ID}, idsOf(s.states(s.a, again.Cursor).Monitors)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestStatesOfARestoredDatabase: rows carry the numbers of another cluster's transactions.
func TestStatesOfARestoredDatabase(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	s.evaluate(m, monitor.Up, 1)
	s.exec(`update monitor_states set written_in = 1000000000000`)
	all := s.states(s.a, 0)
	if len(all.Monitors) != 1 {
		t.Fatalf("read %+v", all)
	}
	if next := s.states(s.a, all.Cursor); len(next.Monitors) != 0 {
		t.Error("it is told again and again")
	}
	s.touch(m)
	if next := s.states(s.a, all.Cursor); len(next.Monitors) != 1 {
		t.Error("its change is not told")
	}
}

func TestWatermark(t *testing.T) {
	s := newBundle(t)
	mark := func(partitions int) time.Time {
		t.Helper()
		at, err := s.store.Watermark(s.ctx, "log", partitions)
		s.must(err)
		return at
	}
	if at := mark(2); !at.IsZero() {
		t.Errorf("a log that nobody read: %v", at)
	}
	save := func(log string, partition int, clock logclock.Clock) {
		t.Helper()
		c := s.store.Checkpoints(log)
		snap, err := c.LoadPartition(s.ctx, partition, 2)
		s.must(err)
		s.must(c.SaveCheckpoint(s.ctx, checkpoint.Commit{Position: snap.Position, Next: snap.Position.Offset + 1, Clock: &clock}))
	}
	save("log", 0, logclock.Clock{Read: instant(10), Covered: instant(12)})
	if at := mark(2); !at.IsZero() {
		t.Errorf("one of two partitions was read: %v", at)
	}
	save("log", 1, logclock.Clock{Covered: instant(12)})
	if at := mark(2); !at.IsZero() {
		t.Errorf("the other one has no watermark yet: %v", at)
	}
	save("log", 1, logclock.Clock{Read: instant(11), Covered: instant(9)})
	save("another log", 0, logclock.Clock{Read: instant(1), Covered: instant(1)})
	save("log", 2, logclock.Clock{Read: instant(2), Covered: instant(2)}) // of a time when there were more
	if at := mark(2); !at.Equal(instant(9)) {
		t.Errorf("watermark %v, want %v", at, instant(9))
	}
	if at := mark(1); !at.Equal(instant(10)) {
		t.Errorf("watermark of the first partition %v, want %v", at, instant(10))
	}
}

// TestStatesAfterAGap: what could not be observed of a monitor's status is told, and after each new gap it is told of all.
func TestStatesAfterAGap(t *testing.T) {
	s := newBundle(t)
	one := s.create(s.a, "one")
	s.evaluate(one, monitor.Up, 1)
	since := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s.exec(`update monitor_states set hash = 7, state = jsonb_set(state, '{since}', to_jsonb($1::text))`, since.Format(time.RFC3339))
	gap := func(partition int, from, to time.Duration) {
		t.Helper()
		s.exec(`insert into gaps (log_id, partition, partitions, started_at, ended_at) values ('l', $1, 4, $2, $3)`,
			partition, since.Add(from), since.Add(to))
	}
	first := s.settled(s.a, 0)
	if len(first.Monitors) != 1 || first.Monitors[0].GapSeconds != 0 {
		t.Fatalf("without a gap: %+v", first.Monitors)
	}
	gap(3, -time.Minute, 10*time.Second) // 7 % 4: its partition; what lies before the status does not count
	gap(2, time.Minute, 2*time.Minute)   // another's
	gap(3, time.Hour, time.Hour+2500*time.Millisecond)
	second := s.settled(s.a, first.Cursor)
	if !second.Full || len(second.Monitors) != 1 || second.Monitors[0].GapSeconds != 12.5 {
		t.Errorf("after gaps: full %v, %+v", second.Full, second.Monitors)
	}
	if third := s.states(s.a, second.Cursor); third.Full || len(third.Monitors) != 0 {
		t.Errorf("nothing has changed since: full %v, %d monitors", third.Full, len(third.Monitors))
	}
}
