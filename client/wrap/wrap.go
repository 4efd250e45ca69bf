// Package wrap runs a job as a child process and reports it: a start ping, then a finish ping with the exit status, the
// measured duration and the tail of the output. The job notices nothing of it: input, output, signals and exit status
// pass through, and a server that cannot be reached neither fails nor delays it.
package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/client"
	"github.com/tokiflow/tokiflow/core/record"
)

// The exit statuses a shell gives where the job itself has none.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the signal's number
)

// Sender is what sends the pings: *client.Client.
type Sender interface {
	// Once makes one attempt, of a bounded time.
	Once(ctx context.Context, p client.Ping) (client.Answer, error)
	// Send repeats the attempt for a bounded time.
	Send(ctx context.Context, p client.Ping) (client.Answer, error)
}

// Options is one job.
type Options struct {
	Sender   Sender
	Target   string    // the ping key, or "project key/slug"
	Create   bool      // make the monitor when the slug is unknown
	RID      uuid.UUID // run id; uuid.Nil: a new one
	Args     []string  // the command and its arguments
	NoOutput bool      // hand the output through without keeping its tail: the job writes to the caller's files directly
	Stdin    *os.File
	Stdout   *os.File
	Stderr   *os.File
}

// Run runs the job to its end, reports it and returns the exit status to leave with: the job's own, 128+n where signal n
// ended it, 126 or 127 where it could not be started. What could not be reported is said once on Stderr.
func Run(ctx context.Context, o Options) int {
	if o.RID == uuid.Nil {
		o.RID = uuid.New()
	}
	out := &tail{limit: client.DefaultBodyLimit}
	start := client.NewPing(o.Target, record.Start)
	start.RID, start.Create = o.RID, o.Create
	r := report(ctx, o.Sender, start, out)

	began := time.Now()
	code, gone := runJob(o, out, r.abandon)
	defer gone()

	finish := client.NewPing(o.Target, record.Success)
	finish.RID, finish.Create = o.RID, o.Create
	finish.ExitCode, finish.Duration = code, time.Since(began)
	if err := r.finish(finish); err != nil {
		say(o.Stderr, "this run could not be reported: %v; the job's exit status %d is passed on", err, code)
	}
	return code
}

// say writes one line for the person who reads the job's log. Where even that fails there is nobody left to tell.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, "tokiflow: "+format+"\n", args...)
}

// runJob starts the job and waits for its end. abandon is called by a signal that arrives once the job is gone, until
// gone is called: whoever waits for us then does not want to wait for the report.
func runJob(o Options, out io.Writer, abandon func()) (code int, gone func()) {
	cmd := exec.Command(o.Args[0], o.Args[1:]...) //nolint:gosec,noctx // running what the caller names is the purpose; it ends by itself or by the signals passed on
	cmd.Stdin = o.Stdin
	group := !foreground()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	signals := listen(group)

	taps, err := connect(cmd, o, out)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		taps.abort()
		say(io.MultiWriter(o.Stderr, out), "cannot run %s: %v", o.Args[0], reason(err))
		signals.jobEnded(abandon)
		return startFailure(err), signals.stop
	}
	signals.jobStarted(cmd.Process)
	taps.open()
	err = cmd.Wait()
	signals.jobEnded(abandon)
	taps.drain()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		say(o.Stderr, "waiting for the job: %v", err)
	}
	return exitCode(cmd.ProcessState), signals.stop
}

// reason shortens the error of a job that could not be started to what a shell would say.
func reason(err error) error {
	var look *exec.Error
	var where *fs.PathError
	switch {
	case errors.As(err, &look):
		return look.Err
	case errors.As(err, &where):
		return where.Err
	}
	return err
}

// startFailure is the exit status a shell gives for a command that it cannot run.
func startFailure(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitNotExecutable
}

// exitCode is the job's exit status as a shell says it.
func exitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitSignal + int(ws.Signal())
	}
	return s.ExitCode()
}
