package tsdb_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	prommodel "github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// life is a monitor led through the state machine, with all the rows that came of it.
type life struct {
	id    uuid.UUID
	org   tenant.OrgID
	rules *monitor.Rules
	state monitor.State
	gaps  *logclock.Gaps
	now   time.Time
	gone  bool
	rows  timeline.Rows
	ids   []uuid.UUID // of the incidents
}

// lead makes a monitor and leads it from begin to end.
func lead(rng *rand.Rand, o tenant.OrgID, id uuid.UUID, begin, end time.Time, gaps []logclock.Gap) *life {
	l := &life{id: id, org: o, now: begin, gaps: logclock.NewGaps(gaps)}
	l.rows.ID, l.rows.Gaps = id, l.gaps
	l.configure(rng)
	run := 0
	pace := float64(time.Minute) * (1 + 20*rng.Float64())
	for !l.gone {
		to := l.now.Add(time.Duration(rng.ExpFloat64() * pace).Truncate(time.Microsecond))
		if rng.IntN(200) == 0 {
			to = to.Add(4 * day)
		}
		if g, inside := l.gaps.Last(to, to); inside {
			to = g.To // it was turned away until then
		}
		for t := l.state.Timer(); !t.IsZero() && !t.After(to) && t.Before(end); t = l.state.Timer() {
			l.next(monitor.Event{Judged: t})
		}
		if !to.Before(end) {
			break
		}
		l.now = to
		switch n := rng.IntN(100); {
		case n < 92:
			run++
			p := monitor.Ping{
				ID: uuid.UUID{0: 5, 1: id[15], 14: byte(run >> 8), 15: byte(run)}, At: to, ExitCode: record.NoExitCode, Duration: record.NoDuration,
				Kind: []record.PingKind{record.Start, record.Success, record.Success, record.Fail}[rng.IntN(4)],
			}
			if p.Kind != record.Start && rng.IntN(3) == 0 {
				p.Duration = time.Duration(rng.IntN(5)) * time.Second / time.Duration(1+rng.IntN(2))
			}
			if rng.IntN(3) == 0 {
				p.RID = uuid.UUID{0: 6, 15: byte(run / 3)}
			}
			if l.retry(p) {
				continue
			}
			l.next(monitor.Event{Judged: to, Ping: &p})
		case n < 95:
			l.configure(rng)
		case n < 97:
			l.control(monitor.Control{Action: []record.Action{record.Pause, record.Resume}[rng.IntN(2)]})
		case n < 99:
			for _, k := range slices.Sorted(maps.Keys(l.state.Incidents)) {
				l.control(monitor.Control{Action: record.ResolveIncident, Incident: l.state.Incidents[k]})
				break
			}
		case rng.IntN(8) == 0:
			l.control(monitor.Control{Action: record.Delete})
		}
	}
	slices.SortStableFunc(l.rows.Runs, func(a, b monitor.Run) int { return a.FinishedAt.Compare(b.FinishedAt) })
	l.rows.TotalsAt = begin.Add(-time.Microsecond)
	if !l.gone {
		l.rows.State, l.rows.Totals, l.rows.TotalsAt = &l.state, *l.state.Totals.Clone(), end
	}
	return l
}

// retry reports whether a ping would only repeat another: the rows cannot tell of it.
func (l *life) retry(p monitor.Ping) bool {
	s, out := monitor.Next(l.id, l.rules, l.state, monitor.Event{Judged: p.At, Ping: &p, Gaps: l.gaps})
	return len(out.Runs) == 0 && len(s.Open) == len(l.state.Open)
}

func (l *life) configure(rng *rand.Rand) {
	c := monitor.DefaultConfig()
	c.Name = fmt.Sprint("monitor ", rng.IntN(1000))
	c.Schedule = schedule.Spec{Interval: prommodel.Duration(time.Duration(1+rng.IntN(30)) * time.Minute)}
	if rng.IntN(2) == 0 {
		c.Schedule = schedule.Spec{Cron: []string{"*/5 * * * *", "0 * * * *", "30 3 * * *"}[rng.IntN(3)]}
	}
	c.Grace = prommodel.Duration(time.Duration(rng.IntN(20)) * time.Minute)
	c.MaxRuntime = prommodel.Duration(time.Duration(rng.IntN(3)) * time.Hour)
	c.Anomaly.MinRuns = 2
	s, err := c.Schedule.Compile()
	if err != nil {
		panic(err)
	}
	rules := monitor.NewRules(c, s)
	if l.rules == nil {
		l.rules = rules
	}
	l.control(monitor.Control{Action: record.Configure, Rules: rules})
	l.rules = rules
	l.version()
	l.now = l.now.Add(time.Microsecond)
}

