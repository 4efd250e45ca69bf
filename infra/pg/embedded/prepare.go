//go:build unix

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// prepare does all that comes before the first start.
func (s *Server) prepare(ctx context.Context) error {
	var err error
	// Others may enter, on the way to the cluster; what is secret in it is closed by itself.
	if err = os.MkdirAll(s.o.DataDir, 0o755); err != nil { //nolint:gosec // see above
		return err
	}
	if s.account, err = ServerAccount(); err != nil {
		return err
	}
	if s.bin, err = s.binaries(ctx); err != nil {
		return err
	}
	if s.lock, err = lockDir(s.o.DataDir); err != nil {
		return err
	}
	if err = os.MkdirAll(s.cluster(), 0o700); err != nil {
		return err
	}
	if err = errors.Join(s.account.Own(s.cluster()), s.canReach()); err != nil {
		return err
	}
	if s.data, err = os.Open(s.cluster()); err != nil {
		return err
	}
	if s.output, err = os.OpenFile(s.outputPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	if err = s.endOrphan(ctx); err != nil {
		return err
	}
	return s.ensureCluster()
}

// lockDir makes sure that one Tokiflow at a time uses the folder. The lock goes with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another tokiflow: stop that one, or give this one another --data-dir", dir), f.Close())
	}
	return f, nil
}

// endOrphan ends a server that is left of a Tokiflow that was killed: it holds the cluster.
func (s *Server) endOrphan(ctx context.Context) error {
	data, err := os.ReadFile(filepath.Join(s.cluster(), "postmaster.pid"))
	if err != nil {
		return nil //nolint:nilerr // there is none
	}
	first, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !isPostgres(pid) {
		return nil //nolint:nilerr // the server knows what to do with what is left
	}
	s.log.Warn("ending a PostgreSQL that an earlier tokiflow left behind", "pid", pid)
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil {
			return nil //nolint:nilerr // it has ended
		}
		for end := time.Now().Add(time.Duration(10-4*i) * time.Second); time.Now().Before(end); {
			if syscall.Kill(pid, 0) != nil || !isPostgres(pid) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return fmt.Errorf("a PostgreSQL of an earlier run (process %d) does not end: end it by hand", pid)
}

// ensureCluster runs initdb in an empty folder, and refuses a cluster of another major version.
func (s *Server) ensureCluster() error {
	version, err := os.ReadFile(filepath.Join(s.cluster(), "PG_VERSION"))
	if err == nil {
		if have := string(bytes.TrimSpace(version)); have != strconv.Itoa(s.bin.Major) {
			return fmt.Errorf("the data in %s were made by PostgreSQL %s, but %s has version %s: give a folder with PostgreSQL %s by "+
				"--postgres-bin, or move the data with pg_dump", s.cluster(), have, s.bin.Dir, s.bin.Version, have)
		}
		return nil
	}
	if err := s.clearHalfMade(); err != nil {
		return err
	}
	s.log.Info("making the embedded database", "data", s.cluster(), "version", s.bin.Version)
	var out bytes.Buffer
	cmd := s.command("initdb", "-D", dataPath(s), "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("initdb: %w\n%s", err, out.String()), s.clearHalfMade())
	}
	return nil
}

// clearHalfMade empties a cluster that initdb did not finish: PG_VERSION is among the first files it writes, so what is there
// without it is nothing yet.
func (s *Server) clearHalfMade() error {
	names, err := os.ReadDir(s.cluster())
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(s.cluster(), n.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("host='%s' port=5432 user=%s dbname=%s sslmode=disable", strings.ReplaceAll(s.socketDir(), "'", `\'`), superuser, database)
}

// awaitReady waits until the server answers, and makes the database where it is missing.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := s.ensureDatabase(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(s.outputPath())
			return fmt.Errorf("it does not answer: %w\nit says: %s", err, bytes.TrimSpace(said[max(0, len(said)-2000):]))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, databaseName).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, "create database "+databaseName)
	return err
}
