package pg_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func openAt(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), url, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestMigrateBySeveralProcessesAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 4 {
		pool := openAt(t, url)
		wg.Go(func() {
			if err := pg.Migrate(context.WithoutCancel(t.Context()), pool, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestMigrateSaysWhatItDid(t *testing.T) {
	t.Parallel()
	pool := openAt(t, pgtest.Empty(t))
	var log bytes.Buffer
	for range 2 {
		if err := pg.Migrate(t.Context(), pool, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "00001_relational.sql"); n != 1 {
		t.Errorf("the first migration is named %d times, want once:\n%s", n, &log)
	}
	if n := strings.Count(log.String(), "database ready"); n != 2 {
		t.Errorf("the level is stated %d times, want 2:\n%s", n, &log)
	}
}

func TestOpenTimesAreUTC(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	want := time.Date(2026, 3, 29, 1, 30, 0, 1000, time.UTC)
	var (
		got  time.Time
		many []time.Time
		zone string
	)
	err := pool.QueryRow(t.Context(), `select $1::timestamptz, array[$1::timestamptz], current_setting('timezone')`, want).Scan(&got, &many, &zone)
	if err != nil {
		t.Fatal(err)
	}
	if got != want || many[0] != want || zone != "UTC" {
		t.Fatalf("got %v, %v in a session in %s; want %v", got, many, zone, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	f := func(url string, o pg.Options, want string) {
		t.Helper()
		_, err := pg.Open(t.Context(), url, o)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q, %+v): %v, want it to say %q and no password", url, o, err, want)
		}
	}
	f("postgres://u:hunter2@localhost:notaport/db", pg.Options{}, "database URL")
	f("postgres://localhost/db", pg.Options{MaxConns: -1}, "must be 0")
}

func TestOpenPoolSize(t *testing.T) {
	t.Parallel()
	f := func(url string, o pg.Options, want int32) {
		t.Helper()
		pool, err := pg.Open(t.Context(), url, o)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if got := pool.Config().MaxConns; got != want {
			t.Errorf("Open(%q, %+v): %d connections, want %d", url, o, got, want)
		}
	}
	f("postgres://nowhere/db", pg.Options{}, pg.DefaultMaxConns)
	f("postgres://nowhere/db?pool_max_conns=3", pg.Options{}, 3)
	f("postgres://nowhere/db?pool_max_conns=3", pg.Options{MaxConns: 5}, 5)
}
