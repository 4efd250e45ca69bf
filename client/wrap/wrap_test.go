package wrap_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/client"
	"github.com/tokiflow/tokiflow/client/wrap"
)

const (
	key     = "0190f9a4-7c3e-7c6d-9f43-0123456789ab"
	patient = 30 * time.Second // how long a test waits for what usually comes within a tenth of a second
)

// TestMain lets the test binary be the wrapping program: signals and exit statuses need a process of their own.
func TestMain(m *testing.M) {
	if url := os.Getenv("WRAP_TEST_URL"); url != "" {
		os.Exit(wrapping(url))
	}
	goleak.VerifyTestMain(m)
}

func wrapping(url string) int {
	give, _ := time.ParseDuration(os.Getenv("WRAP_TEST_GIVE_UP"))
	c, err := client.New(client.Options{BaseURL: url, Attempt: time.Second, GiveUp: give})
	if err != nil {
		panic(err)
	}
	if os.Getenv("WRAP_TEST_NOHUP") != "" {
		signal.Ignore(syscall.SIGHUP)
	}
	return wrap.Run(context.Background(), wrap.Options{
		Sender: c, Target: key, Args: os.Args[1:], NoOutput: os.Getenv("WRAP_TEST_NO_OUTPUT") != "",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}

// ping is one request that the server saw.
type ping struct{ path, rid, duration, body string }

type server struct {
	url   string
	pings chan ping
	held  chan string   // the paths of requests that wait for release
	free  chan struct{} // closed by release
	once  sync.Once
}

// serve answers every ping; those whose path ends in one of hold only after release.
func serve(t *testing.T, limit int, hold ...string) *server {
	t.Helper()
	s := &server{pings: make(chan ping, 100), held: make(chan string, 100), free: make(chan struct{})}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if slices.Contains(hold, path.Base(r.URL.Path)) {
			s.held <- r.URL.Path
			<-s.free
		}
		w.Header().Set("Ping-Body-Limit", strconv.Itoa(limit))
		s.pings <- ping{strings.TrimPrefix(r.URL.Path, "/ping/"+key), r.FormValue("rid"), r.FormValue("duration"), string(body)}
	}))
	t.Cleanup(func() { s.release(); h.Close() })
	s.url = h.URL
	return s
}

func (s *server) release() { s.once.Do(func() { close(s.free) }) }

func (s *server) next(t *testing.T) ping {
	t.Helper()
	select {
	case p := <-s.pings:
		return p
	case <-time.After(patient):
		t.Fatal("no ping came")
		return ping{}
	}
}

// job is a wrapped shell script.
type job struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func script(t *testing.T, s *server, text string, env ...string) *job {
	t.Helper()
	return command(t, s.url, env, "sh", "-c", text)
}

