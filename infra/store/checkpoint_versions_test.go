package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

type version struct {
	At      time.Time
	Deleted bool
	Project string
	Name    string
}

// versions are those of a monitor, as a reader finds them.
func (s *bundle) versions(o owner, id uuid.UUID) []version {
	s.t.Helper()
	rows, err := s.pool.Query(s.ctx, `select at, deleted, project, config ->> 'name' from monitor_versions
		where org_id = $1 and monitor_id = $2 order by at`, o.org, id)
	s.must(err)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[version])
	s.must(err)
	return got
}

// judge is an evaluator's commit for monitors of the first organisation.
func (s *bundle) judge(snap checkpoint.Snapshot, m inventory.Monitor, state monitor.State, more func(*checkpoint.Commit)) checkpoint.Commit {
	c := checkpoint.Commit{
		Position: snap.Position, Next: snap.Position.Offset + 1, Clock: &logclock.Clock{},
		Monitors: []checkpoint.Monitor{{Org: m.Org, ID: m.ID, Config: m.Config, State: state, ConfigChanged: true}},
	}
	if more != nil {
		more(&c)
	}
	return c
}

func TestVersionsAreWrittenWithTheState(t *testing.T) {
	s := newBundle(t)
	c := s.store.Checkpoints("log")
	snap, err := c.LoadPartition(s.ctx, 0, 1)
	s.must(err)
	m, gone := s.create(s.a, "backup"), uuid.New()
	named := func(id uuid.UUID, at time.Time, name string) checkpoint.Version {
		return checkpoint.Version{Ref: checkpoint.Ref{Org: s.a.org, Monitor: id}, At: at, Config: hourly(t, name)}
	}
	s.must(c.SaveCheckpoint(s.ctx, s.judge(snap, m, monitor.State{Status: monitor.New}, func(c *checkpoint.Commit) {
		c.Versions = []checkpoint.Version{
			named(m.ID, instant(1), "backup"), named(m.ID, instant(2), "fleeting"), named(m.ID, instant(2), "renamed"),
			named(gone, instant(1), "gone"),
		}
	})))
	want := []version{{instant(1), false, "default", "backup"}, {instant(2), false, "default", "renamed"}}
	if d := cmp.Diff(want, s.versions(s.a, m.ID)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff([]version{{instant(1), false, "", "gone"}}, s.versions(s.a, gone)); d != "" {
		t.Errorf("of a monitor whose row is gone (-want +got)\n%s", d)
	}

	before := s.settled(s.a, 0)
	deleted := named(m.ID, instant(2), "renamed")
	deleted.Deleted = true
	s.must(c.SaveCheckpoint(s.ctx, checkpoint.Commit{
		Position: snap.Position, Next: snap.Position.Offset + 2, Clock: &logclock.Clock{},
		Deleted: []checkpoint.Ref{deleted.Ref}, Versions: []checkpoint.Version{deleted},
	}))
	want[1].Deleted = true
	if d := cmp.Diff(want, s.versions(s.a, m.ID)); d != "" {
		t.Errorf("deleted in the instant of its last change (-want +got)\n%s", d)
	}
	after := s.settled(s.a, before.Cursor)
	if d := cmp.Diff([]uuid.UUID{m.ID}, after.Deleted); d != "" || len(after.Monitors) > 0 || after.Full {
		t.Errorf("read %+v (-want +got)\n%s", after, d)
	}
	if again := s.states(s.a, after.Cursor); len(again.Deleted) > 0 {
		t.Errorf("its deletion is told again and again: %+v", again)
	}
	if other := s.states(s.b, before.Cursor); len(other.Deleted) > 0 {
		t.Error("another organisation is told of it")
	}
}

// TestStatesFollowCheckpoints: each checkpoint's monitors are told of, once they are written.
func TestStatesFollowCheckpoints(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		s := bundleOn(t, pool)
		c := s.store.Checkpoints("log")
		snap, err := c.LoadPartition(s.ctx, 0, 1)
		s.must(err)
		m := s.create(s.a, "m")
		totals := &monitor.Totals{Succeeded: 3, LastDuration: time.Second, UpTime: time.Hour, Durations: monitor.Histogram{
			Count: 3, Sum: 3 * time.Second, Zero: 1, Buckets: []monitor.Bucket{{Index: -3, Count: 2}},
		}}
		s.must(c.SaveCheckpoint(s.ctx, s.judge(snap, m, monitor.State{Status: monitor.Up, Since: instant(3), Totals: totals}, nil)))
		first := s.states(s.a, 0)
		want := []inventory.MonitorState{{
			ID: m.ID, Project: "default", Config: m.Config, State: monitor.State{Status: monitor.Up, Since: instant(3), Totals: totals},
		}}
		if d := cmp.Diff(want, first.Monitors); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		s.must(c.SaveCheckpoint(s.ctx, s.judge(snap, m, monitor.State{Status: monitor.Down}, func(c *checkpoint.Commit) {
			c.Monitors[0].ConfigChanged = false
		})))
		second := s.states(s.a, first.Cursor)
		if second.Full || len(second.Monitors) != 1 || second.Monitors[0].State.Status != monitor.Down {
			t.Errorf("read %+v", second)
		}
	})
}

// TestScoresOfRuns: only a run that was held against the baseline has one.
func TestScoresOfRuns(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		s := bundleOn(t, pool)
		c := s.store.Checkpoints("log")
		snap, err := c.LoadPartition(s.ctx, 0, 1)
		s.must(err)
		m := s.create(s.a, "m")
		run := func(at int, o monitor.Outcome, d time.Duration, z float64) checkpoint.Run {
			return checkpoint.Run{Ref: checkpoint.Ref{Org: s.a.org, Monitor: m.ID}, Run: monitor.Run{
				ID: uuid.New(), FinishedAt: instant(at), Outcome: o, ExitCode: record.NoExitCode, Duration: d, ZScore: z,
			}}
		}
		s.must(c.SaveCheckpoint(s.ctx, s.judge(snap, m, monitor.State{Status: monitor.Up}, func(c *checkpoint.Commit) {
			c.Runs = []checkpoint.Run{
				run(1, monitor.Succeeded, time.Second, 0), run(2, monitor.Succeeded, 0, -2.5), run(3, monitor.Failed, time.Second, 0),
				run(4, monitor.Succeeded, record.NoDuration, 0),
			}
		})))
		rows, err := pool.Query(s.ctx, `select z_score from runs order by finished_at`)
		s.must(err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[*float64])
		s.must(err)
		zero, far := 0.0, -2.5
		if d := cmp.Diff([]*float64{&zero, &far, nil, nil}, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}
