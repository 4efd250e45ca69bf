//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Options of a server. DataDir is required.
type Options struct {
	DataDir string // folder for everything of the server's; made where it is missing
	BinDir  string // folder with postgres and initdb; empty: search, then fetch
	Logger  *slog.Logger
}

// Server is a private PostgreSQL, which runs until Stop and is started again when it ends before. It listens on no network
// address, only on a socket in its own data folder, which is closed to other users.
type Server struct {
	o       Options
	bin     Binaries
	account *Account
	log     *slog.Logger
	lock    *os.File // held while we live
	data    *os.File // the data folder, opened: see dataPath
	output  *os.File // what the server says

	stop    chan struct{} // closed by Stop
	stopped chan struct{} // closed when the last process has ended
	once    sync.Once
}

const (
	databaseName = "tokiflow"
	superuser    = "tokiflow"
	startLimit   = 2 * time.Minute // recovery after a crash under load takes its time
	firstPause   = 100 * time.Millisecond
	lastPause    = 5 * time.Second
)

// Start makes the cluster where there is none, runs the server and returns once it answers. What is left of a server whose
// Tokiflow was killed is ended first, in an orderly way.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	o.DataDir = dir
	s := &Server{o: o, log: o.Logger, stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.release())
	}
	go s.supervise()
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	s.log.Info("embedded PostgreSQL is ready", "version", s.bin.Version, "data", s.cluster(), "timescaledb", s.bin.Timescale)
	return s, nil
}

// URL is where the database is, in the form that pgx takes.
func (s *Server) URL() string { return s.dsn(databaseName) }

// Stop ends the server in an orderly way: transactions under way are rolled back. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() { close(s.stop) })
	select {
	case <-s.stopped:
		return s.release()
	case <-ctx.Done():
		return fmt.Errorf("embedded PostgreSQL does not end: %w", ctx.Err())
	}
}

func (s *Server) release() error {
	var errs []error
	for _, f := range []*os.File{s.data, s.output, s.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	s.data, s.output, s.lock = nil, nil, nil
	return errors.Join(errs...)
}

// supervise runs the server again and again until Stop.
func (s *Server) supervise() {
	// The server is to be told when we die, and Linux takes the end of the thread that made it for our end.
	runtime.LockOSThread()
	defer close(s.stopped)
	for pause := firstPause; ; {
		began := time.Now()
		err := s.runOnce()
		select {
		case <-s.stop:
			return
		default:
		}
		if time.Since(began) > time.Minute {
			pause = firstPause
		}
		s.log.Error("embedded PostgreSQL ended, starting it again", "error", err, "in", pause, "see", s.outputPath())
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// runOnce runs the server until it ends or is told to.
func (s *Server) runOnce() error {
	cmd := s.command("postgres", s.settings()...)
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-ended:
			return
		case <-s.stop:
		}
		_ = cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Signal(syscall.SIGQUIT) // recovery will mend it
		}
	}()
	err := cmd.Wait()
	close(ended)
	return err
}

// settings are the server's, on its command line so that they follow the program's version.
func (s *Server) settings() []string {
	args := []string{"-D", dataPath(s), "-k", "."}
	set := []string{
		"listen_addresses=", "port=5432", "max_connections=60", "shared_buffers=128MB", "jit=off", "timezone=UTC",
		"log_timezone=UTC", "wal_compression=on", "max_wal_size=2GB", "checkpoint_timeout=15min", "random_page_cost=1.1",
		"log_min_messages=warning", "log_checkpoints=off", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
	}
	if s.bin.Timescale {
		set = append(set, "shared_preload_libraries=timescaledb", "timescaledb.telemetry_level=off", "max_worker_processes=16")
	}
	for _, kv := range set {
		args = append(args, "-c", kv)
	}
	return args
}

// command is one of the server programs, run as the server's account with the data folder as file descriptor 3.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin.Dir, exeName(name)), args...) //nolint:gosec,noctx // found by FindBinaries; ended by Stop
	s.account.Run(cmd)
	cmd.ExtraFiles = []*os.File{s.data}
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGTZ=UTC")
	// A Ctrl-C in the terminal is for us: we end the server after what uses it.
	cmd.SysProcAttr.Setpgid = true
	return cmd
}

func (s *Server) cluster() string { return filepath.Join(s.o.DataDir, "cluster") }

func (s *Server) outputPath() string { return filepath.Join(s.o.DataDir, "postgres.log") }
