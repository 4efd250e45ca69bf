package tsdb_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg"
)

// The model is what stats are by their definition, worked out row by row from the whole history.

type modelRun struct {
	at                 time.Time
	outcome            monitor.Outcome
	duration, lateness float64 // negative: none
}

type modelSpan struct {
	status   monitor.Status
	from, to time.Time // to is zero for the last
}

type modelMonitor struct {
	org   tenant.OrgID
	id    uuid.UUID
	runs  []modelRun
	spans []modelSpan
}

type gap struct{ from, to time.Time }

type model struct {
	begin, end time.Time
	partitions int
	gaps       map[int][]gap
	monitors   []*modelMonitor
}

// newModel makes a history of some monitors of organisation 1 and one of organisation 2.
func newModel(rng *rand.Rand, monitors, days int) *model {
	m := &model{begin: at("2026-02-01 00:00:00"), partitions: 3, gaps: map[int][]gap{}}
	m.end = m.begin.Add(time.Duration(days) * 24 * time.Hour)
	for p := range m.partitions {
		for t := m.begin; t.Before(m.end); {
			t = t.Add(time.Duration(rng.ExpFloat64() * float64(60*time.Hour))).Truncate(time.Microsecond)
			g := gap{t, t.Add(time.Duration(rng.Int64N(int64(3 * time.Hour)))).Truncate(time.Microsecond)}
			if g.to.Before(m.end) {
				m.gaps[p] = append(m.gaps[p], g)
			}
			t = g.to
		}
	}
	for n := range monitors {
		mon := &modelMonitor{org: org(1), id: monitorID(n)}
		if n == 0 {
			mon.org = org(2)
		}
		mon.history(rng, m)
		m.monitors = append(m.monitors, mon)
	}
	return m
}

func (mon *modelMonitor) history(rng *rand.Rand, m *model) {
	length := float64(m.end.Sub(m.begin))
	created := m.begin.Add(time.Duration(rng.Float64() * length / 4)).Truncate(time.Microsecond)
	statuses := []monitor.Status{monitor.Up, monitor.Late, monitor.Down, monitor.Paused, monitor.New}
	mean := math.Exp(rng.Float64()*6) / 2 // hours
	span := modelSpan{status: monitor.New, from: created}
	for {
		wait := time.Duration(rng.ExpFloat64() * mean * float64(time.Hour))
		if rng.IntN(10) == 0 {
			wait = 0 // several changes at one instant
		}
		t := span.from.Add(wait).Truncate(time.Microsecond)
		if !t.Before(m.end) {
			break
		}
		if rng.IntN(8) == 0 && t.Truncate(24*time.Hour).After(span.from) {
			t = t.Truncate(24 * time.Hour) // just at the edge of a bucket
		}
		span.to = t
		mon.spans = append(mon.spans, span)
		next := statuses[rng.IntN(len(statuses))]
		for next == span.status {
			next = statuses[rng.IntN(len(statuses))]
		}
		span = modelSpan{status: next, from: t}
	}
	mon.spans = append(mon.spans, span)

	outcomes := []monitor.Outcome{monitor.Succeeded, monitor.Succeeded, monitor.Failed, monitor.Missed, monitor.Abandoned, monitor.Unknown}
	perDay := math.Exp(rng.Float64() * 5)
	for t := created; ; {
		t = t.Add(time.Duration(rng.ExpFloat64() * float64(24*time.Hour) / perDay)).Truncate(time.Microsecond)
		if !t.Before(m.end) {
			return
		}
		if hour := t.Truncate(time.Hour); rng.IntN(20) == 0 && hour.After(created) && (len(mon.runs) == 0 || hour.After(mon.runs[len(mon.runs)-1].at)) {
			t = hour
		}
		r := modelRun{at: t, outcome: outcomes[rng.IntN(len(outcomes))], duration: -1, lateness: -1}
		if rng.IntN(5) > 0 {
			r.duration = math.Round(math.Exp(rng.NormFloat64()+2)*1e6) / 1e6
		}
		if rng.IntN(30) == 0 {
			r.duration = 0
		}
		if rng.IntN(3) > 0 {
			r.lateness = math.Round(rng.ExpFloat64()*60*1e6) / 1e6
		}
		mon.runs = append(mon.runs, r)
	}
}

// gapsOf are the gaps of a monitor's partition.
func (m *model) gapsOf(id uuid.UUID) []gap { return m.gaps[record.Partition(id, m.partitions)] }

