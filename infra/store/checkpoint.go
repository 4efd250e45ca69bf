package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
)

// evaluatorName is the evaluator's among the consumers of the log.
const evaluatorName = "evaluator"

// Checkpoints keeps the evaluator's states of one log. Safe for concurrent use.
type Checkpoints struct {
	s     *Store
	logID string
}

// Checkpoints binds the store to a log by its identity.
func (s *Store) Checkpoints(logID string) *Checkpoints { return &Checkpoints{s: s, logID: logID} }

// LoadPartition makes the partition the caller's, so that no other process can write it any more, and reads what the last
// checkpoint left. It serves all organisations: the evaluator is nobody's.
func (c *Checkpoints) LoadPartition(ctx context.Context, partition, partitions int) (checkpoint.Snapshot, error) {
	pos, err := pg.Acquire(ctx, c.s.pool, c.logID, evaluatorName, partition)
	if err != nil {
		return checkpoint.Snapshot{}, err
	}
	snap := checkpoint.Snapshot{Position: checkpoint.Position{
		Partition: partition, Partitions: partitions, Epoch: pos.Epoch, Offset: pos.Offset,
	}}
	if err := json.Unmarshal(pos.Clock, &snap.Clock); err != nil {
		return checkpoint.Snapshot{}, fmt.Errorf("clock of partition %d: %w", partition, err)
	}
	if snap.Clock.Covered.IsZero() {
		if snap.Clock.Covered, err = c.coveredBefore(ctx); err != nil {
			return checkpoint.Snapshot{}, err
		}
	}
	if snap.Gaps, err = c.gaps(ctx, partition); err != nil {
		return checkpoint.Snapshot{}, err
	}
	snap.Monitors, err = c.monitors(ctx, partition, partitions)
	return snap, err
}

// coveredBefore is up to when an earlier log of this database was covered; zero: there was none. A new log (the old one was
// lost, or another engine took over) begins with a gap from there: nobody was late while there was no log.
func (c *Checkpoints) coveredBefore(ctx context.Context) (time.Time, error) {
	var covered *time.Time
	err := c.s.pool.QueryRow(ctx, `
		select min((clock ->> 'covered')::timestamptz) from log_offsets
		where consumer = $1 and log_id = (
		  select log_id from log_offsets where consumer = $1 and log_id <> $2 and clock ? 'covered' order by updated_at desc limit 1)`,
		evaluatorName, c.logID).Scan(&covered)
	if err != nil {
		return time.Time{}, fmt.Errorf("clock of the log before: %w", err)
	}
	if covered == nil {
		return time.Time{}, nil
	}
	return *covered, nil
}

