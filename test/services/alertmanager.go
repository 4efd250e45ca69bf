package services

import (
	"bytes"
	"context"
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

// AlertmanagerServer is a real Alertmanager that a test has for itself, in no cluster.
type AlertmanagerServer struct {
	args    []string // without the address
	process process
}

// Alertmanager starts an Alertmanager with this configuration file, no data and further flags, and waits until it is ready. It
// listens on a free port and is stopped when the test ends. Where it cannot be built the test is skipped, or fails where
// TOKIFLOW_TEST_REQUIRE is set.
func Alertmanager(t testing.TB, config string, flags ...string) *AlertmanagerServer {
	t.Helper()
	dir := t.TempDir()
	s := &AlertmanagerServer{process: process{
		t: t, name: "Alertmanager", program: alertmanagerPrograms(t)["TOKIFLOW_TEST_ALERTMANAGER"],
		ready: func(line string) bool { return strings.Contains(line, `msg="Listening on"`) },
	}}
	t.Attr("part", "Alertmanager")
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{
		"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "data"), "--cluster.listen-address=", "--log.level=debug",
	}, flags...)
	s.start("127.0.0.1:0")
	s.process.stopAfterTest()
	return s
}

// URL is where it is reached: http://HOST:PORT.
func (s *AlertmanagerServer) URL() string { return "http://" + s.process.addr }

// Kill ends it as kill -9 does.
func (s *AlertmanagerServer) Kill() { s.process.end(syscall.SIGKILL) }

// Restart starts it again, with its data and at its address.
func (s *AlertmanagerServer) Restart() {
	s.process.t.Helper()
	s.process.end(syscall.SIGTERM)
	s.start(s.process.addr)
}

func (s *AlertmanagerServer) start(addr string) {
	s.process.t.Helper()
	s.process.start(append([]string{"--web.listen-address=" + addr}, s.args...)...)
	for deadline := time.Now().Add(time.Minute); !s.answers(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.process.t.Fatal("Alertmanager listens, but does not answer")
		}
	}
}

func (s *AlertmanagerServer) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/-/ready", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Amtool runs amtool, without anybody's configuration of it, and returns all that it said. The error is not nil where it ended with
// another status than 0. Where it cannot be built the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is set.
func Amtool(t testing.TB, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), AmtoolProgram(t), args...) //nolint:gosec // what we built
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// AmtoolProgram is where amtool is. Where it cannot be built the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is set.
func AmtoolProgram(t testing.TB) string {
	t.Helper()
	t.Attr("part", "amtool")
	return alertmanagerPrograms(t)["TOKIFLOW_TEST_AMTOOL"]
}

// AlertmanagerTests is the folder of Alertmanager's own acceptance tests, compiled: acceptance.test and cli.test, with amtool. Where
// they cannot be built the test is skipped, or fails where TOKIFLOW_TEST_REQUIRE is set.
func AlertmanagerTests(t testing.TB) string {
	t.Helper()
	return alertmanagerPrograms(t)["TOKIFLOW_TEST_ALERTMANAGER_DIR"]
}

func alertmanagerPrograms(t testing.TB) map[string]string {
	t.Helper()
	return programs(t, "alertmanager", installAlertmanager)
}

// installAlertmanager builds the programs unless they are there: a minute or two the first time, once a machine.
//
//nolint:gochecknoglobals // where they are does not change
var installAlertmanager = sync.OnceValues(func() (map[string]string, error) {
	return run("alertmanager.sh", nil, "install")
})
