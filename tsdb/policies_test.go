package tsdb_test

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// TimescaleDB's own jobs are run as its scheduler would: everything is compressed, and later rows are written into what is.
func TestPolicies(t *testing.T) {
	t.Parallel()
	pool := pgtest.On(t, "community")
	m := newModel(rand.New(rand.NewPCG(21, 22)), 5, 30)
	half := m.begin.Add(15 * day)
	m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return at.Before(half) })
	rollUp(ctxFor(t), t, pool, half)
	u, err := tsdb.NewUpkeep(pool, tsdb.DefaultRetention(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Once(ctxFor(t), time.Now()); err != nil {
		t.Fatal(err)
	}
	runJobs(t, pool)
	if compressed(t, pool, "runs") == 0 || compressed(t, pool, "transitions") == 0 {
		t.Error("nothing was compressed")
	}
	m.save(t, pool, func(_ *modelMonitor, at time.Time) bool { return !at.Before(half) })
	r := tsdb.NewReader(pool)
	rollUp(ctxFor(t), t, pool, m.begin.Add(20*day))
	checkWindow(t, r, m, history.Window{From: m.begin.Add(30 * time.Hour), To: m.end.Add(-90 * time.Minute)})
	runJobs(t, pool)
	rng := rand.New(rand.NewPCG(23, 24))
	for range 10 {
		checkWindow(t, r, m, randomWindow(rng, m))
	}
	if page, err := r.Runs(ctxFor(t), m.monitors[1].org, m.monitors[1].id, history.Page{Limit: 1000}); err != nil || len(page) != min(len(m.monitors[1].runs), 1000) {
		t.Errorf("%d runs, %v; want %d", len(page), err, len(m.monitors[1].runs))
	}
}

func compressed(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	err := pool.QueryRow(ctxFor(t), `select count(*) from timescaledb_information.chunks where hypertable_name = $1 and is_compressed`, table).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func runJobs(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	rows, err := pool.Query(ctxFor(t), `select job_id from timescaledb_information.jobs where proc_name in
		('policy_refresh_continuous_aggregate', 'policy_compression', 'policy_retention') order by job_id`)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) < 8+4 {
		t.Errorf("only %d policies", len(jobs))
	}
	for _, job := range jobs {
		if _, err := pool.Exec(ctxFor(t), `call run_job($1)`, job); err != nil {
			t.Errorf("job %d: %v", job, err)
		}
	}
}
