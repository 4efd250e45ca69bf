package store_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/baseline"
	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
)

func instant(s int) time.Time { return time.Date(2026, 3, 1, 9, 0, s, 123456000, time.UTC) }

// full is a commit with something of everything for one monitor.
func full(s *bundle, snap checkpoint.Snapshot, id uuid.UUID) checkpoint.Commit {
	ref := checkpoint.Ref{Org: s.a.org, Monitor: id}
	opened := incident.ID(id, incident.Fail, instant(5), 1)
	return checkpoint.Commit{
		Position: snap.Position, Next: 7,
		Clock: &logclock.Clock{Covered: instant(9), Read: instant(8), Appenders: map[uint64]*logclock.Appender{1 << 63: {Seq: 3, At: instant(8), Marked: true}}},
		Gaps:  []logclock.Gap{{From: instant(1), To: instant(2)}},
		Monitors: []checkpoint.Monitor{{
			Org: s.a.org, ID: id, Config: hourly(s.t, "backup"), ConfigChanged: true,
			State: monitor.State{
				Status: monitor.Down, Since: instant(5), Version: 2, Due: instant(30), Deadline: instant(40),
				LastPing:  monitor.LastPing{At: instant(5), Kind: record.Fail, ExitCode: 3, Output: "no space \U0001F600"},
				Open:      []monitor.OpenRun{{ID: uuid.New(), Named: true, StartedAt: instant(4), Deadline: instant(50)}},
				Baseline:  baseline.Stats{N: 2, Mean: 1.5, M2: 0.1},
				Incidents: map[incident.Kind]uuid.UUID{incident.Fail: opened},
				Held:      []monitor.Ping{{ID: uuid.New(), At: instant(6), Kind: record.Success, ExitCode: record.NoExitCode, Duration: record.NoDuration}},
			},
		}},
		Runs: []checkpoint.Run{{Ref: ref, Run: monitor.Run{
			ID: uuid.New(), FinishedAt: instant(5), Outcome: monitor.Failed, ExitCode: 3, Duration: time.Second, Lateness: -1,
		}}},
		Transitions: []checkpoint.Transition{{Ref: ref, Transition: monitor.Transition{
			At: instant(5), From: monitor.Up, To: monitor.Down, Reason: "fail", SecondsInPrevious: 4,
		}}},
		Incidents: []checkpoint.Incident{{
			Ref: ref, Name: "backup", Slug: "backup", Tags: []string{"db"}, Labels: map[string]string{"team": "a"},
			Change: incident.Change{ID: opened, Kind: incident.Fail, At: instant(5), Evidence: incident.Evidence{Output: "no space"}},
		}},
	}
}

func TestCheckpointComesBack(t *testing.T) {
	s := newBundle(t)
	c := s.store.Checkpoints("log")
	snap, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	want := full(s, snap, uuid.New())
	s.must(c.SaveCheckpoint(s.ctx, want))

	got, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	want.Monitors[0].ConfigChanged = false
	if diff := cmp.Diff(want.Monitors, got.Monitors); diff != "" {
		t.Errorf("monitors (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(*want.Clock, got.Clock, cmpopts.IgnoreUnexported(logclock.Clock{})); diff != "" {
		t.Errorf("clock (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want.Gaps, got.Gaps); diff != "" || got.Position.Offset != 7 || got.Position.Epoch != snap.Position.Epoch+1 {
		t.Errorf("gaps %s, position %+v", diff, got.Position)
	}
	other, err := c.LoadPartition(s.ctx, 1-int(record.Hash(want.Monitors[0].ID)%2), 2)
	s.must(err)
	if len(other.Monitors) != 0 {
		t.Error("the other partition has it too")
	}

	// A new log of the same database begins where the old one ended.
	fresh, err := s.store.Checkpoints("another log").LoadPartition(s.ctx, 0, 1)
	s.must(err)
	if !fresh.Clock.Covered.Equal(instant(9)) || fresh.Position.Offset != 0 || len(fresh.Monitors) != 1 {
		t.Errorf("covered to %v, offset %d, %d monitors", fresh.Clock.Covered, fresh.Position.Offset, len(fresh.Monitors))
	}
}

// TestFencedCheckpointWritesNothing: the partition has gone to another process meanwhile.
func TestFencedCheckpointWritesNothing(t *testing.T) {
	s := newBundle(t)
	c := s.store.Checkpoints("log")
	old, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	if _, err := c.LoadPartition(s.ctx, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.SaveCheckpoint(s.ctx, full(s, old, uuid.New())); !errors.Is(err, pg.ErrFenced) {
		t.Fatalf("got %v, want ErrFenced", err)
	}
	for _, table := range []string{"monitor_states", "runs", "transitions", "incidents", "outbox", "gaps"} {
		if n := s.count("select count(*) from " + table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}

// TestWhatIsSaidOfIncidents: each change once, in order, and nothing of another organisation's.
func TestWhatIsSaidOfIncidents(t *testing.T) {
	s := newBundle(t)
	c := s.store.Checkpoints("log")
	snap, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	commit := full(s, snap, uuid.New())
	opened := commit.Incidents[0]
	resolved := opened
	resolved.Change = incident.Change{ID: opened.ID, Kind: opened.Kind, At: instant(9), Resolved: true, Reason: "recovered"}
	stranger := resolved
	stranger.Org = s.b.org
	commit.Incidents = []checkpoint.Incident{opened, opened, stranger, resolved, resolved}
	s.must(c.SaveCheckpoint(s.ctx, commit))

	rows, err := s.pool.Query(s.ctx, `select type, payload from outbox order by id`)
	s.must(err)
	defer rows.Close()
	var types []string
	var last alert.Message
	for rows.Next() {
		var kind string
		var payload []byte
		s.must(rows.Scan(&kind, &payload))
		types = append(types, kind)
		last = alert.Message{}
		s.must(json.Unmarshal(payload, &last))
	}
	if diff := cmp.Diff([]string{alert.TypeOpened, alert.TypeResolved}, types); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	if i := last.Data.Incident; i.Status != incident.Resolved || i.ResolvedAt == nil || !i.ResolvedAt.Equal(instant(9)) ||
		i.MonitorName != "backup" || i.Severity != "critical" || i.Resolution != "recovered" {
		t.Errorf("said %+v", i)
	}
	if m := last.Data.Monitor; m.Name != "backup" || m.Labels["team"] != "a" {
		t.Errorf("said of the monitor %+v", m)
	}
}

func TestDeletedMonitorsStateGoes(t *testing.T) {
	s := newBundle(t)
	c := s.store.Checkpoints("log")
	snap, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	id := uuid.New()
	s.must(c.SaveCheckpoint(s.ctx, full(s, snap, id)))
	remove := checkpoint.Commit{Position: snap.Position, Next: 8, Clock: &logclock.Clock{}, Deleted: []checkpoint.Ref{{Org: s.b.org, Monitor: id}}}
	s.must(c.SaveCheckpoint(s.ctx, remove))
	if n := s.count(`select count(*) from monitor_states`); n != 1 {
		t.Fatal("another organisation deleted it")
	}
	remove.Deleted[0].Org = s.a.org
	s.must(c.SaveCheckpoint(s.ctx, remove))
	if n := s.count(`select count(*) from monitor_states`); n != 0 {
		t.Error("it is still there")
	}
}