func (c *Checkpoints) gaps(ctx context.Context, partition int) ([]logclock.Gap, error) {
	rows, err := c.s.pool.Query(ctx,
		`select started_at, ended_at from gaps where log_id = $1 and partition = $2 order by started_at`, c.logID, partition)
	if err != nil {
		return nil, fmt.Errorf("gaps of partition %d: %w", partition, err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (g logclock.Gap, err error) {
		err = r.Scan(&g.From, &g.To)
		return g, err
	})
}

func (c *Checkpoints) monitors(ctx context.Context, partition, partitions int) ([]checkpoint.Monitor, error) {
	rows, err := c.s.pool.Query(ctx,
		`select org_id, monitor_id, config, state from monitor_states where hash % $1 = $2`, partitions, partition)
	if err != nil {
		return nil, fmt.Errorf("states of partition %d: %w", partition, err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (m checkpoint.Monitor, err error) {
		var config, state []byte
		if err := r.Scan(&m.Org, &m.ID, &config, &state); err != nil {
			return m, err
		}
		if err := json.Unmarshal(config, &m.Config); err != nil {
			return m, fmt.Errorf("configuration of monitor %s: %w", m.ID, err)
		}
		if err := json.Unmarshal(state, &m.State); err != nil {
			return m, fmt.Errorf("state of monitor %s: %w", m.ID, err)
		}
		return m, nil
	})
}

// SaveCheckpoint writes offset, states, versions, runs, transitions, gaps, incidents and what must be said about them, or
// nothing. The error wraps pg.ErrFenced when the partition has become another's.
func (c *Checkpoints) SaveCheckpoint(ctx context.Context, cp checkpoint.Commit) error {
	clock, err := json.Marshal(cp.Clock)
	if err != nil {
		return err
	}
	pos := pg.Position{
		LogID: c.logID, Consumer: evaluatorName, Partition: cp.Position.Partition, Epoch: cp.Position.Epoch,
	}
	return pgx.BeginFunc(ctx, c.s.pool, func(tx pgx.Tx) error {
		if err := pg.Commit(ctx, tx, pos, cp.Next, clock); err != nil {
			return err
		}
		if err := saveStates(ctx, tx, cp.Monitors); err != nil {
			return err
		}
		if err := saveVersions(ctx, tx, cp.Versions); err != nil {
			return err
		}
		if err := copyRuns(ctx, tx, cp.Runs); err != nil {
			return err
		}
		if err := copyTransitions(ctx, tx, cp.Transitions); err != nil {
			return err
		}
		if err := saveIncidents(ctx, tx, cp.Incidents); err != nil {
			return err
		}
		return c.saveRest(ctx, tx, cp)
	})
}

func (c *Checkpoints) saveRest(ctx context.Context, tx pgx.Tx, cp checkpoint.Commit) error {
	for _, g := range cp.Gaps {
		if _, err := tx.Exec(ctx, `
			insert into gaps (log_id, partition, partitions, started_at, ended_at) values ($1, $2, $3, $4, $5)
			on conflict (log_id, partition, started_at) do update set ended_at = greatest(gaps.ended_at, excluded.ended_at), written_in = default`,
			c.logID, cp.Position.Partition, cp.Position.Partitions, g.From, g.To); err != nil {
			return fmt.Errorf("save gap: %w", err)
		}
	}
	for _, ref := range cp.Deleted {
		if _, err := tx.Exec(ctx, `delete from monitor_states where org_id = $1 and monitor_id = $2`,
			ref.Org, ref.Monitor); err != nil {
			return fmt.Errorf("delete state: %w", err)
		}
	}
	return nil
}

// saveStates writes the states in one statement, and in another those whose configuration changed or that are new.
func saveStates(ctx context.Context, tx pgx.Tx, monitors []checkpoint.Monitor) error {
	var changed, full stateColumns
	for i := range monitors {
		dst := &changed
		if monitors[i].ConfigChanged {
			dst = &full
		}
		if err := dst.add(&monitors[i]); err != nil {
			return err
		}
	}
	if len(changed.ids) > 0 {
		if _, err := tx.Exec(ctx, `
			update monitor_states s
			set state = n.state::jsonb, status = n.status, last_ping_at = n.last_ping_at, due_at = n.due_at,
			    deadline_at = n.deadline_at, open_runs = n.open_runs, updated_at = now(), written_in = default
			from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::int[])
			  as n (monitor_id, org_id, state, status, last_ping_at, due_at, deadline_at, open_runs)
			where s.monitor_id = n.monitor_id and s.org_id = n.org_id`,
			changed.ids, changed.orgs, changed.states, changed.status, changed.pings, changed.dues, changed.deadlines, changed.open); err != nil {
			return fmt.Errorf("save states: %w", err)
		}
	}
	if len(full.ids) > 0 {
		if _, err := tx.Exec(ctx, `
			insert into monitor_states
			  (monitor_id, org_id, state, status, last_ping_at, due_at, deadline_at, open_runs, hash, config)
			select monitor_id, org_id, state::jsonb, status, last_ping_at, due_at, deadline_at, open_runs, hash, config::jsonb
			from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::int[],
			  $9::int[], $10::text[])
			  as n (monitor_id, org_id, state, status, last_ping_at, due_at, deadline_at, open_runs, hash, config)
			on conflict (monitor_id) do update
			set state = excluded.state, status = excluded.status, last_ping_at = excluded.last_ping_at, due_at = excluded.due_at,
			    deadline_at = excluded.deadline_at, open_runs = excluded.open_runs, config = excluded.config, updated_at = now(),
			    written_in = excluded.written_in
			where monitor_states.org_id = excluded.org_id`,
			full.ids, full.orgs, full.states, full.status, full.pings, full.dues, full.deadlines, full.open,
			full.hashes, full.configs); err != nil {
			return fmt.Errorf("save states: %w", err)
		}
	}
	return nil
}

// stateColumns are monitors by column.
type stateColumns struct {
	ids, orgs              []uuid.UUID
	states, status         []string
	pings, dues, deadlines []*time.Time
	open                   []int32
	hashes                 []int32
	configs                []string
}

func (c *stateColumns) add(m *checkpoint.Monitor) error {
	state, err := json.Marshal(&m.State)
	if err != nil {
		return fmt.Errorf("state of monitor %s: %w", m.ID, err)
	}
	c.ids, c.orgs = append(c.ids, m.ID), append(c.orgs, m.Org.UUID)
	c.states, c.status = append(c.states, string(state)), append(c.status, string(m.State.Status))
	c.pings = append(c.pings, instant(m.State.LastPing.At))
	c.dues = append(c.dues, instant(m.State.Due))
	c.deadlines = append(c.deadlines, instant(m.State.Deadline))
	c.open = append(c.open, int32(len(m.State.Open)))
	if m.ConfigChanged {
		config, err := json.Marshal(&m.Config)
		if err != nil {
			return fmt.Errorf("configuration of monitor %s: %w", m.ID, err)
		}
		c.hashes = append(c.hashes, int32(record.Hash(m.ID)))
		c.configs = append(c.configs, string(config))
	}
	return nil
}

// instant is nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func copyRuns(ctx context.Context, tx pgx.Tx, runs []checkpoint.Run) error {
	if len(runs) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"runs"},
		[]string{"finished_at", "org_id", "monitor_id", "run_id", "started_at", "outcome", "exit_code", "duration_seconds", "lateness_seconds", "z_score"},
		pgx.CopyFromSlice(len(runs), func(i int) ([]any, error) {
			r := &runs[i]
			return []any{
				r.FinishedAt, r.Org.UUID, r.Monitor, r.ID, instant(r.StartedAt), string(r.Outcome),
				exitCode(r.ExitCode), seconds(r.Duration), seconds(r.Lateness), zScore(&r.Run),
			}, nil
		}))
	if err != nil {
		return fmt.Errorf("save runs: %w", err)
	}
	return nil
}

func copyTransitions(ctx context.Context, tx pgx.Tx, transitions []checkpoint.Transition) error {
	if len(transitions) == 0 {
		return nil
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"transitions"},
		[]string{"at", "org_id", "monitor_id", "from_status", "to_status", "reason", "seconds_in_previous"},
		pgx.CopyFromSlice(len(transitions), func(i int) ([]any, error) {
			t := &transitions[i]
			return []any{t.At, t.Org.UUID, t.Monitor, string(t.From), string(t.To), t.Reason, t.SecondsInPrevious}, nil
		}))
	if err != nil {
		return fmt.Errorf("save transitions: %w", err)
	}
	return nil
}

func exitCode(code int16) *int16 {
	if code == record.NoExitCode {
		return nil
	}
	return &code
}

// zScore is nil for a run whose duration was not held against the baseline: one that failed, or has none.
func zScore(r *monitor.Run) *float64 {
	if r.Outcome != monitor.Succeeded || r.Duration < 0 {
		return nil
	}
	return &r.ZScore
}

// seconds is nil for a negative duration, which stands for an unknown one.
func seconds(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}
