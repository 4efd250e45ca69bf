//go:build fault

package fault

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// verify holds what is in the database and what was told against what was promised.
func verify(t *testing.T, pool *pgxpool.Pool, f fleet, answered *ids, w *told) {
	t.Helper()
	stored(t, pool, answered)
	steady(t, pool, f)
	everythingTold(t, pool, w)
}

func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// stored: each answered ping once, and no ping twice, answered or not.
func stored(t *testing.T, pool *pgxpool.Pool, answered *ids) {
	t.Helper()
	list := answered.list()
	lost := count(t, pool, `select count(*) from unnest($1::text[]) as a (id) where not exists (select from pings p where p.id = a.id::uuid)`, list)
	twice := count(t, pool, `select count(*) - count(distinct id) from pings`)
	total := count(t, pool, `select count(*) from pings`)
	t.Logf("%d pings answered, %d stored", len(list), total)
	if len(list) == 0 || lost > 0 || twice > 0 {
		t.Errorf("of %d answered pings %d are lost; %d of the stored are there twice", len(list), lost, twice)
	}
}

// steady: who kept pinging has no incident.
func steady(t *testing.T, pool *pgxpool.Pool, f fleet) {
	t.Helper()
	var all []string
	for _, m := range append(append([]string(nil), idsOf(f.steady)...), idsOf(f.load)...) {
		all = append(all, m)
	}
	rows, err := pool.Query(t.Context(), `
		select monitor_name || ' ' || kind || ' at ' || opened_at || ' ' || evidence
		from incidents where monitor_id = any ($1::uuid[]) and kind in ('missed', 'late', 'overrun')`, all)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		_ = rows.Scan(&s)
		t.Errorf("false incident: %s", s)
	}
}

// everythingTold: each incident's opening and resolution, in this order.
func everythingTold(t *testing.T, pool *pgxpool.Pool, w *told) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select id::text, resolved_at is not null from incidents`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	n, again := 0, 0
	for rows.Next() {
		var id string
		var resolved bool
		if err := rows.Scan(&id, &resolved); err != nil {
			t.Fatal(err)
		}
		n++
		if w.count[id+"/incident.opened"] == 0 || resolved && w.count[id+"/incident.resolved"] == 0 {
			t.Errorf("incident %s (resolved: %v) was not told: %v", id, resolved, w.count)
		}
	}
	for _, c := range w.count {
		again += c - 1
	}
	for _, f := range w.faults {
		t.Errorf("webhook: %s", f)
	}
	t.Logf("%d incidents, %d messages told, %d of them again", n, len(w.count), again)
	if n == 0 {
		t.Error("no incident at all: nothing was tested")
	}
}

// outcome is what must be the same at every replay, as text.
func outcome(t *testing.T, pool *pgxpool.Pool) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for table, sql := range map[string]string{
		"runs": `select concat_ws('|', monitor_id, finished_at, run_id, started_at, outcome, exit_code, duration_seconds, lateness_seconds)
			from runs order by monitor_id, finished_at, run_id, outcome`,
		"transitions": `select concat_ws('|', monitor_id, at, from_status, to_status, reason, seconds_in_previous)
			from transitions order by monitor_id, at, from_status, to_status`,
		"incidents": `select concat_ws('|', id, monitor_id, kind, opened_at, resolved_at, resolution, evidence) from incidents order by id`,
		"states":    `select concat_ws('|', monitor_id, status, state) from monitor_states order by monitor_id`,
		"gaps":      `select concat_ws('|', partition, started_at, ended_at) from gaps order by partition, started_at`,
	} {
		rows, err := pool.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var s string
			_ = rows.Scan(&s)
			out[table] = append(out[table], s)
		}
		rows.Close()
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
	}
	return out
}

// aftermath is what the faults have led to.
type aftermath struct {
	outcome map[string][]string
	judged  int
}

// replayed: an undisturbed process with an empty database comes, from the same log, to the same.
func replayed(t *testing.T, was aftermath, o app.Options) {
	t.Helper()
	o.Listen, o.DatabaseURL = "127.0.0.1:0", pgtest.NewURL(t)
	o.Roles = []app.Role{app.RoleEvaluate, app.RoleWrite}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, o) }()
	fresh, err := pg.Open(t.Context(), o.DatabaseURL, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	deadline := time.Now().Add(3 * time.Minute)
	for settled(t, fresh) < was.judged && time.Now().Before(deadline) {
		select {
		case err := <-done:
			t.Fatalf("the replay ended: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
	time.Sleep(6 * time.Second) // the idle checkpoint: nothing more may come of the rest of the log
	got := outcome(t, fresh)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stop the replay: %v", err)
	}
	for table, rows := range was.outcome {
		t.Logf("%s: %d rows", table, len(rows))
		different(t, table, rows, got[table])
	}
}

// settled is how much of the log has been judged.
func settled(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), `select coalesce(sum(next_offset), 0) from log_offsets where consumer = 'evaluator'`).Scan(&n); err != nil {
		return -1 // not migrated yet
	}
	return n
}

func different(t *testing.T, table string, want, got []string) {
	t.Helper()
	in := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	shown := 0
	show := func(what string, list []string, other map[string]bool) {
		for _, s := range list {
			if !other[s] {
				if shown++; shown <= 5 {
					t.Errorf("%s: %s: %s", table, what, s)
				}
			}
		}
	}
	show("only after the faults", want, in(got))
	show("only in the replay", got, in(want))
	if len(want) != len(got) {
		t.Errorf("%s: %d rows after the faults, %d in the replay", table, len(want), len(got))
	}
}

// copyDir copies a folder of plain files.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		data, err := os.ReadFile(path) //nolint:gosec // a test's own files
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o600) //nolint:gosec // a test's own files
	})
	if err != nil {
		t.Fatal(fmt.Errorf("copy the log: %w", err))
	}
}
