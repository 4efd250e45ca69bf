package tsdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// ahead is how far behind the window runs are looked for that began in it.
const ahead = 7 * day

// chunk reads the rows of some monitors and tells of them. Each query gives its rows in the order of the monitors asked for,
// and of their time: a nested loop, which nothing else can take the place of.
func (t *tell) chunk(ctx context.Context, subjects []*subject) error {
	c := &chunk{tell: t, subjects: subjects}
	if err := c.begin(ctx); err != nil {
		return fmt.Errorf("read timelines: %w", err)
	}
	b := &pgx.Batch{}
	c.queue(b)
	res := t.tx.SendBatch(ctx, b)
	if err := c.read(res); err != nil {
		_ = res.Close() // it says the same, or that nobody waits any more
		return err
	}
	return res.Close()
}

// chunk is some monitors on their way.
type chunk struct {
	*tell
	subjects []*subject
	readers  []func(pgx.Rows) error // one for each query
	done     int                    // how many were told of
	runs     []monitor.Run          // of the next
}

// begin finds from when on rows are needed: since the beginning of the window, or for what is made of pings since the
// beginning of the last run that ended before it.
func (c *chunk) begin(ctx context.Context) error {
	var asked []*subject
	for _, s := range c.subjects {
		s.since = c.q.From.Add(time.Microsecond)
		if c.needs.Expectation || c.needs.LastPing && c.moved(s) {
			s.since = time.Unix(0, 0).UTC()
			asked = append(asked, s)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	rows, err := c.tx.Query(ctx, `
		select m.n, r.at
		from unnest($2::uuid[]) with ordinality as m (id, n) cross join lateral (
			select coalesce(started_at, finished_at) as at from runs
			where org_id = $1 and monitor_id = m.id and finished_at <= $3 and outcome in ('success', 'fail', 'abandoned')
			order by finished_at desc limit 1
		) as r`, c.org.UUID, idsOf(asked), c.q.From)
	if err != nil {
		return err
	}
	var n int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&n, &at}, func() error {
		asked[n-1].since = at.UTC()
		return nil
	})
	return err
}

// moved reports whether pings came since the beginning of the window: else the state tells what stood there.
func (c *chunk) moved(s *subject) bool { return s.State == nil || s.State.LastPing.At.After(c.q.From) }

func idsOf(subjects []*subject) []uuid.UUID {
	return ids(subjects, func(*subject) bool { return true })
}

// sinces are from when on the subjects' rows are read, and the first of them: by that one chunks are left out.
func sinces(subjects []*subject) (list []time.Time, first time.Time) {
	list = make([]time.Time, len(subjects))
	for i, s := range subjects {
		list[i] = s.since
		if i == 0 || s.since.Before(first) {
			first = s.since
		}
	}
	return list, first
}

// queue asks for all that is needed; the runs of the window are the last.
func (c *chunk) queue(b *pgx.Batch) {
	n := &c.needs
	if n.Down || n.Expectation {
		c.queueTransitions(b)
	}
	if n.Incidents || n.Expectation {
		c.queueIncidents(b)
	}
	if n.LastSuccess || n.LastRun {
		c.queueLast(b)
	}
	if n.Begun() {
		b.Queue(`
			select m.n, r.*
			from unnest($2::uuid[]) with ordinality as m (id, n) cross join lateral (
				select finished_at, started_at, outcome, duration_seconds, z_score from runs
				where org_id = $1 and monitor_id = m.id and finished_at > $3 and finished_at <= $4 and started_at <= $3
				order by finished_at
			) as r`, c.org.UUID, idsOf(c.subjects), c.q.To, c.q.To.Add(ahead))
		c.readers = append(c.readers, each(c.subjects, func(s *subject, v [][]byte) {
			s.later = append(s.later, toRun(v))
		}))
	}
	if n.Runs() {
		c.queueRuns(b)
	}
}

