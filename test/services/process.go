package services

import (
	"bufio"
	"bytes"
	"errors"
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

// process is a program of others that runs for one test, and says on stderr where it listens.
type process struct {
	t       testing.TB
	name    string // for people
	program string
	ready   func(line string) bool // it is, once a line says so and one said where it listens

	addr    string // host:port; known from the first start on
	log     *output
	cmd     *exec.Cmd     // nil: none
	unwatch func()        // ends what watches the process
	ended   chan struct{} // closed when the process has ended, and endErr says how
	endErr  error
}

// start runs the program and waits until it is ready.
func (p *process) start(args ...string) {
	p.t.Helper()
	cmd := exec.Command(p.program, args...) //nolint:gosec,noctx // what we built; end ends it
	p.log = &output{}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		p.endErr = cmd.Wait()
		close(ended)
	}()
	p.watch(cmd.Process.Pid)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	for {
		if at, ready := p.log.listening(p.ready); ready {
			p.addr = at
			return
		}
		select {
		case <-look.C:
		case <-ended:
			p.t.Fatalf("%s did not start: %v\n%s", p.name, p.endErr, p.log.String())
		case <-late.C:
			p.end(syscall.SIGKILL)
			p.t.Fatalf("%s is not ready after 2 minutes:\n%s", p.name, p.log.String())
		}
	}
}

// watch makes sure that it does not outlive the test process, which may be killed.
func (p *process) watch(pid int) {
	p.t.Helper()
	root, err := moduleRoot()
	if err != nil {
		p.t.Fatal(err)
	}
	watch := exec.Command(filepath.Join(root, "test", "services", "prometheus.sh"), "watch", strconv.Itoa(os.Getpid()), strconv.Itoa(pid)) //nolint:gosec,noctx // our own script; it ends by itself
	if err := watch.Start(); err != nil {
		p.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = watch.Wait() // it is no use to anybody how it ended
		close(gone)
	}()
	p.unwatch = func() {
		_ = watch.Process.Kill()
		<-gone
	}
}

// end stops it, if it runs.
func (p *process) end(signal syscall.Signal) {
	p.t.Helper()
	cmd := p.cmd
	p.cmd = nil
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal) // it may have ended by itself
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	<-p.ended
	p.unwatch()
	if exit, ok := errors.AsType[*exec.ExitError](p.endErr); p.endErr != nil && (!ok || exit.Exited()) {
		p.t.Errorf("%s ended by itself: %v", p.name, p.endErr)
	}
}

// stopAfterTest ends it with the test, and shows what it said where that failed.
func (p *process) stopAfterTest() {
	p.t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if p.t.Failed() {
			p.t.Logf("%s said:\n%s", p.name, p.log.String())
		}
	})
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

// listening finds the address that the program says it listens on, once a line also says that it is ready.
func (o *output) listening(isReady func(line string) bool) (addr string, ready bool) {
	for lines := bufio.NewScanner(strings.NewReader(o.String())); lines.Scan(); {
		line := lines.Text()
		if strings.Contains(line, `msg="Listening on"`) {
			_, addr, _ = strings.Cut(line, "address=")
		}
		ready = ready || isReady(line)
	}
	return strings.TrimSpace(addr), ready && addr != ""
}

// programs makes sure that what a script of this folder builds is there, or skips the test and says what is absent; it fails
// where TOKIFLOW_TEST_REQUIRE is set.
func programs(t testing.TB, service string, install func() (map[string]string, error)) map[string]string {
	t.Helper()
	vars, err := install()
	if err == nil {
		return vars
	}
	if os.Getenv("TOKIFLOW_TEST_REQUIRE") != "" {
		t.Fatalf("MISSING SERVICE %s: %v", service, err)
	}
	t.Skipf("MISSING SERVICE %s: %v", service, err)
	return nil
}
