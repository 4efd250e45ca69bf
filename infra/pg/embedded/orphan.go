//go:build unix

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A server outlives its parent when that was killed and the server did not hear of it. Its socket may be gone with a
// temporary folder, and nobody restarts it when it dies; so it is not adopted but shut down, and a new one started. That
// the lock of the folder is ours tells that nobody else runs it.

const (
	orphanPoll  = 20 * time.Millisecond
	orphanFast  = 60 * time.Second // then it is stopped at once
	orphanLast  = 10 * time.Second // then it is killed
	orphanChild = 10 * time.Second // for the processes of a server that was killed
)

// endOrphan ends a server that runs on the folder, and removes the lock files of one that has ended without doing so.
func (d *dataDir) endOrphan(ctx context.Context, logger *slog.Logger) error {
	pid, err := d.postmasterPID()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if pid != 0 && !exists(pid) {
		return nil // PostgreSQL sees that for itself, and to its children, too
	}
	if pid == 0 || !alive(pid) || !d.isServer(pid) {
		// It has ended and nobody has reaped it, or the number is another process's by now, or was never written: PostgreSQL
		// would refuse to start.
		logger.WarnContext(ctx, "removing the lock files of a PostgreSQL that was killed", "pid", pid)
		if err := d.awaitChildren(ctx); err != nil {
			return err
		}
		err := os.Remove(filepath.Join(d.data(), ".s.PGSQL."+socketPort+".lock"))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return errors.Join(err, os.Remove(filepath.Join(d.data(), "postmaster.pid")))
	}
	logger.WarnContext(ctx, "a PostgreSQL of a killed tokiflow still runs, shutting it down", "pid", pid)
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, orphanFast}, {syscall.SIGQUIT, orphanLast}, {syscall.SIGKILL, orphanLast}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the PostgreSQL left by a killed tokiflow (process %d): %w", pid, err)
		}
		if ended, err := await(ctx, step.wait, func() bool { return !alive(pid) }); err != nil || ended {
			return err
		}
	}
	return fmt.Errorf("the PostgreSQL left by a killed tokiflow (process %d) cannot be stopped: end it by hand", pid)
}

// postmasterPID is the process that the data directory names as its server; 0: the file names none, as it was being written
// when the machine went down.
func (d *dataDir) postmasterPID() (int, error) {
	b, err := os.ReadFile(filepath.Join(d.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, nil //nolint:nilerr // see above
	}
	return pid, nil
}

// exists reports whether the number is some process's, ended or not.
func exists(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// alive reports whether there is such a process that has not ended; one that only waits to be reaped has.
func alive(pid int) bool {
	if !exists(pid) {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true // no /proc here
	}
	rest := b[bytes.LastIndexByte(b, ')')+1:]
	state := bytes.TrimSpace(rest)
	return len(state) == 0 || state[0] != 'Z' && state[0] != 'X'
}

// isServer reports whether the process is a PostgreSQL in our folder. Where the system does not tell, its word is taken.
func (d *dataDir) isServer(pid int) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		_, noProc := os.Stat("/proc/self/cwd")
		return noProc != nil
	}
	data, err := os.Stat(d.data())
	return err == nil && os.SameFile(cwd, data)
}

// awaitChildren waits for the last processes of a killed server: they end when they see that it is gone.
func (d *dataDir) awaitChildren(ctx context.Context) error {
	gone, err := await(ctx, orphanChild, func() bool {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return true
		}
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && alive(pid) && d.isServer(pid) {
				return false
			}
		}
		return true
	})
	if err == nil && !gone {
		err = fmt.Errorf("processes of a killed PostgreSQL are still in %s: end them by hand", d.data())
	}
	return err
}

// await polls until the condition holds or the time is over.
func await(ctx context.Context, limit time.Duration, holds func() bool) (bool, error) {
	end := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(end) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(orphanPoll):
		}
	}
	return true, nil
}
