package tsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// readVersions finds the monitors that lived in the window.
func (t *tell) readVersions(ctx context.Context) error {
	config := "null::jsonb"
	if t.needs.Configs() {
		config = "config"
	}
	rows, err := t.tx.Query(ctx, `
		select monitor_id, at, deleted, project, `+config+`
		from monitor_versions
		where org_id = $1 and at <= $2 and ($3::uuid[] is null or monitor_id = any($3))
		order by monitor_id, at`, t.org.UUID, t.q.To, t.q.IDs)
	if err != nil {
		return err
	}
	var (
		s  *subject
		id uuid.UUID
		v  timeline.Version
		c  []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &v.At, &v.Deleted, &v.Project, &c}, func() error {
		if s == nil || s.ID != id {
			s = &subject{Rows: timeline.Rows{ID: id}}
			t.subjects = append(t.subjects, s)
		}
		v := v
		v.At, v.Config = v.At.UTC(), nil
		if c != nil {
			v.Config = &monitor.Config{}
			if err := json.Unmarshal(c, v.Config); err != nil {
				return fmt.Errorf("configuration of monitor %s: %w", id, err)
			}
		}
		if v.Deleted && !v.At.After(t.q.From) { // it did not live to see the window
			t.subjects = t.subjects[:len(t.subjects)-1]
			return nil
		}
		s.Versions = append(s.Versions, v)
		return nil
	})
	return err
}

// readStates brings the states, of their JSON what is needed.
func (t *tell) readStates(ctx context.Context) error {
	when := func(need bool, column, kind string) string {
		if need {
			return column
		}
		return "null::" + kind
	}
	totals := "state -> 'totals'"
	if !t.needs.Histogram {
		totals = "(state -> 'totals') #- '{durations,b}'"
	}
	rows, err := t.tx.Query(ctx, fmt.Sprintf(`
		select monitor_id, status, state ->> 'since', updated_at, last_ping_at, due_at, deadline_at, %s, %s, %s, %s
		from monitor_states
		where org_id = $1 and ($2::uuid[] is null or monitor_id = any($2))`,
		when(t.needs.Begun(), "case when open_runs > 0 then state -> 'open' end", "jsonb"),
		when(t.needs.LastSuccess, "state ->> 'last_success'", "text"),
		when(t.needs.LastRun, "(state ->> 'z_score')::float8", "float8"),
		when(t.needs.Totals(), totals, "jsonb"),
	), t.org.UUID, t.q.IDs)
	if err != nil {
		return err
	}
	byID := make(map[uuid.UUID]*subject, len(t.subjects))
	for _, s := range t.subjects {
		byID[s.ID] = s
	}
	var row stateRow
	_, err = pgx.ForEachRow(rows, []any{
		&row.id, &row.status, &row.since, &row.updated, &row.ping, &row.due, &row.deadline, &row.open, &row.success, &row.z, &row.totals,
	}, func() error {
		s := byID[row.id]
		if s == nil {
			return nil // made behind the window
		}
		state, err := row.state()
		if err != nil {
			return fmt.Errorf("state of monitor %s: %w", row.id, err)
		}
		s.State = state
		s.Settled = !row.updated.After(t.q.To) && !state.Since.After(t.q.To) && !state.LastPing.At.After(t.q.To)
		return nil
	})
	return err
}

// stateRow is what is read of a state; nil where it is not needed or not there.
type stateRow struct {
	id                  uuid.UUID
	status, since       string
	updated             time.Time
	ping, due, deadline *time.Time
	open, totals        []byte
	success             *string
	z                   *float64
}

func (r *stateRow) state() (*monitor.State, error) {
	s := &monitor.State{Status: monitor.Status(r.status), Due: utc(r.due), Deadline: utc(r.deadline)}
	s.LastPing.At = utc(r.ping)
	if r.z != nil {
		s.ZScore = *r.z
	}
	var err error
	if s.Since, err = time.Parse(time.RFC3339Nano, r.since); err != nil {
		return nil, err
	}
	if r.success != nil {
		if s.LastSuccess, err = time.Parse(time.RFC3339Nano, *r.success); err != nil {
			return nil, err
		}
	}
	if r.open != nil {
		if err := json.Unmarshal(r.open, &s.Open); err != nil {
			return nil, err
		}
	}
	if r.totals != nil {
		s.Totals = &monitor.Totals{}
		if err := json.Unmarshal(r.totals, s.Totals); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// utc is the zero time for nil.
func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
