//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/embedded"
)

// New returns a pool on a fresh, migrated database, which is dropped when the test ends.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, &process.main, cloneOf(t, &process.main))
}

// NewURL returns the URL of a fresh, migrated database, for tests that start processes of their own.
func NewURL(t testing.TB) string {
	t.Helper()
	return cloneOf(t, &process.main)
}

// Empty returns the URL of a fresh database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, &process.main, "template1")
}

// Each runs f as a subtest on each level of time-series support: plain, apache and community. A level that the machine
// does not offer is skipped, loudly.
func Each(t *testing.T, f func(t *testing.T, pool *pgxpool.Pool)) {
	t.Helper()
	for _, s := range []*source{&process.main, &process.apache, &process.community} {
		t.Run(s.name, func(t *testing.T) { f(t, open(t, s, cloneOf(t, s))) })
	}
}

// On returns a pool on a fresh, migrated database at the level "plain", "apache" or "community", for benchmarks.
func On(t testing.TB, level string) *pgxpool.Pool {
	t.Helper()
	for _, s := range []*source{&process.main, &process.apache, &process.community} {
		if s.name == level {
			return open(t, s, cloneOf(t, s))
		}
	}
	t.Fatalf("pgtest: no level %q", level)
	return nil
}

// source is a server of the test process, started at its first use.
type source struct {
	name  string
	start func(ctx context.Context) (url string, own *Cluster, err error)

	once     sync.Once
	own      *Cluster // nil on a server that is not ours; held, for its watchdog ends it when it is garbage
	admin    string   // URL of its database postgres
	template string
	err      error
}

// errAbsent says that the machine has not what the source needs.
var errAbsent = errors.New("not on this machine")

// process holds the servers of this test process: starting one for each test would cost a second each.
//
//nolint:gochecknoglobals // there is no other place whose life is that of the test process
var process = struct{ main, apache, community source }{
	main:      source{name: "plain", start: startMain},
	apache:    source{name: "apache", start: startTimescale("apache")},
	community: source{name: "community", start: startTimescale("timescale")},
}

func startMain(ctx context.Context) (string, *Cluster, error) {
	if u := os.Getenv("TOKIFLOW_TEST_DATABASE_URL"); u != "" {
		return u, nil, nil
	}
	bin, err := embedded.FindBinaries(ctx, os.Getenv("TOKIFLOW_TEST_POSTGRES_BIN"))
	if err != nil {
		return "", nil, fmt.Errorf("%w: PostgreSQL %d or newer (TOKIFLOW_TEST_DATABASE_URL, TOKIFLOW_TEST_POSTGRES_BIN): %w", errAbsent, embedded.MinMajor, err)
	}
	c, err := newCluster(bin, []string{"synchronous_commit=off"})
	if err != nil {
		return "", nil, err
	}
	return c.URL("postgres"), c, nil
}

func startTimescale(licence string) func(context.Context) (string, *Cluster, error) {
	return func(ctx context.Context) (string, *Cluster, error) {
		bin, err := embedded.FindBinaries(ctx, os.Getenv("TOKIFLOW_TEST_TIMESCALE_BIN"))
		if err != nil {
			return "", nil, fmt.Errorf("%w: PostgreSQL with TimescaleDB (TOKIFLOW_TEST_TIMESCALE_BIN): %w", errAbsent, err)
		}
		if !bin.Timescale {
			return "", nil, fmt.Errorf("%w: TimescaleDB (TOKIFLOW_TEST_TIMESCALE_BIN); %s has none", errAbsent, bin.Dir)
		}
		// No background workers: tests refresh when they want to, and nothing holds a connection to the template.
		c, err := newCluster(bin, []string{
			"synchronous_commit=off", "shared_preload_libraries=timescaledb", "timescaledb.license=" + licence,
			"timescaledb.telemetry_level=off", "timescaledb.max_background_workers=0",
		})
		if err != nil {
			return "", nil, err
		}
		return c.URL("postgres"), c, nil
	}
}

// prepare starts the server and migrates the template.
func (s *source) prepare() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if s.admin, s.own, s.err = s.start(ctx); s.err != nil {
		return
	}
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		s.err = err
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	s.template = "tokiflow_template_" + pg.Fingerprint()
	s.err = s.migrateTemplate(ctx, conn)
}

// migrateTemplate makes the template where it is missing. Several test processes may share the server.
func (s *source) migrateTemplate(ctx context.Context, conn *pgx.Conn) error {
	const lock = 7405001
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, lock); err != nil {
		return err
	}
	defer func() { _, _ = conn.Exec(ctx, `select pg_advisory_unlock($1)`, lock) }()
	var closed *bool
	err := conn.QueryRow(ctx, `select (select not datallowconn from pg_database where datname = $1)`, s.template).Scan(&closed)
	if err != nil {
		return err
	}
	if closed != nil && *closed {
		return nil // closed as the last step: it is whole
	}
	for _, sql := range []string{"drop database if exists " + s.template + " with (force)", "create database " + s.template} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	u, err := withDatabase(s.admin, s.template)
	if err != nil {
		return err
	}
	pool, err := pg.Open(ctx, u, pg.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	err = pg.Migrate(ctx, pool, slog.New(slog.DiscardHandler))
	pool.Close()
	if err != nil {
		return err
	}
	// TimescaleDB's scheduler may sit in the template, and a template in use cannot be cloned.
	_, err = conn.Exec(ctx, "alter database "+s.template+" with allow_connections false")
	if err == nil {
		_, err = conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, s.template)
	}
	return err
}

func cloneOf(t testing.TB, s *source) string {
	t.Helper()
	s.once.Do(s.prepare)
	return create(t, s, s.template)
}

// create makes a database from a template and drops it when the test ends.
func create(t testing.TB, s *source, template string) string {
	t.Helper()
	s.once.Do(s.prepare)
	if errors.Is(s.err, errAbsent) {
		t.Skipf("SKIPPED, NOT RUN: %v", s.err)
	}
	if s.err != nil {
		t.Fatalf("pgtest: %s: %v", s.name, s.err)
	}
	t.Attr("part", map[string]string{
		"plain": "PostgreSQL", "apache": "TimescaleDB, Apache edition", "community": "TimescaleDB, community edition",
	}[s.name])
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	exec := func(sql string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, s.admin)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, sql)
		return err
	}
	if err := exec(fmt.Sprintf("create database %s template %s", name, template)); err != nil {
		t.Fatalf("pgtest: clone %s: %v", template, err)
	}
	t.Cleanup(func() {
		if err := exec(fmt.Sprintf("drop database if exists %s with (force)", name)); err != nil {
			t.Logf("pgtest: drop %s: %v", name, err)
		}
	})
	u, err := withDatabase(s.admin, name)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return u
}

func open(t testing.TB, s *source, u string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(context.Background(), u, pg.Options{})
	if err != nil {
		t.Fatalf("pgtest: open a database of %s: %v", s.name, err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// withDatabase is the URL with another database's name.
func withDatabase(admin, name string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil || u.Scheme == "" {
		return "", fmt.Errorf("TOKIFLOW_TEST_DATABASE_URL must be a postgres:// URL: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}
