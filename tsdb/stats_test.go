package tsdb_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// Whatever part of the history is in the aggregates, and whatever came into them late, the figures of any window are those
// of the model.
func TestStatsAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		t.Parallel()
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newModel(rng, 12, 40)
		// Each monitor's history was written up to some time, in its order; the rest, up to weeks of it, comes later.
		written := map[uuid.UUID]time.Time{}
		for _, mon := range m.monitors {
			written[mon.id] = m.begin.Add(time.Duration(rng.Float64() * float64(m.end.Sub(m.begin))))
		}
		r := tsdb.NewReader(pool)
		m.save(t, pool, func(mon *modelMonitor, at time.Time) bool { return at.Before(written[mon.id]) })
		rollUp(ctxFor(t), t, pool, m.begin.Add(20*day+5*time.Hour+time.Minute))
		m.save(t, pool, func(mon *modelMonitor, at time.Time) bool { return !at.Before(written[mon.id]) })
		rollUp(ctxFor(t), t, pool, m.begin.Add(30*day+7*time.Hour+time.Minute))
		for range 60 {
			checkWindow(t, r, m, randomWindow(rng, m))
		}
		checkWindow(t, r, m, history.Window{From: m.begin.Add(-90 * day), To: m.end})
		checkWindow(t, r, m, history.Window{From: m.begin.Add(3 * day), To: m.begin.Add(13 * day)})
	})
}

const day = 24 * time.Hour

// randomWindow is one of minutes, hours or days, at times with its edges on those of buckets.
func randomWindow(rng *rand.Rand, m *model) history.Window {
	edge := func(t time.Time) time.Time {
		switch rng.IntN(4) {
		case 0:
			return t.Truncate(time.Hour)
		case 1:
			return t.Truncate(day)
		}
		return t.Truncate(time.Microsecond)
	}
	for {
		from := m.begin.Add(time.Duration(rng.Float64() * float64(m.end.Sub(m.begin))))
		to := from.Add(time.Duration(rng.Float64() * float64([]time.Duration{time.Hour, 3 * day, 40 * day}[rng.IntN(3)])))
		w := history.Window{From: edge(from), To: edge(to)}
		if w.From.Before(w.To) && !w.To.After(m.end) {
			return w
		}
	}
}

func checkWindow(t *testing.T, r *tsdb.Reader, m *model, w history.Window) {
	t.Helper()
	byMonitor, err := r.MonitorStats(ctxFor(t), org(1), w)
	if err != nil {
		t.Fatal(err)
	}
	total, err := r.OrganisationStats(ctxFor(t), org(1), w)
	if err != nil {
		t.Fatal(err)
	}
	if total.Monitors != len(byMonitor) {
		t.Errorf("%d monitors together, %d one by one", total.Monitors, len(byMonitor))
	}
	mine := m.monitors[1:]
	m.expect(w, mine...).check(t, total)
	for i, mon := range mine {
		m.expect(w, mon).check(t, byMonitor[mon.id])
		if i%4 == 0 {
			one, err := r.MonitorStats(ctxFor(t), org(1), w, mon.id)
			if err != nil {
				t.Fatal(err)
			}
			m.expect(w, mon).check(t, one[mon.id])
		}
	}
	if _, other := byMonitor[m.monitors[0].id]; other {
		t.Error("a monitor of another organisation is among them")
	}
	if none, err := r.MonitorStats(ctxFor(t), org(1), w, m.monitors[0].id); err != nil || len(none) > 0 {
		t.Errorf("another organisation's monitor has stats: %v, %v", none, err)
	}
	if t.Failed() {
		t.Fatalf("in the window %v to %v", w.From, w.To)
	}
}

func TestStatsOfNothing(t *testing.T) {
	t.Parallel()
	r := tsdb.NewReader(pgtest.New(t))
	w := history.Window{From: at("2026-03-01 00:00:00"), To: at("2026-03-08 00:00:00")}
	got, err := r.OrganisationStats(ctxFor(t), org(1), w)
	if err != nil {
		t.Fatal(err)
	}
	want := history.Stats{Window: w, Runs: got.Runs}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for outcome, n := range got.Runs {
		if n != 0 {
			t.Errorf("%d runs %s", n, outcome)
		}
	}
	if _, err := r.MonitorStats(ctxFor(t), org(1), history.Window{From: w.To, To: w.From}, uuid.New()); err == nil {
		t.Error("a window that ends before it begins was taken")
	}
}