func (l *life) version() {
	c := l.rules.Config
	l.rows.Versions = append(l.rows.Versions, timeline.Version{At: l.now, Deleted: l.gone, Project: "project", Config: &c})
}

func (l *life) control(c monitor.Control) {
	c.At, c.Version = l.now, l.state.Version+1
	l.next(monitor.Event{Judged: l.now, Control: &c})
	if l.gone {
		l.version()
	}
}

func (l *life) next(e monitor.Event) {
	e.Gaps = l.gaps
	state, out := monitor.Next(l.id, l.rules, l.state, e)
	l.state, l.gone = state, out.Deleted
	l.rows.Runs = append(l.rows.Runs, out.Runs...)
	l.rows.Transitions = append(l.rows.Transitions, out.Transitions...)
	for _, c := range out.Incidents {
		if c.Resolved {
			i := slices.Index(l.ids, c.ID)
			l.rows.Incidents[i].Resolved, l.rows.Incidents[i].ByPerson = c.At, c.Reason == "person"
			continue
		}
		n := timeline.Incident{Kind: c.Kind, Opened: c.At}
		if c.Kind == "missed" {
			n.Due, n.Deadline = *c.Evidence.DueAt, *c.Evidence.DeadlineAt
		}
		l.rows.Incidents, l.ids = append(l.rows.Incidents, n), append(l.ids, c.ID)
	}
}

// save writes what the evaluator would have written by the end.
func (l *life) save(t *testing.T, pool *pgxpool.Pool, end time.Time) {
	t.Helper()
	b := &pgx.Batch{}
	null := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	for _, v := range l.rows.Versions {
		b.Queue(`insert into monitor_versions (org_id, monitor_id, at, deleted, project, config) values ($1, $2, $3, $4, $5, $6)`,
			l.org.UUID, l.id, v.At, v.Deleted, v.Project, v.Config)
	}
	for _, r := range l.rows.Runs {
		var seconds, z *float64
		if r.Duration >= 0 {
			s := r.Duration.Seconds()
			seconds = &s
			if r.Outcome == monitor.Succeeded {
				z = &r.ZScore
			}
		}
		b.Queue(`insert into runs (finished_at, org_id, monitor_id, run_id, started_at, duration_seconds, outcome, z_score)
			values ($1, $2, $3, $4, $5, $6, $7, $8)`, r.FinishedAt, l.org.UUID, l.id, r.ID, null(r.StartedAt), seconds, string(r.Outcome), z)
	}
	for _, x := range l.rows.Transitions {
		b.Queue(`insert into transitions (at, org_id, monitor_id, seconds_in_previous, from_status, to_status, reason)
			values ($1, $2, $3, $4, $5, $6, $7)`, x.At, l.org.UUID, l.id, x.SecondsInPrevious, string(x.From), string(x.To), x.Reason)
	}
	for i, n := range l.rows.Incidents {
		evidence := map[string]any{}
		if !n.Deadline.IsZero() {
			evidence["due_at"], evidence["deadline_at"] = n.Due, n.Deadline
		}
		resolution := ""
		if n.ByPerson {
			resolution = "person"
		}
		b.Queue(`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, resolved_at, resolution, evidence)
			values ($1, $2, $3, '', $4, '', $5, $6, $7, $8)`, l.ids[i], l.org.UUID, l.id, string(n.Kind), n.Opened, null(n.Resolved), resolution, evidence)
	}
	if !l.gone {
		state, err := json.Marshal(&l.state)
		if err != nil {
			t.Fatal(err)
		}
		s := &l.state
		b.Queue(`insert into monitor_states (monitor_id, org_id, hash, config, state, status, last_ping_at, due_at, deadline_at, open_runs, updated_at)
			values ($1, $2, 0, '{}', $3, $4, $5, $6, $7, $8, $9)`, l.id, l.org.UUID, state, string(s.Status),
			null(s.LastPing.At), null(s.Due), null(s.Deadline), len(s.Open), end)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		t.Fatal(err)
	}
}
