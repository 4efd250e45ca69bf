package services

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// PrometheusServer is a real Prometheus that a test has for itself.
type PrometheusServer struct {
	t       testing.TB
	program string
	args    []string // without the address
	dir     string   // its configuration, and its data in data/
	addr    string   // host:port; known from the first start on, and the same ever after
	log     *output
	process *exec.Cmd     // nil: none
	unwatch func()        // ends what watches the process
	ended   chan struct{} // closed when the process has ended, and endErr says how
	endErr  error
}

// Prometheus starts a Prometheus with this configuration file, no data and further flags, and waits until it is ready. It
// listens on a free port and is stopped when the test ends. Where it cannot be built the test is skipped, or fails where
// TOKIFLOW_TEST_REQUIRE is set.
func Prometheus(t testing.TB, config string, flags ...string) *PrometheusServer {
	t.Helper()
	s := &PrometheusServer{t: t, program: prometheusPrograms(t)["TOKIFLOW_TEST_PROMETHEUS"], dir: t.TempDir()}
	t.Attr("part", "Prometheus")
	s.write(config)
	s.args = append([]string{
		"--config.file=" + s.config(), "--storage.tsdb.path=" + filepath.Join(s.dir, "data"), "--web.enable-lifecycle",
	}, flags...)
	s.start("127.0.0.1:0")
	t.Cleanup(func() {
		s.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", s.log.String())
		}
	})
	return s
}

// URL is where it is reached: http://HOST:PORT.
func (s *PrometheusServer) URL() string { return "http://" + s.addr }

// Reload gives it another configuration file.
func (s *PrometheusServer) Reload(config string) {
	s.t.Helper()
	s.write(config)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/-/reload", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		s.t.Fatalf("Prometheus does not take the configuration: %s", said)
	}
}

// Kill ends it as kill -9 does.
func (s *PrometheusServer) Kill() { s.end(syscall.SIGKILL) }

// Restart starts it again, with its data and at its address.
func (s *PrometheusServer) Restart() {
	s.t.Helper()
	s.end(syscall.SIGTERM)
	s.start(s.addr)
}

// Promtool runs promtool and returns all that it said. The error is not nil where it ended with another status than 0.
// Where it cannot be built the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is set.
func Promtool(t testing.TB, stdin []byte, args ...string) (string, error) {
	t.Helper()
	program := prometheusPrograms(t)["TOKIFLOW_TEST_PROMTOOL"]
	t.Attr("part", "promtool")
	cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // what we built
	cmd.Stdin = bytes.NewReader(stdin)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// PromtoolProgram is where promtool is. Where it cannot be built the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is
// set.
func PromtoolProgram(t testing.TB) string {
	t.Helper()
	return prometheusPrograms(t)["TOKIFLOW_TEST_PROMTOOL"]
}

// prometheusPrograms makes sure that both programs are there, or skips the test and says what is absent.
func prometheusPrograms(t testing.TB) map[string]string {
	t.Helper()
	programs, err := installPrometheus()
	if err == nil {
		return programs
	}
	if os.Getenv("TOKIFLOW_TEST_REQUIRE") != "" {
		t.Fatalf("MISSING SERVICE prometheus: %v", err)
	}
	t.Skipf("MISSING SERVICE prometheus: %v", err)
	return nil
}

// installPrometheus builds the programs unless they are there: minutes the first time, once a machine.
//
//nolint:gochecknoglobals // where they are does not change
var installPrometheus = sync.OnceValues(func() (map[string]string, error) {
	return run("prometheus.sh", nil, "install")
})

func (s *PrometheusServer) config() string { return filepath.Join(s.dir, "prometheus.yml") }

func (s *PrometheusServer) write(config string) {
	s.t.Helper()
	if err := os.WriteFile(s.config(), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *PrometheusServer) start(addr string) {
	s.t.Helper()
	cmd := exec.Command(s.program, append([]string{"--web.listen-address=" + addr}, s.args...)...) //nolint:gosec,noctx // what we built; end ends it
	s.log = &output{}
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.process, s.ended = cmd, ended
	go func() {
		s.endErr = cmd.Wait()
		close(ended)
	}()
	s.watch(cmd.Process.Pid)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	for {
		if at, ready := s.log.ready(); ready {
			s.addr = at
			return
		}
		select {
		case <-look.C:
		case <-ended:
			s.t.Fatalf("Prometheus did not start: %v\n%s", s.endErr, s.log.String())
		case <-late.C:
			s.end(syscall.SIGKILL)
			s.t.Fatalf("Prometheus is not ready after 2 minutes:\n%s", s.log.String())
		}
	}
}

// watch makes sure that it does not outlive the test process, which may be killed.
func (s *PrometheusServer) watch(pid int) {
	s.t.Helper()
	root, err := moduleRoot()
	if err != nil {
		s.t.Fatal(err)
	}
	watch := exec.Command(filepath.Join(root, "test", "services", "prometheus.sh"), "watch", strconv.Itoa(os.Getpid()), strconv.Itoa(pid)) //nolint:gosec,noctx // our own script; it ends by itself
	if err := watch.Start(); err != nil {
		s.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = watch.Wait() // it is no use to anybody how it ended
		close(gone)
	}()
	s.unwatch = func() {
		_ = watch.Process.Kill()
		<-gone
	}
}

// end stops it, if it runs.
func (s *PrometheusServer) end(signal syscall.Signal) {
	s.t.Helper()
	cmd := s.process
	s.process = nil
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal) // it may have ended by itself
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	<-s.ended
	s.unwatch()
	if exit, ok := errors.AsType[*exec.ExitError](s.endErr); s.endErr != nil && (!ok || exit.Exited()) {
		s.t.Errorf("Prometheus ended by itself: %v", s.endErr)
	}
}

// output gathers what a program says, for a reader beside it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what it said.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// ready finds the address that Prometheus says it listens on, once it also says that it is ready.
func (o *output) ready() (addr string, ready bool) {
	for lines := bufio.NewScanner(strings.NewReader(o.String())); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.Contains(line, `msg="Listening on"`):
			_, addr, _ = strings.Cut(line, "address=")
		case strings.Contains(line, `msg="Server is ready to receive web requests."`):
			ready = true
		}
	}
	return strings.TrimSpace(addr), ready && addr != ""
}
