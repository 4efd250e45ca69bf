package tsdb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// statsQuery asks for the sums of a window, for some monitors of an organisation or for all.
type statsQuery struct {
	org      tenant.OrgID
	window   history.Window
	monitors []uuid.UUID // none: all
}

// few is how many monitors are read without special settings.
const few = 16

// read runs f in a transaction that sees one state of the database: a transition and the state it led to are written together
// and must be read together.
func (q *statsQuery) read(ctx context.Context, pool *pgxpool.Pool, into tallyMap, f func(context.Context, pgx.Tx, tallyMap) error) error {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, pool, o, func(tx pgx.Tx) error {
		if n := len(q.monitors); n == 0 || n > few {
			// The sums of a fleet would else be written to disk in between, and compiling takes longer than the query.
			if _, err := tx.Exec(ctx, `select set_config('work_mem', '128MB', true), set_config('jit', 'off', true)`); err != nil {
				return err
			}
		}
		return f(ctx, tx, into)
	})
}

// The same columns from each of the places in which runs are counted.
const (
	runsBuckets = `monitor_id, succeeded, failed, missed, abandoned, unknown,
		durations, duration_sum, duration_sum2, duration_min, duration_max, duration_histogram,
		latenesses, lateness_sum, lateness_sum2, lateness_min, lateness_max, lateness_histogram`
	runsRows = `monitor_id, (outcome = 'success')::int::bigint, (outcome = 'fail')::int::bigint, (outcome = 'missed')::int::bigint,
		(outcome = 'abandoned')::int::bigint, (outcome = 'unknown')::int::bigint,
		(duration_seconds is not null)::int::bigint, duration_seconds, duration_seconds * duration_seconds, duration_seconds,
		duration_seconds, int4send(tokiflow_histogram_entry(duration_seconds)),
		(lateness_seconds is not null)::int::bigint, lateness_seconds, lateness_seconds * lateness_seconds, lateness_seconds,
		lateness_seconds, int4send(tokiflow_histogram_entry(lateness_seconds))`
	runsSums = `select monitor_id, sum(succeeded::int), sum(failed::int), sum(missed::int), sum(abandoned::int), sum(unknown::int),
		sum(durations::int), coalesce(sum(duration_sum), 0), coalesce(sum(duration_sum2), 0),
		coalesce(min(duration_min), 0), coalesce(max(duration_max), 0), string_agg(duration_histogram, ''::bytea),
		sum(latenesses::int), coalesce(sum(lateness_sum), 0), coalesce(sum(lateness_sum2), 0),
		coalesce(min(lateness_min), 0), coalesce(max(lateness_max), 0), string_agg(lateness_histogram, ''::bytea)
		from (%s) as parts (` + runsBuckets + `) group by monitor_id`

	availabilityBuckets = `monitor_id, up_seconds, late_seconds, down_seconds, failures, recoveries, transitions,
		first_at, 0::bigint, first_status, first_seconds, last_at`
	availabilityRows = `monitor_id, case when from_status = 'up' then seconds_in_previous else 0 end,
		case when from_status = 'late' then seconds_in_previous else 0 end,
		case when from_status = 'down' then seconds_in_previous else 0 end,
		(to_status = 'down' and from_status <> 'down')::int::bigint, (from_status = 'down' and to_status <> 'down')::int::bigint,
		1::bigint, at, id, from_status, seconds_in_previous, at`
	availabilitySums = `select monitor_id, sum(up_seconds), sum(late_seconds), sum(down_seconds),
		sum(failures)::bigint, sum(recoveries)::bigint, sum(transitions)::bigint, min(first_at),
		(array_agg(first_status order by first_at, first_id))[1], (array_agg(first_seconds order by first_at, first_id))[1], max(last_at)
		from (%s) as parts (monitor_id, up_seconds, late_seconds, down_seconds, failures, recoveries, transitions,
			first_at, first_id, first_status, first_seconds, last_at) group by monitor_id`
)

// arms joins one SELECT for each piece of the window. Only those that are needed are asked for: planning them costs more than
// reading them.
type arms struct {
	q    *statsQuery
	sql  []string
	args []any
}

func (q *statsQuery) arms() *arms {
	a := &arms{q: q, args: []any{q.org.UUID}}
	if len(q.monitors) > 0 {
		a.args = append(a.args, q.monitors)
	}
	return a
}

// add reads columns of a relation for each of the windows.
func (a *arms) add(columns, relation, clock string, windows []history.Window) {
	which := ""
	if len(a.q.monitors) > 0 {
		which = " and monitor_id = any($2)"
	}
	for _, w := range windows {
		n := len(a.args)
		a.sql = append(a.sql, fmt.Sprintf("select %s from %s where org_id = $1%s and %s >= $%d and %[4]s < $%[6]d",
			columns, relation, which, clock, n+1, n+2))
		a.args = append(a.args, w.From, w.To)
	}
}

func (a *arms) query(ctx context.Context, tx pgx.Tx, sums string) (pgx.Rows, error) {
	return tx.Query(ctx, fmt.Sprintf(sums, strings.Join(a.sql, " union all ")), a.args...)
}

