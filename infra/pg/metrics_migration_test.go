package pg_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// migrateAround goes back to the migration before the one given, lets f fill the database as it was, and comes forward again.
func migrateAround(t *testing.T, pool *pgxpool.Pool, version int64, f func()) {
	t.Helper()
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("migrations"),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DownTo(t.Context(), version-1); err != nil {
		t.Fatal(err)
	}
	f()
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

// life is what happened to a monitor before there were totals.
type life struct {
	org, id     uuid.UUID
	state       string
	runs        []monitor.Run
	transitions []monitor.Transition
}

func lives() []life {
	org := uuid.New()
	start := time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC)
	long := life{org: org, id: uuid.New(), state: `{"status": "up", "version": 7, "since": "2026-03-01T09:00:00Z"}`}
	add := func(l *life, o monitor.Outcome, d time.Duration) {
		l.runs = append(l.runs, monitor.Run{
			ID: uuid.New(), FinishedAt: start.Add(time.Duration(len(l.runs)) * time.Second), Outcome: o, ExitCode: record.NoExitCode, Duration: d,
		})
	}
	// Every boundary between two buckets from 1 µs to 10 years, and what lies beside it.
	for i := int32(-8 * 20); i <= 8*28; i++ {
		us := int64(monitor.BucketBound(i) * 1e6)
		for d := max(0, us-1); d <= us+2; d++ {
			add(&long, monitor.Succeeded, time.Duration(d)*time.Microsecond)
		}
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	outcomes := []monitor.Outcome{monitor.Succeeded, monitor.Failed, monitor.Missed, monitor.Abandoned, monitor.Unknown}
	for range 500 {
		d := record.NoDuration
		if rnd.IntN(3) > 0 {
			d = time.Duration(math.Exp(rnd.Float64()*30)) * time.Microsecond
		}
		add(&long, outcomes[rnd.IntN(len(outcomes))], d)
	}
	statuses := []monitor.Status{monitor.New, monitor.Up, monitor.Late, monitor.Down, monitor.Paused}
	for i := range 500 {
		long.transitions = append(long.transitions, monitor.Transition{
			At: start.Add(time.Duration(i) * time.Minute), From: statuses[rnd.IntN(5)], To: statuses[rnd.IntN(5)],
			SecondsInPrevious: float64(rnd.Int64N(1e12)) / 1e6,
		})
	}
	short := life{org: org, id: uuid.New(), state: `{"status": "up", "version": 1, "since": "2026-03-01T09:00:00Z"}`}
	add(&short, monitor.Succeeded, record.NoDuration)
	return []life{long, short, {org: org, id: uuid.New(), state: `{"status": "new", "version": 1, "since": "2026-03-01T09:00:00Z"}`}}
}

func (l *life) write(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	run(`insert into monitor_states (monitor_id, org_id, hash, config, state, status) values ($1, $2, 0, '{"name": "n"}', $3, '')`, l.id, l.org, l.state)
	for _, r := range l.runs {
		var d *float64
		if r.Duration >= 0 {
			s := r.Duration.Seconds()
			d = &s
		}
		run(`insert into runs (finished_at, org_id, monitor_id, run_id, outcome, duration_seconds) values ($1, $2, $3, $4, $5, $6)`,
			r.FinishedAt, l.org, l.id, r.ID, string(r.Outcome), d)
	}
	for _, x := range l.transitions {
		run(`insert into transitions (at, org_id, monitor_id, from_status, to_status, reason, seconds_in_previous) values ($1, $2, $3, $4, $5, '', $6)`,
			x.At, l.org, l.id, string(x.From), string(x.To), x.SecondsInPrevious)
	}
}

func (l *life) totals() *monitor.Totals {
	if len(l.runs)+len(l.transitions) == 0 {
		return nil
	}
	var sum monitor.Totals
	for i := range l.runs {
		sum.AddRun(&l.runs[i], 1)
	}
	for i := range l.transitions {
		sum.AddTransition(&l.transitions[i], 1)
	}
	return &sum
}

// TestTotalsOfWhatWas: migration 00004 counts what is in the rows as the state machine would have.
func TestTotalsOfWhatWas(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		all := lives()
		migrateAround(t, pool, 4, func() {
			for i := range all {
				all[i].write(t, pool)
			}
			if strings.HasSuffix(t.Name(), "/community") { // old rows are in columns
				if _, err := pool.Exec(t.Context(), `select compress_chunk(c) from show_chunks('runs') c`); err != nil {
					t.Fatal(err)
				}
			}
		})
		for i := range all {
			var stored []byte
			if err := pool.QueryRow(t.Context(), `select state from monitor_states where monitor_id = $1`, all[i].id).Scan(&stored); err != nil {
				t.Fatal(err)
			}
			var before, after monitor.State
			if err := json.Unmarshal([]byte(all[i].state), &before); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(stored, &after); err != nil {
				t.Fatal(err)
			}
			before.Totals = all[i].totals()
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("monitor %d (-counted +migrated)\n%s", i, d)
			}
		}
	})
}

// TestVersionsAndScopesOfWhatWas: a monitor there is has had its configuration from the beginning, and who may do everything
// may do what is new.
func TestVersionsAndScopesOfWhatWas(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	org, project := uuid.New(), uuid.New()
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known, orphan := uuid.New(), uuid.New()
	run := func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	scopes := map[string][]string{
		"read write ping": {"read", "write", "ping", "metrics", "samples"}, "read": {"read"},
		"metrics read write": {"metrics", "read", "write", "samples"},
	}
	migrateAround(t, pool, 4, func() {
		run(`insert into organisations (id, name) values ($1, 'o')`, org)
		run(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $2, 'P', 'p', 'k')`, project, org)
		run(`insert into monitors (id, org_id, project_id, ping_key, name, config, version, created_at) values ($1, $2, $3, $4, 'later', '{}', 2, $5)`,
			known, org, project, uuid.New(), made)
		for _, id := range []uuid.UUID{known, orphan} {
			run(`insert into monitor_states (monitor_id, org_id, hash, config, state, status, updated_at) values ($1, $2, 0, '{"name": "n"}', '{}', '', $3)`,
				id, org, made.Add(time.Hour))
		}
		for name, list := range map[string][]string{"read write ping": {"read", "write", "ping"}, "read": {"read"}, "metrics read write": {"metrics", "read", "write"}} {
			run(`insert into api_keys (id, org_id, name, hash, prefix, scopes) values ($1, $2, $3, $4, '', $5)`, uuid.New(), org, name, []byte(name), list)
		}
	})
	type version struct {
		ID      uuid.UUID
		At      time.Time
		Deleted bool
		Project string
		Name    string
	}
	rows, err := pool.Query(t.Context(), `select monitor_id, at, deleted, project, config ->> 'name' from monitor_versions where org_id = $1 order by at`, org)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[version])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]version{{known, made, false, "p", "n"}, {orphan, made.Add(time.Hour), false, "", "n"}}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for name, want := range scopes {
		var have []string
		if err := pool.QueryRow(t.Context(), `select scopes from api_keys where name = $1`, name).Scan(&have); err != nil {
			t.Fatal(err)
		}
		slices.Sort(have)
		slices.Sort(want)
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}