// queueTransitions asks for the changes of status since the monitors' beginnings, and for the last before, unless the state tells.
func (c *chunk) queueTransitions(b *pgx.Batch) {
	var only []string
	if n := &c.needs; !n.Status && (!n.Expectation || !c.anyGaps(c.subjects)) {
		if n.Down {
			only = append(only, "from_status = 'down'", "to_status = 'down'")
		}
		if n.Expectation {
			only = append(only, "from_status = 'paused'", "to_status = 'paused'")
		}
	}
	var before []*subject
	for _, s := range c.subjects {
		if s.State == nil || s.State.Since.After(c.q.From) {
			before = append(before, s)
		}
	}
	const columns = `at, from_status, to_status, seconds_in_previous, reason`
	if len(before) > 0 {
		since, _ := sinces(before)
		b.Queue(`
			select m.n, t.*
			from unnest($2::uuid[], $3::timestamptz[]) with ordinality as m (id, since, n) cross join lateral (
				select `+columns+` from transitions
				where org_id = $1 and monitor_id = m.id and at < m.since
				order by at desc, id desc limit 1
			) as t`, c.org.UUID, idsOf(before), since)
		c.readers = append(c.readers, each(before, addTransition))
	}
	since, first := sinces(c.subjects)
	b.Queue(`
		select m.n, t.*
		from unnest($2::uuid[], $3::timestamptz[]) with ordinality as m (id, since, n) cross join lateral (
			select `+columns+` from transitions
			where org_id = $1 and monitor_id = m.id and at >= m.since and at >= $5 and at <= $4`+orJoin(only...)+`
			order by at, id
		) as t`, c.org.UUID, idsOf(c.subjects), since, c.q.To, first)
	c.readers = append(c.readers, each(c.subjects, addTransition))
}

func addTransition(s *subject, v [][]byte) {
	s.Transitions = append(s.Transitions, monitor.Transition{
		At: toTime(v[1]), From: toStatus(v[2]), To: toStatus(v[3]), SecondsInPrevious: toFloat(v[4]), Reason: string(v[5]),
	})
}

func (c *chunk) queueIncidents(b *pgx.Batch) {
	only := ""
	if !c.needs.Incidents {
		only = " and kind = 'missed'"
	}
	since, _ := sinces(c.subjects)
	b.Queue(`
		select m.n, i.*
		from unnest($2::uuid[], $3::timestamptz[]) with ordinality as m (id, since, n) cross join lateral (
			select opened_at, resolved_at, kind, resolution, evidence ->> 'due_at' as due, evidence ->> 'deadline_at' as deadline
			from incidents
			where org_id = $1 and monitor_id = m.id and opened_at <= $4 and (resolved_at is null or resolved_at >= m.since)`+only+`
			order by opened_at
		) as i`, c.org.UUID, idsOf(c.subjects), since, c.q.To)
	c.readers = append(c.readers, each(c.subjects, func(s *subject, v [][]byte) {
		n := timeline.Incident{Opened: toTime(v[1]), Resolved: toTime(v[2]), Kind: incident.Kind(v[3]), ByPerson: string(v[4]) == "person"}
		if n.Kind == incident.Missed {
			n.Due, _ = time.Parse(time.RFC3339Nano, string(v[5]))
			n.Deadline, _ = time.Parse(time.RFC3339Nano, string(v[6]))
		}
		s.Incidents = append(s.Incidents, n)
	}))
}

// queueLast asks for the last run before the window that succeeded, has a duration, and was held against the baseline.
func (c *chunk) queueLast(b *pgx.Batch) {
	var asked []*subject
	for _, s := range c.subjects {
		if c.moved(s) {
			asked = append(asked, s)
		}
	}
	if len(asked) == 0 {
		return
	}
	const last = `
		(select finished_at, started_at, outcome, duration_seconds, z_score from runs
		 where org_id = $1 and monitor_id = m.id and finished_at <= $3 and %s
		 order by finished_at desc limit 1)`
	which := fmt.Sprintf(last, "outcome = 'success'")
	if c.needs.LastRun { // in this order: of those that ended together the last tells the duration
		which = fmt.Sprintf(last, "z_score is not null") + " union all " + which + " union all " + fmt.Sprintf(last, "duration_seconds is not null")
	}
	b.Queue(`select m.n, r.* from unnest($2::uuid[]) with ordinality as m (id, n) cross join lateral (`+which+`) as r`,
		c.org.UUID, idsOf(asked), c.q.From)
	c.readers = append(c.readers, each(asked, func(s *subject, v [][]byte) { s.last = append(s.last, toRun(v)) }))
}

