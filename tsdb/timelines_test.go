package tsdb_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// TestTimelinesOfRows: whatever is asked for, the few rows that are read for it tell the same as all there are, of which
// core/timeline's own test says that it is what the states said.
func TestTimelinesOfRows(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		t.Parallel()
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		end := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
		t.Logf("seed %d, until %s", seed, end)
		begin := end.Add(-25 * day)
		gaps := saveGaps(t, pool, rng, begin, end)
		lives := map[uuid.UUID]*life{}
		for n := range byte(10) {
			made := begin.Add(time.Duration(rng.Float64() * 20 * float64(day))).Truncate(time.Microsecond)
			l := lead(rng, org(1), id(n), made, end, gaps[record.Partition(id(n), 2)])
			l.save(t, pool, end)
			lives[l.id] = l
			lead(rng, org(2), id(100+n), made, end, nil).save(t, pool, end) // of no concern
		}
		rollUp(ctxFor(t), t, pool, end.Add(-3*time.Hour))
		r := tsdb.NewReader(pool)
		for range 60 {
			q := randomQuery(rng, begin, end)
			got := read(t, r, org(1), q)
			for _, l := range lives {
				want := timeline.Build(rowsOf(l, q, end), timeline.Query{From: q.From, To: q.To})
				if diff := unlike(want, got[l.id], q); diff != "" {
					t.Fatalf("monitor %s, %s to %s, step %v, %v:\n%s", l.id, q.From, q.To, q.Step, q.Families, diff)
				}
			}
		}
	})
}

func saveGaps(t *testing.T, pool *pgxpool.Pool, rng *rand.Rand, begin, end time.Time) [2][]logclock.Gap {
	t.Helper()
	var gaps [2][]logclock.Gap
	for p := range gaps {
		for at := begin; ; {
			at = at.Add(time.Duration(rng.ExpFloat64() * 3 * float64(day))).Truncate(time.Microsecond)
			g := logclock.Gap{From: at, To: at.Add(time.Minute + time.Duration(rng.Float64()*float64(time.Hour))).Truncate(time.Microsecond)}
			if !g.To.Before(end) {
				break
			}
			at = g.To.Add(time.Hour)
			gaps[p] = append(gaps[p], g)
			if _, err := pool.Exec(t.Context(), `insert into gaps values ('log', $1, 2, $2, $3)`, p, g.From, g.To); err != nil {
				t.Fatal(err)
			}
		}
	}
	return gaps
}

func randomQuery(rng *rand.Rand, begin, end time.Time) timeline.Query {
	q := timeline.Query{From: begin.Add(time.Duration(rng.Float64()*24*float64(day)) - 12*time.Hour).Truncate(time.Microsecond)}
	q.To = q.From.Add(time.Duration(rng.Float64() * float64([]time.Duration{time.Hour, day, 10 * day}[rng.IntN(3)]))).Truncate(time.Microsecond)
	if rng.IntN(3) == 0 {
		q.From, q.To = end.Add(-time.Duration(rng.Float64()*3*float64(day))).Truncate(time.Microsecond), end.Add(time.Minute)
	}
	if rng.IntN(2) == 0 {
		q.Step = []time.Duration{15 * time.Second, time.Minute, time.Hour}[rng.IntN(3)]
	}
	if all := metric.Families(); rng.IntN(4) > 0 {
		q.Families = []string{}
		for range 1 + rng.IntN(2) {
			q.Families = append(q.Families, all[rng.IntN(len(all))].Name)
		}
	}
	return q
}

// rowsOf are all rows of a life. Of runs that ended long behind the window it is not looked for when they began.
func rowsOf(l *life, q timeline.Query, end time.Time) *timeline.Rows {
	rows := l.rows
	rows.Settled = !end.After(q.To)
	rows.Runs = slices.Clone(rows.Runs)
	for i := range rows.Runs {
		if r := &rows.Runs[i]; r.FinishedAt.After(q.To.Add(7 * day)) {
			r.StartedAt = time.Time{}
		}
	}
	return &rows
}

