//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running private PostgreSQL.
type Server struct {
	o       Options
	bin     Binaries
	account *Account
	dir     *dataDir
	pgdata  string // the data directory as the server names it

	mu       sync.Mutex
	process  *os.Process // nil between a death and the restart
	stopping bool
	stop     chan struct{} // closed by the first Stop
	done     chan struct{} // closed when the server has ended and will not be restarted
}

// Start finds the server programs, makes the data directory where there is none, ends a server that a killed process left
// behind, starts a new one and waits until it answers. It listens on a Unix socket only.
//
// If the server dies it is started again, for as long as Stop is not called. It is asked to shut down when this process
// is killed (on Linux); elsewhere, and where it did not obey, the next Start ends it.
func Start(ctx context.Context, o Options) (*Server, error) {
	account, err := ServerAccount()
	if err != nil {
		return nil, err
	}
	dir, err := openDataDir(o.DataDir, account)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, account: account, dir: dir, stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, dir.close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	made, err := s.dir.madeBy()
	if err != nil {
		return err
	}
	if s.bin, err = provide(ctx, s.o, made); err != nil {
		return err
	}
	if err := s.account.canExecute(s.bin.Dir); err != nil {
		return err
	}
	if err := s.dir.endOrphan(ctx, s.o.Logger); err != nil {
		return err
	}
	if made == 0 {
		s.o.Logger.InfoContext(ctx, "making the database", "folder", s.dir.root, "postgresql", s.bin.Version)
		if err := s.dir.init(ctx, s.bin); err != nil {
			return err
		}
	}
	if s.pgdata, err = s.dir.hold(s.dir.data()); err != nil {
		return err
	}
	begun := time.Now()
	exited, err := s.firstLaunch(ctx)
	if exited != nil {
		go s.supervise(exited) //nolint:gosec,contextcheck // it outlives Start, until Stop
	}
	if err == nil {
		err = s.createDatabase(ctx)
	}
	if err != nil {
		if exited == nil {
			return err
		}
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return errors.Join(err, s.shutdown(stopCtx))
	}
	s.o.Logger.InfoContext(ctx, "private PostgreSQL is ready", "version", s.bin.Version, "programs", s.bin.Dir,
		"folder", s.dir.root, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// URL is that of the database. It holds the password: not for the log.
func (s *Server) URL() string { return s.url(databaseName) }

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(roleName, s.dir.password), Path: "/" + database}
	u.RawQuery = url.Values{"host": {s.dir.sockets}, "sslmode": {"disable"}}.Encode()
	return u.String()
}

const stopTimeout = 30 * time.Second

// Stop shuts the server down, rolling back what is open, and waits for its end. When ctx ends first the server is made to
// stop at once; the next start recovers.
func (s *Server) Stop(ctx context.Context) error {
	return errors.Join(s.shutdown(ctx), s.dir.close())
}

func (s *Server) shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		close(s.stop)
	}
	s.mu.Unlock()
	s.signal(syscall.SIGINT) // fast shutdown
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	s.o.Logger.WarnContext(ctx, "PostgreSQL does not shut down in time, stopping it at once; it recovers at its next start")
	s.signal(syscall.SIGQUIT) // immediate shutdown
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		s.signal(syscall.SIGKILL)
		<-s.done
	}
	return fmt.Errorf("PostgreSQL had to be stopped at once: %w", ctx.Err())
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Signal(sig)
	}
}