func command(t *testing.T, url string, env []string, args ...string) *job {
	t.Helper()
	j := &job{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	j.Env = append(os.Environ(), append([]string{"WRAP_TEST_URL=" + url}, env...)...)
	j.Stdout, j.Stderr = &j.out, &j.err
	j.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal: as under cron
	return j
}

func (j *job) code(t *testing.T, err error) int {
	t.Helper()
	if j.ProcessState == nil {
		t.Fatal(err)
	}
	return j.ProcessState.ExitCode()
}

func TestStartAndFinishOfARun(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := script(t, s, "read line; echo out $line; echo err >&2; exit 3")
	j.Stdin = strings.NewReader("put\n")
	if code := j.code(t, j.Run()); code != 3 {
		t.Errorf("exit status %d, want the job's 3", code)
	}
	if j.out.String() != "out put\n" || j.err.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", j.out.String(), j.err.String())
	}
	start, finish := s.next(t), s.next(t)
	if start.path != "/start" || start.body != "" || start.duration != "" {
		t.Errorf("start: %+v", start)
	}
	if finish.path != "/3" || !strings.Contains(finish.body, "out put\n") || !strings.Contains(finish.body, "err\n") {
		t.Errorf("finish: %+v", finish)
	}
	if start.rid == "" || start.rid != finish.rid {
		t.Errorf("run ids %q and %q", start.rid, finish.rid)
	}
	if d, err := strconv.ParseFloat(finish.duration, 64); err != nil || d < 0 || d > patient.Seconds() {
		t.Errorf("duration %q", finish.duration)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	f := func(want int, args ...string) {
		t.Helper()
		s := serve(t, 1000)
		j := command(t, s.url, nil, args...)
		if code := j.code(t, j.Run()); code != want {
			t.Errorf("%q: exit status %d, want %d", args, code, want)
		}
		s.next(t)
		if p := s.next(t); p.path != "/"+strconv.Itoa(want) {
			t.Errorf("%q: finish %+v, want %d", args, p, want)
		} else if want >= 126 && want <= 127 && (!strings.Contains(p.body, "cannot run") || !strings.Contains(j.err.String(), "cannot run")) {
			t.Errorf("%q: nobody is told why: ping %q, stderr %q", args, p.body, j.err.String())
		}
	}
	notExecutable := t.TempDir() + "/file"
	if err := os.WriteFile(notExecutable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(0, "true")
	f(255, "sh", "-c", "exit 255")
	f(137, "sh", "-c", "kill -9 $$")
	f(143, "sh", "-c", "kill $$")
	f(127, "no-such-command-anywhere")
	f(127, "/no/such/file")
	f(126, notExecutable)
	f(126, t.TempDir())
}

func TestTailOfTheOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, 20)
	j := script(t, s, "sleep 0.3; for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done 2>&1")
	if err := j.Run(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(j.out.String(), "\n"); n != 9 {
		t.Errorf("%d lines passed through, want 9", n)
	}
	s.next(t)
	if p := s.next(t); p.body != "line 8\nline 9\n" {
		t.Errorf("body %q, want the last whole lines within 20 bytes", p.body)
	}
}

func TestOneFileForBothKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, 100_000)
	j := script(t, s, "i=0; while [ $i -lt 200 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done")
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	j.Stdout, j.Stderr = file, file
	if err := j.Run(); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 200 {
		want.WriteString("o" + strconv.Itoa(i) + "\ne" + strconv.Itoa(i) + "\n")
	}
	if got, _ := os.ReadFile(file.Name()); string(got) != want.String() {
		t.Errorf("the order of stdout and stderr is lost: %q", got)
	}
	s.next(t)
	if p := s.next(t); p.body != want.String() {
		t.Errorf("ping body out of order: %q", p.body)
	}
}

func TestWithoutOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := script(t, s, "echo secret", "WRAP_TEST_NO_OUTPUT=1")
	if err := j.Run(); err != nil {
		t.Fatal(err)
	}
	s.next(t)
	if p := s.next(t); p.path != "/0" || p.body != "" || j.out.String() != "secret\n" {
		t.Errorf("ping %+v, stdout %q", p, j.out.String())
	}
}

func TestFinishNeverOvertakesStart(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000, "start")
	j := script(t, s, "true")
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	<-s.held
	select {
	case p := <-s.pings:
		t.Errorf("%+v came while the start was under way", p)
	case <-time.After(300 * time.Millisecond):
	}
	s.release()
	if a, b := s.next(t), s.next(t); a.path != "/start" || b.path != "/0" {
		t.Errorf("order %+v, %+v", a, b)
	}
	if err := j.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachableServerChangesNothingForTheJob(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	j := command(t, h.URL, []string{"WRAP_TEST_GIVE_UP=300ms"}, "sh", "-c", "echo out; exit 5")
	if code := j.code(t, j.Run()); code != 5 {
		t.Errorf("exit status %d, want the job's 5", code)
	}
	if j.out.String() != "out\n" {
		t.Errorf("stdout %q", j.out.String())
	}
	if e := j.err.String(); strings.Count(e, "\n") != 1 || !strings.Contains(e, "could not be reported") || strings.Contains(e, key) {
		t.Errorf("stderr %q, want one line without the ping key", e)
	}
}

func TestUnknownKeyIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	j := command(t, h.URL, []string{"WRAP_TEST_GIVE_UP=10m"}, "true")
	if err := j.Run(); err != nil {
		t.Fatal(err)
	}
	if e := j.err.String(); strings.Count(e, "\n") != 1 || !strings.Contains(e, "404") {
		t.Errorf("stderr %q", e)
	}
}

func TestSilentServerDelaysByABoundedTime(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000, "start", "0")
	j := script(t, s, "true", "WRAP_TEST_GIVE_UP=1s")
	began := time.Now()
	if err := j.Run(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > patient {
		t.Errorf("took %v", took)
	}
	if !strings.Contains(j.err.String(), "could not be reported") {
		t.Errorf("stderr %q", j.err.String())
	}
}