// queueRuns asks for the runs, and tells of each monitor as soon as its own are there.
func (c *chunk) queueRuns(b *pgx.Batch) {
	n := &c.needs
	column := func(need bool, name, kind string) string {
		if need {
			return name
		}
		return "null::" + kind
	}
	var only []string
	if !n.Counts && !n.Begun() {
		if n.LastSuccess {
			only = append(only, "outcome = 'success'")
		}
		if n.LastRun {
			only = append(only, "duration_seconds is not null")
		}
	}
	since, first := sinces(c.subjects)
	b.Queue(`
		select m.n, r.*
		from unnest($2::uuid[], $3::timestamptz[]) with ordinality as m (id, since, n) cross join lateral (
			select finished_at, `+column(n.Begun(), "started_at", "timestamptz")+`, outcome, `+
		column(n.Histogram || n.LastRun, "duration_seconds", "float8")+`, `+column(n.LastRun, "z_score", "float8")+` from runs
			where org_id = $1 and monitor_id = m.id and finished_at >= m.since and finished_at >= $5 and finished_at <= $4`+orJoin(only...)+`
			order by finished_at
		) as r`, c.org.UUID, idsOf(c.subjects), since, c.q.To, first)
	c.readers = append(c.readers, func(rows pgx.Rows) error {
		for rows.Next() {
			v := rows.RawValues()
			i := int(binary.BigEndian.Uint64(v[0])) - 1
			if err := c.upTo(i); err != nil {
				return err
			}
			c.runs = append(c.runs, toRun(v))
		}
		return rows.Err()
	})
}

// each reads rows of which the first column says to which subject they belong, from 1.
func each(subjects []*subject, add func(*subject, [][]byte)) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			v := rows.RawValues()
			add(subjects[binary.BigEndian.Uint64(v[0])-1], v)
		}
		return rows.Err()
	}
}

// read reads the answers and tells of every monitor.
func (c *chunk) read(res pgx.BatchResults) error {
	for _, f := range c.readers {
		rows, err := res.Query()
		if err == nil {
			for _, d := range rows.FieldDescriptions() {
				if d.Format != pgx.BinaryFormatCode && d.DataTypeOID != 25 { // of a text both are the same
					rows.Close()
					return errors.New("read timelines: the database answers in text; don't use the simple protocol")
				}
			}
			err = f(rows)
			rows.Close()
		}
		if err != nil {
			return err
		}
	}
	return c.upTo(len(c.subjects))
}

// upTo tells of the monitors before the i-th. The runs read so far are those of the first of them.
func (c *chunk) upTo(i int) error {
	if i < c.done {
		return errors.New("read timelines: the database gave runs in another order than asked for")
	}
	for ; c.done < i; c.done++ {
		s := c.subjects[c.done]
		s.Runs = c.runs
		if len(s.last) > 0 {
			s.Runs = slices.Insert(s.Runs, 0, s.last...)
			slices.SortStableFunc(s.Runs, func(a, b monitor.Run) int { return a.FinishedAt.Compare(b.FinishedAt) })
		}
		s.Runs = append(s.Runs, s.later...)
		c.runs = s.Runs[:0]
		tl := c.builder.Build(&s.Rows)
		c.subjects[c.done] = nil
		if len(tl.Points) == 0 {
			continue
		}
		if err := c.f(tl); err != nil {
			return err
		}
	}
	return nil
}