// launch starts the server process. The channel gives what its end says.
//
// The kernel tells a child of its parent's death when the thread ends that started it, so that thread is kept until the
// child has ended.
func (s *Server) launch() (<-chan error, error) {
	logFile, err := s.dir.openLog()
	if err != nil {
		return nil, err
	}
	cmd := s.dir.command(s.bin, "postgres", append([]string{"-D", s.pgdata}, s.settings()...)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr.Setpgid = true // Ctrl-C in the terminal is for us; we stop the server when we are done with it
	dieWithParent(cmd.SysProcAttr)
	started, exited := make(chan error, 1), make(chan error, 1)
	go keepThread(func() {
		s.mu.Lock()
		err := errStopping
		if !s.stopping {
			if err = cmd.Start(); err == nil {
				s.process = cmd.Process
			}
		}
		s.mu.Unlock()
		_ = logFile.Close()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		s.mu.Lock()
		s.process = nil
		s.mu.Unlock()
		exited <- err
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return exited, nil
}

var errStopping = errors.New("the server is being stopped")

// settings are the server's, beside its defaults, which are durable: fsync, full_page_writes and synchronous_commit are on.
func (s *Server) settings() []string {
	list := []string{
		"listen_addresses=", "unix_socket_directories=" + s.dir.serverSockets(), "unix_socket_permissions=0700", "port=" + socketPort,
		"max_connections=100", "shared_buffers=128MB", "max_wal_size=2GB", "checkpoint_timeout=15min", "wal_compression=on",
		"random_page_cost=1.1",
		"jit=off", // compiling costs more than our queries take
		"timezone=UTC", "log_timezone=UTC", "log_min_messages=warning", "log_line_prefix=%m [%p] ",
	}
	if s.bin.Timescale {
		list = append(list, "shared_preload_libraries=timescaledb", "timescaledb.telemetry_level=off", "max_worker_processes=16")
	}
	var args []string
	for _, v := range append(list, s.o.Settings...) {
		args = append(args, "-c", v)
	}
	return args
}

// supervise starts the server again when it dies, until Stop.
func (s *Server) supervise(exited <-chan error) {
	defer close(s.done)
	ctx := context.Background()
	wait := restartMin
	for {
		begun := time.Now()
		var err error
		if exited != nil {
			err = <-exited
		}
		select {
		case <-s.stop:
			return
		default:
		}
		if time.Since(begun) > time.Minute {
			wait = restartMin
		}
		s.o.Logger.ErrorContext(ctx, "PostgreSQL ended by itself, starting it again",
			"exit", err, "in", wait, "log", s.dir.logPath(), "last", s.dir.logTail(5))
		select {
		case <-s.stop:
			return
		case <-time.After(wait + rand.N(wait/2)): //nolint:gosec // jitter needs no secrecy
		}
		wait = min(wait*2, restartMax)
		if exited, err = s.launch(); errors.Is(err, errStopping) {
			return
		} else if err != nil {
			s.o.Logger.ErrorContext(ctx, "PostgreSQL cannot be started again", "error", err)
		}
	}
}

// firstLaunch starts the server and waits until it takes connections. A server that ends at once will do so again, unless
// processes of one that was killed are still about. exited is nil when nothing runs.
func (s *Server) firstLaunch(ctx context.Context) (exited <-chan error, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if exited, err = s.launch(); err != nil {
			return nil, err
		}
		ended, err := s.waitReady(ctx, exited)
		if !ended {
			return exited, err
		}
		if !strings.Contains(s.dir.logTail(5), "still in use") {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(restartMin):
		}
	}
}

// waitReady waits until the server takes connections, or has ended.
func (s *Server) waitReady(ctx context.Context, exited <-chan error) (ended bool, err error) {
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return false, conn.Close(ctx)
		}
		select {
		case exit := <-exited:
			return true, fmt.Errorf("PostgreSQL ended at once: %w; the end of %s:\n%s", exit, s.dir.logPath(), s.dir.logTail(10))
		case <-ctx.Done():
			return false, fmt.Errorf("PostgreSQL does not answer on %s: %w; the end of %s:\n%s", s.dir.sockets, err, s.dir.logPath(), s.dir.logTail(20))
		case <-time.After(pollReady):
		}
	}
}

// createDatabase makes the database where a start was interrupted before, or is the first.
func (s *Server) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the private PostgreSQL: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, databaseName).Scan(&exists); err != nil || exists {
		return err
	}
	if _, err := conn.Exec(ctx, `create database `+databaseName); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// command is a server program as the account.
func (d *dataDir) command(bin Binaries, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin.program(name), args...) //nolint:gosec,noctx // the programs are those found; they end by a signal of ours
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	d.account.Run(cmd)
	if d.held != nil {
		cmd.ExtraFiles = []*os.File{d.held}
	}
	return cmd
}
