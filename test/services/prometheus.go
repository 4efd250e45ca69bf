package services

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// PrometheusServer is a real Prometheus that a test has for itself.
type PrometheusServer struct {
	t       testing.TB
	args    []string // without the address, which is the same from the first start on
	dir     string   // its configuration, and its data in data/
	process process
}

// Prometheus starts a Prometheus with this configuration file, no data and further flags, and waits until it is ready. It
// listens on a free port and is stopped when the test ends. Where it cannot be built the test is skipped, or fails where
// TOKIFLOW_TEST_REQUIRE is set.
func Prometheus(t testing.TB, config string, flags ...string) *PrometheusServer {
	t.Helper()
	s := &PrometheusServer{t: t, dir: t.TempDir(), process: process{
		t: t, name: "Prometheus", program: prometheusPrograms(t)["TOKIFLOW_TEST_PROMETHEUS"],
		ready: func(line string) bool {
			return strings.Contains(line, `msg="Server is ready to receive web requests."`)
		},
	}}
	t.Attr("part", "Prometheus")
	s.write(config)
	s.args = append([]string{
		"--config.file=" + s.config(), "--storage.tsdb.path=" + filepath.Join(s.dir, "data"), "--web.enable-lifecycle",
	}, flags...)
	s.start("127.0.0.1:0")
	s.process.stopAfterTest()
	return s
}

// URL is where it is reached: http://HOST:PORT.
func (s *PrometheusServer) URL() string { return "http://" + s.process.addr }

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
func (s *PrometheusServer) Kill() { s.process.end(syscall.SIGKILL) }

// Restart starts it again, with its data and at its address.
func (s *PrometheusServer) Restart() {
	s.t.Helper()
	s.process.end(syscall.SIGTERM)
	s.start(s.process.addr)
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
	return programs(t, "prometheus", installPrometheus)
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
	s.process.start(append([]string{"--web.listen-address=" + addr}, s.args...)...)
}