// observed is the time from a to b without the gaps.
func observed(a, b time.Time, gaps []gap) float64 {
	if !a.Before(b) {
		return 0
	}
	d := b.Sub(a)
	for _, g := range gaps {
		from, to := g.from, g.to
		if from.Before(a) {
			from = a
		}
		if to.After(b) {
			to = b
		}
		if from.Before(to) {
			d -= to.Sub(from)
		}
	}
	return d.Seconds()
}

// expected is what the stats of some monitors over a window must be.
type expected struct {
	seconds              map[monitor.Status]float64
	failures, recoveries int64
	runs                 map[monitor.Outcome]int64
	durations, lateness  []float64
}

func (m *model) expect(w history.Window, monitors ...*modelMonitor) expected {
	e := expected{seconds: map[monitor.Status]float64{}, runs: map[monitor.Outcome]int64{}}
	in := func(t time.Time) bool { return !t.Before(w.From) && t.Before(w.To) }
	for _, mon := range monitors {
		for i, s := range mon.spans {
			from, to := s.from, s.to
			if to.IsZero() || to.After(w.To) {
				to = w.To
			}
			if from.Before(w.From) {
				from = w.From
			}
			e.seconds[s.status] += observed(from, to, m.gapsOf(mon.id))
			if i > 0 && in(s.from) {
				if s.status == monitor.Down {
					e.failures++
				}
				if mon.spans[i-1].status == monitor.Down {
					e.recoveries++
				}
			}
		}
		for _, r := range mon.runs {
			if !in(r.at) {
				continue
			}
			e.runs[r.outcome]++
			if r.duration >= 0 {
				e.durations = append(e.durations, r.duration)
			}
			if r.lateness >= 0 {
				e.lateness = append(e.lateness, r.lateness)
			}
		}
	}
	return e
}

// check compares stats with what they must be.
func (e expected) check(t *testing.T, s history.Stats) {
	t.Helper()
	up, down := e.seconds[monitor.Up]+e.seconds[monitor.Late], e.seconds[monitor.Down]
	near(t, "up seconds", s.UpSeconds, up, 0, 1e-3)
	near(t, "down seconds", s.DownSeconds, down, 0, 1e-3)
	if s.Failures != e.failures || s.Recoveries != e.recoveries {
		t.Errorf("%d failures, %d recoveries; want %d, %d", s.Failures, s.Recoveries, e.failures, e.recoveries)
	}
	nearRatio(t, "uptime", s.Uptime, up, up+down)
	nearRatio(t, "MTBF", s.MTBFSeconds, up, float64(e.failures))
	nearRatio(t, "MTTR", s.MTTRSeconds, down, float64(e.recoveries))
	for outcome, n := range s.Runs {
		if n != e.runs[outcome] {
			t.Errorf("%d runs %s, want %d", n, outcome, e.runs[outcome])
		}
	}
	checkDistribution(t, "duration", s.Duration, e.durations)
	checkDistribution(t, "lateness", s.Lateness, e.lateness)
	if s.HealthScore != nil && !(*s.HealthScore >= 0 && *s.HealthScore <= 100) {
		t.Errorf("health score %v", *s.HealthScore)
	}
}

func checkDistribution(t *testing.T, what string, got *history.Distribution, want []float64) {
	t.Helper()
	if got == nil {
		if len(want) > 0 {
			t.Errorf("%s: none, want %d values", what, len(want))
		}
		return
	}
	sort.Float64s(want)
	n := len(want)
	if got.Count != int64(n) || n == 0 {
		t.Errorf("%s: %d values, want %d", what, got.Count, n)
		return
	}
	var sum, squares float64
	for _, v := range want {
		sum += v
	}
	mean := sum / float64(n)
	for _, v := range want {
		squares += (v - mean) * (v - mean)
	}
	near(t, what+" mean", got.Mean, mean, 1e-9, 1e-9)
	if n > 1 {
		near(t, what+" stddev", got.Stddev, math.Sqrt(squares/float64(n-1)), 1e-6, 1e-6)
	} else if got.Stddev != 0 {
		t.Errorf("%s: stddev %v of one value", what, got.Stddev)
	}
	near(t, what+" min", got.Min, want[0], 0, 0)
	near(t, what+" max", got.Max, want[n-1], 0, 0)
	rank := func(q float64) float64 { return want[int(math.Ceil(q*float64(n)))-1] }
	near(t, what+" p50", got.P50, rank(.50), 0.0245, 1e-6)
	near(t, what+" p95", got.P95, rank(.95), 0.0245, 1e-6)
	near(t, what+" p99", got.P99, rank(.99), 0.0245, 1e-6)
}

