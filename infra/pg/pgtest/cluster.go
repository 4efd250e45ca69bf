//go:build unix

package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/infra/pg/embedded"
)

// Cluster is a private server for tests. What it has committed outlives Kill, but not a crash of the machine.
type Cluster struct {
	bin      embedded.Binaries
	account  *embedded.Account
	dir      string
	settings []string
	watch    *os.File // held open as long as the test process lives

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// Server starts a cluster for one test, which may stop, kill and restart it. The database at URL is empty.
func Server(t testing.TB, settings ...string) *Cluster {
	t.Helper()
	bin, err := embedded.FindBinaries(t.Context(), os.Getenv("TOKIFLOW_TEST_POSTGRES_BIN"))
	if err != nil {
		t.Skipf("SKIPPED, needs PostgreSQL %d or newer on this machine (TOKIFLOW_TEST_POSTGRES_BIN): %v", embedded.MinMajor, err)
	}
	c, err := newCluster(bin, settings)
	if err != nil {
		t.Fatalf("private PostgreSQL: %v", err)
	}
	t.Attr("part", "PostgreSQL of its own, which it may kill")
	t.Cleanup(c.remove)
	return c
}

// newCluster makes the data directory and starts the server. A watchdog outside the process removes both when it ends.
func newCluster(bin embedded.Binaries, settings []string) (*Cluster, error) {
	account, err := embedded.ServerAccount()
	if err != nil {
		return nil, err
	}
	parent := os.TempDir()
	if len(parent) > 60 { // a socket's path has at most 107 bytes
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "tokiflow-pgtest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, account: account, dir: dir, settings: settings}
	if err := errors.Join(account.Own(dir), account.CanReach(filepath.Join(dir, "data"))); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	initdb := exec.Command(filepath.Join(bin.Dir, "initdb"), "-D", c.data(), "-U", "postgres", "-A", "trust", //nolint:gosec,noctx // found above; bounded by itself
		"--no-sync", "--locale=C", "-E", "UTF8")
	account.Run(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if err := c.startWatchdog(); err != nil {
		return nil, err
	}
	return c, c.Start()
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// startWatchdog starts a shell that waits for the end of a pipe which only this process holds open.
func (c *Cluster) startWatchdog() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/bin/sh", "-c", //nolint:gosec,noctx // outlives the process on purpose
		`cat >/dev/null; test -f "$1/data/postmaster.pid" && kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" 2>/dev/null && sleep 1; rm -rf "$1"`,
		"sh", c.dir)
	cmd.Stdin = r
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	go func() { _ = cmd.Wait() }()
	c.watch = w
	return nil
}

// Start starts the server, after Stop or Kill, and waits until it answers.
func (c *Cluster) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	logFile, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	args := []string{
		"-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=400", "-c", "timezone=Canada/Newfoundland", "-c", "jit=off",
		"-c", "shared_buffers=64MB", "-c", "max_wal_size=2GB",
	}
	for _, s := range c.settings {
		args = append(args, "-c", s)
	}
	cmd := exec.Command(filepath.Join(c.bin.Dir, "postgres"), args...) //nolint:gosec,noctx // ended by Stop or the watchdog
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.account.Run(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	c.cmd, c.done = cmd, done
	return c.waitReady(done)
}

func (c *Cluster) waitReady(done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-done:
			return fmt.Errorf("postgres ended at once:\n%s", c.Log())
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w\n%s", err, c.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop shuts the server down, rolling back what is open.
func (c *Cluster) Stop() { c.signal(syscall.SIGINT) }

// Kill ends the server as kill -9 of every one of its processes would.
func (c *Cluster) Kill() { c.signal(syscall.SIGKILL) }

func (c *Cluster) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return
	}
	if s == syscall.SIGKILL {
		// Stopped first, so that it forks no more: a child nobody kills may wait for ever for a lock of one that was
		// killed, and hold the shared memory that the next start wants.
		_ = c.cmd.Process.Signal(syscall.SIGSTOP)
		for _, pid := range children(c.cmd.Process.Pid) {
			_ = syscall.Kill(pid, s)
		}
	}
	_ = c.cmd.Process.Signal(s)
	<-c.done
	c.cmd = nil
}

// children are the processes whose parent is pid.
func children(pid int) []int {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output() //nolint:noctx // immediate
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[1] == strconv.Itoa(pid) {
			if n, err := strconv.Atoi(f[0]); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// Log is the end of what the server has written.
func (c *Cluster) Log() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	if n := 4000; len(b) > n {
		b = b[bytes.IndexByte(b[len(b)-n:], '\n')+len(b)-n+1:]
	}
	return string(b)
}

// URL names a database of the cluster.
func (c *Cluster) URL(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(c.dir)
}

func (c *Cluster) remove() {
	c.signal(syscall.SIGQUIT)
	_ = c.watch.Close()
	_ = os.RemoveAll(c.dir)
}
