//go:build unix

package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"go.uber.org/goleak"
)

// childDir names the folder on which a copy of the test program is to run a server until it is killed.
const childDir = "TOKIFLOW_TEST_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := Start(context.Background(), Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.URL())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// need skips where there is no PostgreSQL on the machine.
func need(t *testing.T) Binaries {
	t.Helper()
	b, err := FindBinaries(t.Context(), "")
	if err != nil {
		t.Skipf("SKIPPED, NOT RUN: %v", err)
	}
	return b
}

func start(t *testing.T, dir string, o Options) *Server {
	t.Helper()
	need(t)
	o.DataDir = dir
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// query runs one statement on a connection of its own and returns its first value as text.
func query(t *testing.T, url, sql string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var v any
	for rows.Next() {
		if err := rows.Scan(&v); err != nil {
			return "", err
		}
	}
	return fmt.Sprint(v), rows.Err()
}

func must(t *testing.T, url, sql string) string {
	t.Helper()
	v, err := query(t, url, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// openDir is a temporary folder that every user can enter; t.TempDir's is closed.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStartStopStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "postgres")
	s := start(t, dir, Options{})
	must(t, s.URL(), `create table kept as select 42 as n`)
	for setting, want := range map[string]string{
		"listen_addresses": "", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on", "timezone": "UTC",
	} {
		if got := must(t, s.URL(), "select current_setting('"+setting+"')"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if _, err := query(t, strings.Replace(s.URL(), s.dir.password, "guessed", 1), "select 1"); err == nil {
		t.Error("a wrong password is taken")
	}
	if info, err := os.Stat(filepath.Join(dir, "data")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data is %v, %v; want it closed to others", info.Mode(), err)
	}
	stop(t, s)
	if _, err := query(t, s.URL(), "select 1"); err == nil {
		t.Error("the server answers after Stop")
	}
	stop(t, s) // once more does no harm

	if s.dir.unreachable {
		t.Error("the data folder was given as an open file, though it can be reached")
	}
	begun := time.Now()
	again := start(t, dir, Options{})
	if took := time.Since(begun); took > 50*time.Second {
		t.Errorf("the second start took %v", took)
	}
	if got := must(t, again.URL(), "select n from kept"); got != "42" {
		t.Errorf("kept %s, want 42", got)
	}
}

func TestOneServerAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, Options{})
	_, err := Start(t.Context(), Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "another tokiflow (process "+strconv.Itoa(os.Getpid())+")") {
		t.Errorf("got %v", err)
	}
}

func TestFolderThatTheServersUserCannotReach(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT RUN: needs root")
	}
	closed := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data", "postgres")
	for range 2 {
		s := start(t, dir, Options{})
		must(t, s.URL(), `create table if not exists kept (n int)`)
		if !s.dir.unreachable {
			t.Error("the folder was taken for one that can be reached")
		}
		stop(t, s)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	s := start(t, dir, Options{})
	must(t, s.URL(), `select 1`)
	stop(t, s)
	if _, err := os.Stat(s.dir.sockets); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is left: %v", err)
	}
}

// pid of the server that runs in the folder.
func serverPID(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestServerIsStartedAgainWhenKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log syncBuffer
	s := start(t, dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, s.URL(), `create table kept as select 42 as n`)
	for range 3 {
		before := serverPID(t, dir)
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if ok, _ := await(t.Context(), time.Minute, func() bool {
			got, err := query(t, s.URL(), "select n from kept")
			return err == nil && got == "42" && serverPID(t, dir) != before
		}); !ok {
			t.Fatalf("it is not back:\n%s\n%s", log.String(), s.dir.logTail(20))
		}
	}
	if !strings.Contains(log.String(), "ended by itself") {
		t.Errorf("the log does not say so:\n%s", log.String())
	}
}

// child runs a copy of the test program that runs a server, and returns it and the server's URL.
func child(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

func TestStartAfterTheParentWasKilled(t *testing.T) {
	t.Parallel()
	need(t)
	dir := t.TempDir()
	for n := range 3 {
		cmd, url := child(t, dir)
		must(t, url, fmt.Sprintf(`create table kept%d as select 42 as n`, n))
		// A query under way keeps nothing up.
		busy := make(chan struct{})
		go func() { defer close(busy); _, _ = query(t, url, `select pg_sleep(60)`) }()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s := start(t, dir, Options{})
		must(t, s.URL(), fmt.Sprintf(`select n from kept%d`, n))
		<-busy
		stop(t, s)
	}
}

func TestStartAfterEverythingWasKilled(t *testing.T) {
	t.Parallel()
	need(t)
	dir := t.TempDir()
	cmd, url := child(t, dir)
	must(t, url, `create table kept as select 42 as n`)
	server := serverPID(t, dir)
	// The server first: it would be told of its parent's death and shut down in order.
	for _, pid := range []int{server, cmd.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	s := start(t, dir, Options{})
	if got := must(t, s.URL(), `select n from kept`); got != "42" {
		t.Errorf("kept %s, want 42", got)
	}
}

// Where the kernel does not tell the server of its parent's death, the next start ends it.
func TestStartEndsAnOrphan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, Options{})
	must(t, s.URL(), `create table kept as select 42 as n`)
	stop(t, s)

	account, err := ServerAccount()
	if err != nil {
		t.Fatal(err)
	}
	d, err := openDataDir(dir, account)
	if err != nil {
		t.Fatal(err)
	}
	name, err := d.hold(d.data())
	if err != nil {
		t.Fatal(err)
	}
	s = &Server{bin: need(t), dir: d}
	orphan := d.command(s.bin, "postgres", append([]string{"-D", name}, s.settings()...)...)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	s.o.Logger = slog.New(slog.DiscardHandler)
	if _, err := s.waitReady(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}

	again := start(t, dir, Options{})
	if err := <-ended; err != nil {
		t.Errorf("the orphan did not end in order: %v", err)
	}
	if got := must(t, again.URL(), `select n from kept`); got != "42" {
		t.Errorf("kept %s, want 42", got)
	}
}

// After a restart of the machine or the container the number in the lock file may be another process's.
func TestStartWithAnothersProcessID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop(t, start(t, dir, Options{}))
	path := filepath.Join(dir, "data", "postmaster.pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getppid())+"\n"+filepath.Join(dir, "data")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, start(t, dir, Options{}).URL(), `select 1`)
}

func TestStartWithATornLockFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop(t, start(t, dir, Options{}))
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, start(t, dir, Options{}).URL(), `select 1`)
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	f := func(name string, spoil func(dir string) error, want string) {
		t.Helper()
		dir := t.TempDir()
		stop(t, start(t, dir, Options{}))
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		s, err := Start(t.Context(), Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			stop(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("another major version", func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("14\n"), 0o600)
	}, "made by PostgreSQL 14")
	f("no password", func(dir string) error { return os.Remove(filepath.Join(dir, "password")) }, "password is missing")
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Error("a server without a folder was started")
	}
	s, err := Start(t.Context(), Options{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Settings: []string{"nonsense=1"}})
	if err == nil {
		stop(t, s)
	}
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong setting: %v", err)
	}
}

// An initdb that was killed leaves nothing behind that is taken for a database.
func TestStartAfterAnInterruptedInit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.new", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, start(t, dir, Options{}).URL(), `select 1`)
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
