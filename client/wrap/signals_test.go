package wrap_test

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running starts the job and waits until it has written the line "ready".
func running(t *testing.T, j *job) (rest func() string) {
	t.Helper()
	j.Stdout = nil
	pipe, err := j.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(pipe)
	if line, err := in.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v, stderr %q", line, err, j.err.String())
	}
	return func() string {
		all, _ := io.ReadAll(in)
		return string(all)
	}
}

func TestSignalsReachTheJob(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, 1000)
			j := script(t, s, "trap 'echo got "+name+"; exit 42' "+name+"; echo ready; while :; do sleep 0.05; done")
			rest := running(t, j)
			if err := j.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if got := rest(); !strings.Contains(got, "got "+name) {
				t.Errorf("output %q", got)
			}
			if code := j.code(t, j.Wait()); code != 42 {
				t.Errorf("exit status %d", code)
			}
			s.next(t)
			if p := s.next(t); p.path != "/42" {
				t.Errorf("finish %+v", p)
			}
		})
	}
}

func TestSignalEndsTheWholeGroupOfAJob(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := script(t, s, "echo ready; sleep 600; echo never")
	running(t, j)
	if err := j.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := j.code(t, j.Wait()); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit status %d", code)
	}
	s.next(t)
	if p := s.next(t); p.path != "/143" || p.body != "ready\n" {
		t.Errorf("finish %+v", p)
	}
}

func TestAnIgnoredSignalStaysIgnored(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := script(t, s, "echo ready; sleep 0.5; echo survived", "WRAP_TEST_NOHUP=1")
	rest := running(t, j)
	if err := j.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := rest(); got != "survived\n" {
		t.Errorf("output %q", got)
	}
	if err := j.Wait(); err != nil {
		t.Error(err)
	}
}

func TestASignalAfterTheJobEndsTheReporting(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000, "7")
	j := script(t, s, "echo ready; exit 7", "WRAP_TEST_GIVE_UP=10m")
	rest := running(t, j)
	s.next(t)
	<-s.held
	if err := j.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest()
	if code := j.code(t, j.Wait()); code != 7 {
		t.Errorf("exit status %d", code)
	}
}

func TestClosedOutputEndsTheJobAsWithoutUs(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := command(t, s.url, nil, "yes")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j.Stdout = w
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	_, _ = io.ReadFull(r, make([]byte, 10))
	_ = r.Close()
	if code := j.code(t, j.Wait()); code != 128+int(syscall.SIGPIPE) {
		t.Errorf("exit status %d", code)
	}
	s.next(t)
	if p := s.next(t); p.path != "/141" {
		t.Errorf("finish %+v", p.path)
	}
}

func TestAProcessLeftBehindDelaysNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, 1000)
	j := script(t, s, "sleep 600 & echo $!; exit 4")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	j.Stdout = w
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	began := time.Now()
	if code := j.code(t, j.Wait()); code != 4 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(began); took > patient {
		t.Errorf("waited %v for a process that the job left behind", took)
	}
	s.next(t)
	pid := strings.TrimSpace(s.next(t).body)
	if err := killPID(pid); err != nil {
		t.Errorf("the process left behind is gone: %v", err)
	}
}

func TestASlowReaderLosesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, 100)
	j := script(t, s, "head -c 200000 /dev/zero; echo end")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	j.Stdout = w
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	time.Sleep(3 * time.Second) // longer than the drain waits for a silent process
	all, err := io.ReadAll(r)
	if err != nil || len(all) != 200004 {
		t.Errorf("%d bytes came through, want 200004; %v", len(all), err)
	}
	if err := j.Wait(); err != nil {
		t.Error(err)
	}
}

func killPID(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	return syscall.Kill(n, syscall.SIGKILL)
}
