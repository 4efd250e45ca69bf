package tsdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// farBack is how old the end of a window must be before what came after it is counted in the aggregates and not in the rows.
// The counts are the same; times are sums of floating point numbers there and may be off by microseconds.
const farBack = 7 * day

// readTotals finds what the monitors' totals were at the window's end, from what they are now and what came after it; those of
// a deleted monitor at its beginning, from its oldest row on.
func (t *tell) readTotals(ctx context.Context) error {
	var now time.Time
	if err := t.tx.QueryRow(ctx, `select now()`).Scan(&now); err != nil {
		return err
	}
	gone := ids(t.subjects, func(s *subject) bool { return s.State == nil })
	later, before := totals{}, totals{}
	if len(gone) < len(t.subjects) {
		w := history.Window{From: t.q.To.Add(time.Microsecond), To: latest(now, t.q.To).Add(day)}
		if err := t.sum(ctx, w, t.q.IDs, now.Sub(t.q.To) > farBack, later); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		w := history.Window{From: time.Unix(0, 0).UTC(), To: t.q.From.Add(time.Microsecond)}
		if err := t.sum(ctx, w, gone, false, before); err != nil {
			return err
		}
	}
	for _, s := range t.subjects {
		if s.State == nil {
			s.Totals, s.TotalsAt = *before.of(s.ID), t.q.From
			continue
		}
		s.Totals, s.TotalsAt = *s.State.Totals.Clone(), t.q.To
		if l := later[s.ID]; l != nil {
			takeOff(&s.Totals, l)
		}
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// totals are sums by monitor.
type totals map[uuid.UUID]*monitor.Totals

func (t totals) of(id uuid.UUID) *monitor.Totals {
	s := t[id]
	if s == nil {
		s = &monitor.Totals{}
		t[id] = s
	}
	return s
}

// takeOff takes l off t.
func takeOff(t, l *monitor.Totals) {
	t.Succeeded -= l.Succeeded
	t.Failed -= l.Failed
	t.Missed -= l.Missed
	t.Abandoned -= l.Abandoned
	t.Unknown -= l.Unknown
	t.UpTime -= l.UpTime
	t.DownTime -= l.DownTime
	t.Outages -= l.Outages
	t.Recoveries -= l.Recoveries
	t.Durations.Count -= l.Durations.Count
	t.Durations.Sum -= l.Durations.Sum
	t.Durations.Zero -= l.Durations.Zero
	for _, b := range l.Durations.Buckets {
		at, found := slices.BinarySearchFunc(t.Durations.Buckets, b.Index, func(b monitor.Bucket, i int32) int { return int(b.Index) - int(i) })
		if !found {
			continue
		}
		if t.Durations.Buckets[at].Count -= b.Count; t.Durations.Buckets[at].Count <= 0 {
			t.Durations.Buckets = slices.Delete(t.Durations.Buckets, at, at+1)
		}
	}
}

// sum counts the runs and transitions of a window, those of the monitors, nil being all.
func (t *tell) sum(ctx context.Context, w history.Window, monitors []uuid.UUID, aggregates bool, into totals) error {
	q := &statsQuery{org: t.org, window: w, monitors: monitors}
	if t.needs.Counts || t.needs.LastRun {
		if err := t.sumRuns(ctx, q, aggregates, into); err != nil {
			return err
		}
	}
	if t.needs.Histogram {
		if err := t.sumDurations(ctx, q, into); err != nil {
			return err
		}
	}
	if t.needs.Times {
		return t.sumTransitions(ctx, q, aggregates, into)
	}
	return nil
}

const (
	countBuckets = `monitor_id, succeeded, failed, missed, abandoned, unknown, durations`
	countRows    = `monitor_id, (outcome = 'success')::int::bigint, (outcome = 'fail')::int::bigint, (outcome = 'missed')::int::bigint,
		(outcome = 'abandoned')::int::bigint, (outcome = 'unknown')::int::bigint, (duration_seconds is not null)::int::bigint`
	countSums = `select monitor_id, sum(succeeded)::bigint, sum(failed)::bigint, sum(missed)::bigint, sum(abandoned)::bigint,
		sum(unknown)::bigint, sum(durations)::bigint
		from (%s) as parts (` + countBuckets + `) group by monitor_id`

	timeBuckets = `monitor_id, round((up_seconds + late_seconds) * 1e6)::bigint, round(down_seconds * 1e6)::bigint, failures, recoveries`
	timeRows    = `monitor_id, case when from_status in ('up', 'late') then round(seconds_in_previous * 1e6)::bigint else 0 end,
		case when from_status = 'down' then round(seconds_in_previous * 1e6)::bigint else 0 end,
		(to_status = 'down' and from_status <> 'down')::int::bigint, (from_status = 'down' and to_status <> 'down')::int::bigint`
	timeSums = `select monitor_id, sum(up)::bigint, sum(down)::bigint, sum(failures)::bigint, sum(recoveries)::bigint
		from (%s) as parts (monitor_id, up, down, failures, recoveries) group by monitor_id`
)

// plan joins the rows of the query's window and, where they may be used, the finished buckets in it.
func (t *tell) plan(ctx context.Context, q *statsQuery, aggregates bool, levels []level, buckets, columns, relation, clock string) (*arms, error) {
	a, pieces := q.arms(), []history.Window{q.window}
	if aggregates {
		if err := finished(ctx, t.tx, levels); err != nil {
			return nil, err
		}
		var parts []part
		parts, pieces = cover(q.window, levels)
		for _, p := range parts {
			a.add(buckets, p.relation+"_stored", "bucket", p.windows)
		}
	}
	a.add(columns, relation, clock, pieces)
	return a, nil
}

func (t *tell) sumRuns(ctx context.Context, q *statsQuery, aggregates bool, into totals) error {
	levels := []level{{relation: "runs_weekly", width: 7 * day}, {relation: "runs_daily", width: day}, {relation: "runs_hourly", width: time.Hour}}
	a, err := t.plan(ctx, q, aggregates, levels, countBuckets, countRows, "runs", "finished_at")
	if err != nil {
		return err
	}
	rows, err := a.query(ctx, t.tx, countSums)
	if err != nil {
		return err
	}
	var id uuid.UUID
	var n monitor.Totals
	_, err = pgx.ForEachRow(rows, []any{&id, &n.Succeeded, &n.Failed, &n.Missed, &n.Abandoned, &n.Unknown, &n.Durations.Count}, func() error {
		s := into.of(id)
		s.Succeeded, s.Failed, s.Missed, s.Abandoned, s.Unknown = n.Succeeded, n.Failed, n.Missed, n.Abandoned, n.Unknown
		s.Durations.Count = n.Durations.Count
		return nil
	})
	return err
}

func (t *tell) sumTransitions(ctx context.Context, q *statsQuery, aggregates bool, into totals) error {
	levels := []level{{relation: "availability_daily", width: day}}
	a, err := t.plan(ctx, q, aggregates, levels, timeBuckets, timeRows, "transitions", "at")
	if err != nil {
		return err
	}
	rows, err := a.query(ctx, t.tx, timeSums)
	if err != nil {
		return err
	}
	var (
		id                            uuid.UUID
		up, down, outages, recoveries int64
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &up, &down, &outages, &recoveries}, func() error {
		s := into.of(id)
		s.UpTime, s.DownTime = time.Duration(up)*time.Microsecond, time.Duration(down)*time.Microsecond
		s.Outages, s.Recoveries = outages, recoveries
		return nil
	})
	return err
}

// The buckets of any duration there can be, and one below them for 0.
const (
	lowestBucket  = -160 // up to 2^-20 s, which is less than a microsecond
	highestBucket = 272
)

// sumDurations counts durations by the buckets of core/monitor. The aggregates have others.
func (t *tell) sumDurations(ctx context.Context, q *statsQuery, into totals) error {
	// width_bucket's buckets include their lower bound, ours the upper one: so all is turned round.
	bounds := make([]float64, 0, highestBucket-lowestBucket+1)
	for i := int32(highestBucket); i >= lowestBucket; i-- {
		bounds = append(bounds, -monitor.BucketBound(i))
	}
	which, args := "", []any{q.org.UUID, q.window.From, q.window.To, bounds, highestBucket + 1}
	if q.monitors != nil {
		which, args = "and monitor_id = any($6)", append(args, q.monitors)
	}
	rows, err := t.tx.Query(ctx, fmt.Sprintf(`
		select monitor_id, $5 - width_bucket(-duration_seconds, $4::float8[]), count(*), sum(round(duration_seconds * 1e6)::bigint)::bigint
		from runs
		where org_id = $1 and finished_at >= $2 and finished_at < $3 and duration_seconds >= 0 %s
		group by 1, 2 order by 1, 2`, which), args...)
	if err != nil {
		return err
	}
	var (
		id     uuid.UUID
		bucket int32
		n, sum int64
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &bucket, &n, &sum}, func() error {
		h := &into.of(id).Durations
		h.Sum += time.Duration(sum) * time.Microsecond
		if bucket <= lowestBucket {
			h.Zero += n
			return nil
		}
		h.Buckets = append(h.Buckets, monitor.Bucket{Index: bucket, Count: n})
		return nil
	})
	return err
}

// orJoin is the disjunction of the conditions as a further one; none of them leaves nothing out.
func orJoin(conditions ...string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " and (" + strings.Join(conditions, " or ") + ")"
}
