package tsdb_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// expectWithout is what the model expects when some times of each monitor are left out.
func (m *model) expectWithout(w history.Window, without map[uuid.UUID][]history.Window, monitors ...*modelMonitor) expected {
	e := expected{seconds: map[monitor.Status]float64{}, runs: map[monitor.Outcome]int64{}}
	for _, mon := range monitors {
		out := without[mon.id]
		counts := func(t time.Time) bool {
			return !t.Before(w.From) && t.Before(w.To) &&
				!slices.ContainsFunc(out, func(o history.Window) bool { return !t.Before(o.From) && t.Before(o.To) })
		}
		pieces := []history.Window{}
		from := w.From
		for _, o := range append(slices.Clone(out), history.Window{From: w.To, To: w.To}) {
			pieces = append(pieces, history.Window{From: from, To: o.From})
			from = o.To
		}
		for i, s := range mon.spans {
			to := s.to
			if to.IsZero() {
				to = w.To
			}
			for _, p := range pieces {
				a, b := s.from, to
				if a.Before(p.From) {
					a = p.From
				}
				if b.After(p.To) {
					b = p.To
				}
				e.seconds[s.status] += observed(a, b, m.gapsOf(mon.id))
			}
			if i > 0 && counts(s.from) {
				if s.status == monitor.Down {
					e.failures++
				}
				if mon.spans[i-1].status == monitor.Down {
					e.recoveries++
				}
			}
		}
		for _, o := range out {
			if o.From.After(w.From) && mon.before(o.From) == monitor.Down && mon.before(o.To) != monitor.Down {
				e.recoveries++
			}
		}
		for _, r := range mon.runs {
			if !counts(r.at) {
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

// before is the status just before the instant.
func (mon *modelMonitor) before(t time.Time) monitor.Status {
	status := monitor.New
	for _, s := range mon.spans {
		if s.from.Before(t) {
			status = s.status
		}
	}
	return status
}

func TestStatsWithoutMaintenanceAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		t.Parallel()
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newModel(rng, 9, 40)
		r := tsdb.NewReader(pool)
		m.save(t, pool, everything)
		rollUp(ctxFor(t), t, pool, m.begin.Add(30*day+7*time.Hour))
		for range 30 {
			w := randomWindow(rng, m)
			checkWithout(t, r, m, w, randomMaintenance(rng, m, w))
		}
		w := history.Window{From: m.begin, To: m.end}
		checkWithout(t, r, m, w, nil)
		checkWithout(t, r, m, w, map[uuid.UUID][]history.Window{m.monitors[1].id: {w}})
		nights := map[uuid.UUID][]history.Window{} // forty of them, which is more than one query reads
		for _, mon := range m.monitors[1:4] {
			for night := m.begin.Add(22 * time.Hour); night.Before(m.end.Add(-day)); night = night.Add(day) {
				nights[mon.id] = append(nights[mon.id], history.Window{From: night, To: night.Add(7*time.Hour + 30*time.Minute)})
			}
		}
		checkWithout(t, r, m, w, nights)
	})
}

// randomMaintenance has some monitors in the same windows, some in others, and some in none.
func randomMaintenance(rng *rand.Rand, m *model, w history.Window) map[uuid.UUID][]history.Window {
	length := float64(w.To.Sub(w.From))
	var sets [3][]history.Window
	for i := range sets {
		var list []history.Window
		for range rng.IntN(6) {
			from := w.From.Add(time.Duration((rng.Float64()*1.2 - 0.2) * length)).Truncate(time.Microsecond)
			if rng.IntN(3) == 0 {
				from = from.Truncate(time.Hour)
			}
			list = append(list, history.Window{From: from, To: from.Add(time.Duration(rng.Float64() * 0.3 * length)).Truncate(time.Microsecond)})
		}
		sets[i] = quiet.Union(list, w)
	}
	out := map[uuid.UUID][]history.Window{}
	for i, mon := range m.monitors[1:] {
		if i%4 < len(sets) {
			out[mon.id] = sets[i%4]
		}
	}
	return out
}

func checkWithout(t *testing.T, r *tsdb.Reader, m *model, w history.Window, without map[uuid.UUID][]history.Window) {
	t.Helper()
	mine := m.monitors[1:]
	total, err := r.OrganisationStatsWithout(ctxFor(t), org(1), w, without)
	if err != nil {
		t.Fatal(err)
	}
	m.expectWithout(w, without, mine...).check(t, total)
	all, err := r.MonitorStatsWithout(ctxFor(t), org(1), w, without)
	if err != nil {
		t.Fatal(err)
	}
	for _, mon := range mine {
		m.expectWithout(w, without, mon).check(t, all[mon.id])
	}
	some, err := r.MonitorStatsWithout(ctxFor(t), org(1), w, without, mine[0].id, mine[3].id)
	if err != nil {
		t.Fatal(err)
	}
	if len(some) > 2 {
		t.Errorf("asked for two, got %d", len(some))
	}
	for _, mon := range []*modelMonitor{mine[0], mine[3]} {
		m.expectWithout(w, without, mon).check(t, some[mon.id])
	}
	other := map[uuid.UUID][]history.Window{m.monitors[0].id: {w}}
	if none, err := r.MonitorStatsWithout(ctxFor(t), org(1), w, other, m.monitors[0].id); err != nil || len(none) > 0 {
		t.Errorf("another organisation's monitor has stats: %v, %v", none, err)
	}
	if t.Failed() {
		t.Fatalf("in the window %v to %v", w.From, w.To)
	}
}