// finished asks up to when the aggregates are stored. Rows since then are read themselves.
func finished(ctx context.Context, tx pgx.Tx, levels []level) error {
	names := make([]string, len(levels))
	for i, l := range levels {
		names[i] = l.relation
	}
	rows, err := tx.Query(ctx, `select tokiflow_rolled_to(name) from unnest($1::text[]) with ordinality as n (name, i) order by i`, names)
	if err != nil {
		return err
	}
	ends, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.Timestamptz])
	if err != nil {
		return err
	}
	for i, end := range ends {
		if end.InfinityModifier == pgtype.Finite {
			levels[i].until = end.Time.UTC() //nolint:gosec // one end a level
		}
	}
	return nil
}

// runLevels are the aggregates of runs, the widest first.
func runLevels() []level {
	return []level{{relation: "runs_weekly", width: 7 * day}, {relation: "runs_daily", width: day}, {relation: "runs_hourly", width: time.Hour}}
}

func (q *statsQuery) readRuns(ctx context.Context, tx pgx.Tx, into tallyMap) error {
	levels := runLevels()
	if err := finished(ctx, tx, levels); err != nil {
		return err
	}
	a := q.arms()
	a.addRuns(cover(q.window, levels))
	return a.readRuns(ctx, tx, into)
}

func (a *arms) addRuns(parts []part, pieces []history.Window) {
	for _, p := range parts {
		a.add(runsBuckets, p.relation+"_stored", "bucket", p.windows)
	}
	a.add(runsRows, "runs", "finished_at", pieces)
}

// readRuns reads what the arms ask for and adds it up.
func (a *arms) readRuns(ctx context.Context, tx pgx.Tx, into tallyMap) error {
	rows, err := a.query(ctx, tx, runsSums)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		var t tally
		var durations, latenesses []byte
		d, l := &t.duration, &t.lateness
		if err := rows.Scan(&id, &t.succeeded, &t.failed, &t.missed, &t.abandoned, &t.unknown,
			&d.n, &d.sum, &d.sum2, &d.min, &d.max, &durations,
			&l.n, &l.sum, &l.sum2, &l.min, &l.max, &latenesses); err != nil {
			return err
		}
		d.entries, l.entries = [][]byte{durations}, [][]byte{latenesses}
		into.of(id).add(&t)
	}
	return rows.Err()
}

// spans is how one monitor's statuses lie in the window.
type spans struct {
	first        time.Time // the first change in the window; zero: none
	firstStatus  monitor.Status
	firstSeconds float64
	last         time.Time // the last change in the window
}

func (q *statsQuery) readAvailability(ctx context.Context, tx pgx.Tx, into tallyMap) error {
	changed, err := q.readTransitions(ctx, tx, into)
	if err != nil {
		return err
	}
	gaps, err := q.readGaps(ctx, tx)
	if err != nil {
		return err
	}
	states, err := q.readStates(ctx, tx)
	if err != nil {
		return err
	}
	for id, s := range changed {
		q.clipHead(into.of(id), s, gaps.of(id))
	}
	for id, s := range states {
		q.addTail(into.of(id), changed[id], s, gaps.of(id))
	}
	return nil
}

// readTransitions sums up the changes of status in the window: the seconds in each status left, wherever they began.
func (q *statsQuery) readTransitions(ctx context.Context, tx pgx.Tx, into tallyMap) (map[uuid.UUID]spans, error) {
	levels := []level{{relation: "availability_daily", width: day}}
	if err := finished(ctx, tx, levels); err != nil {
		return nil, err
	}
	parts, pieces := cover(q.window, levels)
	a := q.arms()
	for _, p := range parts {
		a.add(availabilityBuckets, p.relation+"_stored", "bucket", p.windows)
	}
	a.add(availabilityRows, "transitions", "at", pieces)
	rows, err := a.query(ctx, tx, availabilitySums)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	changed := map[uuid.UUID]spans{}
	for rows.Next() {
		var (
			id             uuid.UUID
			up, late, down float64
			t              tally
			s              spans
			status         string
		)
		if err := rows.Scan(&id, &up, &late, &down, &t.failures, &t.recoveries, &t.transitions,
			&s.first, &status, &s.firstSeconds, &s.last); err != nil {
			return nil, err
		}
		s.firstStatus = monitor.Status(status)
		t.spend(monitor.Up, up)
		t.spend(monitor.Late, late)
		t.spend(monitor.Down, down)
		into.of(id).add(&t)
		changed[id] = s
	}
	return changed, rows.Err()
}

// clipHead takes away what the first change brought in of the time before the window.
func (q *statsQuery) clipHead(t *tally, s spans, gaps *logclock.Gaps) {
	if !observed(s.firstStatus) {
		return
	}
	inside := seconds(s.first.Sub(q.window.From) - gaps.Between(q.window.From, s.first))
	if before := s.firstSeconds - inside; before > 0 {
		t.spend(s.firstStatus, -before)
	}
}

// addTail adds the time from the last change in the window, or from its beginning, to its end.
func (q *statsQuery) addTail(t *tally, s spans, now state, gaps *logclock.Gaps) {
	from := later(q.window.From, s.last)
	if now.since.Before(q.window.To) {
		from = later(q.window.From, now.since)
	}
	if from.Before(q.window.To) && observed(now.status) {
		t.spend(now.status, seconds(q.window.To.Sub(from)-gaps.Between(from, q.window.To)))
	}
}

func observed(s monitor.Status) bool {
	return s == monitor.Up || s == monitor.Late || s == monitor.Down
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
