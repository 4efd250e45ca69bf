package wrap

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// lingering is how long output is waited for after the job has ended while a process that it left behind holds the
	// pipe open.
	lingering = 2 * time.Second
	// lastLook is how long one more read waits after that, so that nothing that stood in the pipe is lost.
	lastLook = 10 * time.Millisecond
	// lastBytes is how much is read in these last looks: more than a pipe holds, and an end for a process that never stops.
	lastBytes = 1 << 20
)

// tap is one pipe between the job and a file of the caller.
type tap struct {
	read, write *os.File
	to          *os.File
}

// taps are the pipes of a job; none where its output is not kept.
type taps struct {
	all  []tap
	kept io.Writer
	done sync.WaitGroup
}

// connect gives the command its output files. Where both of the caller's are the same file the job gets one pipe for
// both, which keeps the order of what it writes.
func connect(cmd *exec.Cmd, o Options, kept io.Writer) (*taps, error) {
	ts := &taps{kept: kept}
	if o.NoOutput {
		cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
		return ts, nil
	}
	out, err := ts.add(o.Stdout)
	if err != nil {
		return ts, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	if !sameFile(o.Stdout, o.Stderr) {
		errs, err := ts.add(o.Stderr)
		if err != nil {
			return ts, err
		}
		cmd.Stderr = errs
	}
	return ts, nil
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

func (ts *taps) add(to *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ts.all = append(ts.all, tap{read: r, write: w, to: to})
	return w, nil
}

// abort closes the pipes of a job that was not started.
func (ts *taps) abort() {
	for _, t := range ts.all {
		_ = t.write.Close()
		_ = t.read.Close()
	}
}

// open lets the output of the started job flow.
func (ts *taps) open() {
	for _, t := range ts.all {
		_ = t.write.Close()
		ts.done.Go(func() { t.flow(ts.kept) })
	}
}

// drain passes on what the ended job has written. It waits as long as the caller takes to read it, but not for
// processes that the job left behind with its output still open.
func (ts *taps) drain() {
	for _, t := range ts.all {
		_ = t.read.SetReadDeadline(time.Now().Add(lingering))
	}
	ts.done.Wait()
}

// flow copies until the pipe's end, or until nothing stands in it past the deadline set by drain.
func (t tap) flow(kept io.Writer) {
	defer func() { _ = t.read.Close() }()
	buf := make([]byte, 32<<10)
	left, last := lastBytes, false
	for left > 0 {
		n, err := t.read.Read(buf)
		if n > 0 {
			_, _ = kept.Write(buf[:n])
			if _, failed := t.to.Write(buf[:n]); errors.Is(failed, syscall.EPIPE) {
				return // closing our end gives the job the SIGPIPE that it would have had
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !last:
			last = true
		case err != nil:
			return
		}
		if last {
			left -= n
			_ = t.read.SetReadDeadline(time.Now().Add(lastLook))
		}
	}
}
