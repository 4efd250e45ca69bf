//go:build fault

package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/loadgen"
)

const apiKey = "fault-key-0123456789abcdef-0123456789"

// build makes the binary that is broken.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tokiflow")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/tokiflow/tokiflow/cmd/tokiflow")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// server is a tokiflow process that is killed and started again, at the same address with the same data.
type server struct {
	t    *testing.T
	bin  string
	args []string
	dir  string // data
	addr string
	log  *os.File

	mu  sync.Mutex
	cmd *exec.Cmd
}

func newServer(t *testing.T, bin string, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	// Not t.TempDir: an unprivileged PostgreSQL must be able to walk to its data.
	dir, err := os.MkdirTemp("", "tokiflow-fault-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "tokiflow.log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, bin: bin, dir: filepath.Join(dir, "data"), addr: addr, log: log}
	s.args = append([]string{
		"serve", "--listen", addr, "--data-dir", s.dir, "--ping-rate-limit", "0",
		"--allow-private-webhooks", "--log-retention", "1d",
	}, args...)
	t.Cleanup(func() {
		s.kill()
		_ = log.Close()
		if t.Failed() {
			t.Logf("data and log of the server are left in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

// embeddedURL is where the server's own PostgreSQL is (infra/pg/embedded says what is in its folder).
func (s *server) embeddedURL() string {
	s.t.Helper()
	folder := filepath.Join(s.dir, "postgres")
	password, err := os.ReadFile(filepath.Join(folder, "password"))
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("host=%s user=tokiflow password=%s dbname=tokiflow sslmode=disable", filepath.Join(folder, "data"), strings.TrimSpace(string(password)))
}

func (s *server) base() string { return "http://" + s.addr }

// start runs the process and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	cmd := exec.Command(s.bin, s.args...) //nolint:gosec,noctx // our own binary
	cmd.Env = append(os.Environ(), "BOOTSTRAP_API_KEY="+apiKey)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	s.awaitReady(90 * time.Second)
}

func (s *server) awaitReady(limit time.Duration) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		res, err := http.Get(s.base() + "/readyz") //nolint:noctx // a test
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not ready for %v: see %s", limit, s.log.Name())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kill is kill -9.
func (s *server) kill() { s.end(syscall.SIGKILL) }

// stop is an orderly end.
func (s *server) stop() { s.end(syscall.SIGTERM) }

func (s *server) end(sig syscall.Signal) {
	s.mu.Lock()
	cmd := s.cmd
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
	}
}

// told is what the webhooks said.
type told struct {
	mu     sync.Mutex
	count  map[string]int // "incident id/type"
	faults []string
}

type said struct {
	Type string `json:"type"`
	Data struct {
		Incident struct {
			ID string `json:"id"`
		} `json:"incident"`
	} `json:"data"`
}

// listen receives webhooks until the test ends. Now and then it refuses one: a receiver has its own troubles.
func listen(t *testing.T) (string, *told) {
	t.Helper()
	w := &told{count: map[string]int{}}
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n++; n%7 == 0 || err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		var m said
		if err := json.Unmarshal(data, &m); err != nil {
			w.faults = append(w.faults, err.Error())
		}
		id := m.Data.Incident.ID
		if m.Type == "incident.resolved" && w.count[id+"/incident.opened"] == 0 {
			w.faults = append(w.faults, "resolved before opened: "+id)
		}
		w.count[id+"/"+m.Type]++
	}))
	t.Cleanup(srv.Close)
	return srv.URL, w
}

// fleet is the monitors of a test.
type fleet struct {
	load, steady, flapping []loadgen.Monitor
}

func makeFleet(t *testing.T, s *server) fleet {
	t.Helper()
	admin, err := loadgen.NewAdmin(s.base(), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	mk := func(prefix string, n int, interval, grace time.Duration) []loadgen.Monitor {
		all, err := admin.Make(t.Context(), loadgen.Spec{Prefix: prefix, Count: n, Interval: interval, Grace: grace})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	return fleet{
		load:     mk("load", 200, time.Hour, time.Hour),
		steady:   mk("steady", 30, 4*time.Second, 4*time.Second),
		flapping: mk("flapping", 10, 2*time.Second, time.Second),
	}
}

func (f fleet) all() []loadgen.Monitor {
	return append(append(append([]loadgen.Monitor(nil), f.load...), f.steady...), f.flapping...)
}

// ids are the answered ping ids: the load generator's, which writes as it likes, and those of our own clients.
type ids struct {
	load bytes.Buffer

	mu  sync.Mutex
	own []string
}

func (l *ids) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own = append(l.own, id)
}

// list is all of them, once nobody writes any more.
func (l *ids) list() []string { return append(strings.Fields(l.load.String()), l.own...) }

// pinging keeps the whole fleet busy until ctx ends: the load as fast as rate says, the steady ones well within their
// interval by a client that tries again, the flapping ones with pauses beyond their deadlines.
func pinging(ctx context.Context, t *testing.T, s *server, f fleet, answered *ids) *sync.WaitGroup {
	wg := &sync.WaitGroup{}
	targets := make([]string, 0, len(f.load))
	for _, m := range f.load {
		targets = append(targets, m.PingKey)
	}
	wg.Go(func() {
		res, err := loadgen.Ping(ctx, loadgen.PingOptions{
			BaseURL: s.base(), Targets: targets, Connections: 16, Rate: 1500, Duration: time.Hour, Runs: true,
			Body: []byte("a line of output\n"), IDs: &answered.load,
		})
		if err != nil && ctx.Err() == nil {
			t.Errorf("load: %v", err)
			return
		}
		t.Logf("load: %d answered, %d without an answer, statuses %v", res.Answered, res.Failed, res.Statuses)
	})
	one := func(key string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.base()+"/ping/"+key, nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			answered.add(res.Header.Get("Ping-Id"))
		}
		return res.StatusCode == http.StatusOK
	}
	for _, m := range f.steady {
		wg.Go(func() {
			for ctx.Err() == nil {
				pause := time.Second
				if !one(m.PingKey) {
					pause = 50 * time.Millisecond
				}
				sleep(ctx, pause)
			}
		})
	}
	for i, m := range f.flapping {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				one(m.PingKey)
				pause := time.Second
				if n%8 == 7 {
					pause = 6 * time.Second // beyond interval and grace
				}
				sleep(ctx, pause)
			}
		})
	}
	return wg
}

func idsOf(list []loadgen.Monitor) []string {
	out := make([]string, 0, len(list))
	for _, m := range list {
		out = append(out, m.ID)
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// pauseAll leaves nothing that is still to be judged, so that a log has an end to compare at.
func pauseAll(t *testing.T, s *server, f fleet) {
	t.Helper()
	for _, m := range f.all() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base()+"/api/v1/monitors/"+m.ID+"/pause", nil)
		req.Header.Set("Authorization", "Bearer "+apiKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("pause answered %d", res.StatusCode)
		}
	}
}
