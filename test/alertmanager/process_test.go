package alertmanager_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

const apiKey = "story-key-0123456789abcdef-0123456789abcd"

// process is a Tokiflow that a test talks to over HTTP: the program, since only that knows which Alertmanager's parts it has.
type process struct {
	t    *testing.T
	base string
}

// program builds tokiflow, once for all tests.
//
//nolint:gochecknoglobals // where it is does not change
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tokiflow-alertmanager-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tokiflow")
	said, err := exec.Command("go", "build", "-o", bin, "github.com/tokiflow/tokiflow/cmd/tokiflow").CombinedOutput() //nolint:noctx // it ends by itself
	if err != nil {
		err = fmt.Errorf("build: %w\n%s", err, said)
	}
	return bin, err
})

// TestMain takes away what was built.
func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// start runs a Tokiflow with a database of its own until the test's end.
func start(t *testing.T) *process {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), //nolint:gosec,noctx // what we built; ended below
		"--database-url", pgtest.NewURL(t), "--allow-private-webhooks")
	cmd.Env = append(os.Environ(), "BOOTSTRAP_API_KEY="+apiKey)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if _, url, ok := strings.Cut(lines.Text(), "msg=ready url="); ok {
				ready <- strings.Fields(url)[0]
			}
			if !strings.Contains(lines.Text(), "level=INFO") {
				_, _ = fmt.Fprintln(t.Output(), lines.Text())
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	select {
	case url := <-ready:
		return &process{t: t, base: url}
	case <-ended:
		t.Fatal("it ended")
	case <-time.After(time.Minute):
		t.Fatal("not ready after a minute")
	}
	return nil
}

// alertmanager is the address of the organisation's Alertmanager, with its key as the password.
func (p *process) alertmanager() string {
	u, err := url.Parse(p.base + "/alertmanager")
	if err != nil {
		p.t.Fatal(err)
	}
	u.User = url.UserPassword("amtool", apiKey)
	return u.String()
}

// call is a request to the REST API that must succeed; in and out may be nil.
func (p *process) call(method, path string, in, out any) {
	p.t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			p.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusMultipleChoices {
		p.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, data, err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
}

// putConfig puts an alerting configuration.
func (p *process) putConfig(yaml string) {
	p.t.Helper()
	p.call(http.MethodPut, "/api/v1/alerting/config", map[string]string{"yaml": yaml}, nil)
}

// monitor makes a monitor and returns its id and its ping URL.
func (p *process) monitor(name string) (id, ping string) {
	p.t.Helper()
	var m struct {
		ID      string `json:"id"`
		PingURL string `json:"ping_url"`
	}
	p.call(http.MethodPost, "/api/v1/monitors", map[string]any{
		"name": name, "schedule": map[string]string{"interval": "1h"}, "grace": "1h", "tags": []string{"nightly"},
	}, &m)
	return m.ID, m.PingURL
}

// ping sends a ping.
func (p *process) ping(to string) {
	p.t.Helper()
	res, err := http.Get(to) //nolint:noctx,gosec // a test's own server
	if err != nil {
		p.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p.t.Fatalf("a ping answered %d", res.StatusCode)
	}
}

// eventually waits for what has no signal of its own.
func eventually(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