func nearRatio(t *testing.T, what string, got *float64, a, b float64) {
	t.Helper()
	if b == 0 {
		if got != nil {
			t.Errorf("%s %v, want none", what, *got)
		}
		return
	}
	if got == nil {
		t.Errorf("%s: none, want %v", what, a/b)
		return
	}
	near(t, what, *got, a/b, 1e-6, 1e-6)
}

// near allows an error relative to want and an absolute one.
func near(t *testing.T, what string, got, want, rel, abs float64) {
	t.Helper()
	if !(math.Abs(got-want) <= math.Max(abs, rel*math.Abs(want))) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// everything is a pick of save.
func everything(*modelMonitor, time.Time) bool { return true }

// save writes the monitors' states and gaps, and those runs and transitions that pick chooses, in the order of time.
func (m *model) save(t *testing.T, pool *pgxpool.Pool, pick func(mon *modelMonitor, at time.Time) bool) {
	t.Helper()
	ctx := ctxFor(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for n := byte(1); n <= 2; n++ {
		exec(`insert into organisations (id, name) values ($1, $2) on conflict do nothing`, org(n).UUID, "o")
		exec(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $1, 'p', 'p', $2) on conflict do nothing`, org(n).UUID, fmt.Sprint(n))
	}
	for p, gaps := range m.gaps {
		for _, g := range gaps {
			exec(`insert into gaps values ('log', $1, $2, $3, $4) on conflict do nothing`, p, m.partitions, g.from, g.to)
		}
	}
	var runs, transitions [][]any
	for _, mon := range m.monitors {
		last := mon.spans[len(mon.spans)-1]
		exec(`insert into monitors (id, org_id, project_id, ping_key, name, config, version) values ($1, $2, $2, $1, 'm', '{}', 1) on conflict do nothing`, mon.id, mon.org.UUID)
		exec(`insert into monitor_states (monitor_id, org_id, hash, config, state, status) values ($1, $2, $3, '{}', $4, $5) on conflict do nothing`,
			mon.id, mon.org.UUID, int32(record.Hash(mon.id)), monitor.State{Status: last.status, Since: last.from}, string(last.status))
		for i, s := range mon.spans[1:] {
			before := mon.spans[i]
			if !pick(mon, s.from) {
				continue
			}
			transitions = append(transitions, []any{
				s.from, mon.org.UUID, mon.id, string(before.status), string(s.status), "test",
				observed(before.from, before.to, m.gapsOf(mon.id)),
			})
		}
		for _, r := range mon.runs {
			if !pick(mon, r.at) {
				continue
			}
			runs = append(runs, []any{r.at, mon.org.UUID, mon.id, uuid.New(), string(r.outcome), orNull(r.duration), orNull(r.lateness)})
		}
	}
	copyRows(t, pool, "transitions", []string{"at", "org_id", "monitor_id", "from_status", "to_status", "reason", "seconds_in_previous"}, transitions)
	copyRows(t, pool, "runs", []string{"finished_at", "org_id", "monitor_id", "run_id", "outcome", "duration_seconds", "lateness_seconds"}, runs)
}

func orNull(v float64) *float64 {
	if v < 0 {
		return nil
	}
	return &v
}

func copyRows(t *testing.T, pool *pgxpool.Pool, table string, columns []string, rows [][]any) {
	t.Helper()
	if _, err := pool.CopyFrom(ctxFor(t), pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
}

// rollUp brings the aggregates up to the hour or day before until, by the means of the level.
func rollUp(ctx context.Context, t testing.TB, pool *pgxpool.Pool, until time.Time) {
	t.Helper()
	f, err := pg.Detect(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	if f.Schema != pg.Community {
		if _, err := pool.Exec(ctx, `select tokiflow_roll_up($1)`, until); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"runs_hourly", "runs_daily", "runs_weekly", "availability_daily"} {
		if _, err := pool.Exec(ctx, fmt.Sprintf(`call refresh_continuous_aggregate('%s', null, '%s')`, name, until.Format(time.RFC3339))); err != nil {
			t.Fatal(err)
		}
	}
}