func read(t *testing.T, r *tsdb.Reader, o tenant.OrgID, q timeline.Query) map[uuid.UUID]*timeline.Timeline {
	t.Helper()
	got := map[uuid.UUID]*timeline.Timeline{}
	var order []uuid.UUID
	err := r.Timelines(ctxFor(t), o, q, func(tl *timeline.Timeline) error {
		order = append(order, tl.ID)
		c := &timeline.Timeline{ID: tl.ID, End: tl.End, Labels: slices.Clone(tl.Labels), Points: slices.Clone(tl.Points)}
		for i := range c.Points {
			if c.Points[i].Totals != nil {
				c.Points[i].Totals = c.Points[i].Totals.Clone()
			}
		}
		got[tl.ID] = c
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(order, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }) || len(order) != len(got) {
		t.Fatalf("told in the order %v", order)
	}
	return got
}

// unlike says how a timeline differs from that of all rows.
func unlike(want, got *timeline.Timeline, q timeline.Query) string {
	if got == nil {
		if len(want.Points) == 0 {
			return ""
		}
		return "it is missing"
	}
	if q.Families == nil || slices.Contains(q.Families, metric.InfoName) {
		if diff := cmp.Diff(want.Labels, got.Labels); diff != "" {
			return diff
		}
	}
	if !want.End.Equal(got.End) {
		return fmt.Sprintf("ends at %s, want %s", got.End, want.End)
	}
	var instants []time.Time
	for _, tl := range []*timeline.Timeline{want, got} {
		for i := range tl.Points {
			at := tl.Points[i].At
			if q.Step > 0 { // the instant of the grid that shows it
				if at = at.Truncate(q.Step); at.Before(tl.Points[i].At) {
					at = at.Add(q.Step)
				}
				if at.After(q.To) || !tl.End.IsZero() && !at.Before(tl.End) {
					continue
				}
			}
			instants = append(instants, at)
		}
	}
	for _, t := range instants {
		a, b := inForce(want, t), inForce(got, t)
		if a == nil || b == nil {
			return fmt.Sprintf("%s: %v, want %v", t, b, a)
		}
		for _, f := range metric.Families() {
			if q.Families != nil && !slices.Contains(q.Families, f.Name) {
				continue
			}
			for _, s := range f.Series {
				x, hasX := s.Line(a)
				y, hasY := s.Line(b)
				if hasX != hasY || hasX && !close9(x.Value(t), y.Value(t)) {
					return fmt.Sprintf("%s%s{%s} at %s: %v %v, want %v %v", f.Name, s.Suffix, s.Value, t, y.Value(t), hasY, x.Value(t), hasX)
				}
			}
			if f.Name == metric.DurationName {
				if diff := cmp.Diff(a.Totals.Durations, b.Totals.Durations, cmpopts.EquateEmpty()); diff != "" {
					return fmt.Sprintf("histogram at %s: %s", t, diff)
				}
			}
		}
	}
	return ""
}

func inForce(tl *timeline.Timeline, t time.Time) *metric.Point {
	n := sort.Search(len(tl.Points), func(i int) bool { return tl.Points[i].At.After(t) })
	if n == 0 {
		return nil
	}
	return &tl.Points[n-1]
}

// close9 reports whether two values are equal but for the rounding of sums in the aggregates.
func close9(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))
}

// TestTimelinesAreTheOrganisations: whoever's id is asked for, only the organisation's own monitors are told of.
func TestTimelinesAreTheOrganisations(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		t.Parallel()
		rng := rand.New(rand.NewPCG(1, 1))
		begin := at("2026-03-01 12:00:00")
		end := begin.Add(2 * day)
		for n := range byte(6) {
			lead(rng, org(1+n%2), id(n), begin, end, nil).save(t, pool, end)
		}
		// Rows under another's name for a monitor of ours: none can come of us, and none is shown.
		if _, err := pool.Exec(t.Context(), `
			insert into runs (finished_at, org_id, monitor_id, run_id, outcome) select $1, $2, $3, gen_random_uuid(), 'success' from generate_series(1, 5000)`,
			end.Add(-time.Hour), org(2).UUID, id(0)); err != nil {
			t.Fatal(err)
		}
		r := tsdb.NewReader(pool)
		q := timeline.Query{From: begin, To: end.Add(time.Hour)}
		if got := read(t, r, org(1), q); len(got) != 3 || got[id(1)] != nil || got[id(0)] == nil {
			t.Errorf("told of %d monitors", len(got))
		} else if last := got[id(0)].Points[len(got[id(0)].Points)-1]; last.Totals.Succeeded >= 5000 {
			t.Errorf("%d runs", last.Totals.Succeeded)
		}
		q.IDs = []uuid.UUID{id(1), id(2), id(99)}
		if got := read(t, r, org(1), q); len(got) != 1 || got[id(2)] == nil {
			t.Errorf("told of %d monitors, one of them is ours", len(got))
		}
		q.IDs = []uuid.UUID{}
		if got := read(t, r, org(1), q); len(got) != 0 {
			t.Errorf("told of %d monitors, none was asked for", len(got))
		}
		q.IDs = nil
		if got := read(t, r, org(3), q); len(got) != 0 {
			t.Errorf("told a stranger of %d monitors", len(got))
		}
	})
}

// TestTimelinesEndWithAnError: the error of whoever is told is the answer, and the pool goes on.
func TestTimelinesEndWithAnError(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	begin := at("2026-03-01 12:00:00")
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range byte(3) {
		lead(rng, org(1), id(n), begin, begin.Add(day), nil).save(t, pool, begin.Add(day))
	}
	r := tsdb.NewReader(pool)
	q := timeline.Query{From: begin, To: begin.Add(2 * day)}
	enough := errors.New("enough")
	calls := 0
	err := r.Timelines(ctxFor(t), org(1), q, func(*timeline.Timeline) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	if got := read(t, r, org(1), q); len(got) == 0 {
		t.Error("nothing is told any more")
	}
}
