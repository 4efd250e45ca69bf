package wrap

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// signals passes what we are sent on to the job.
//
// Where we run in a terminal's foreground the job stays in our process group, the terminal sends it INT, QUIT, HUP and
// the stop signals itself, and only the others are passed on, to the job's process. Elsewhere (cron, systemd, a
// container) the job gets a process group of its own, and every signal goes to the whole group.
type signals struct {
	group bool
	in    chan os.Signal
	quit  chan struct{}
	done  sync.WaitGroup

	mu    sync.Mutex
	job   *os.Process // nil: not running
	early []os.Signal // arrived before the job ran
	after func()      // what a signal does once the job has ended
}

// listen begins to receive signals. A signal that is ignored, as HUP under nohup, stays ignored, here and in the job.
func listen(group bool) *signals {
	s := &signals{group: group, in: make(chan os.Signal, 16), quit: make(chan struct{})}
	wanted := []os.Signal{syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}
	if group {
		wanted = append(wanted, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH)
	} else {
		// Received so that they do not end us before the job; the terminal has sent them to the job as well.
		wanted = append(wanted, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	}
	for _, sig := range wanted {
		if !signal.Ignored(sig) {
			signal.Notify(s.in, sig)
		}
	}
	s.done.Go(func() {
		for {
			select {
			case sig := <-s.in:
				s.handle(sig)
			case <-s.quit:
				return
			}
		}
	})
	return s
}

func (s *signals) handle(sig os.Signal) {
	if sig == syscall.SIGPIPE {
		return // ours alone: the job gets its own when its output is closed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.job != nil:
		s.pass(sig)
	case s.after == nil:
		s.early = append(s.early, sig)
	case ends(sig):
		s.after()
	}
}

// pass sends the signal to the job. One that has just ended needs none.
func (s *signals) pass(sig os.Signal) {
	if s.group {
		_ = unix.Kill(-s.job.Pid, sig.(syscall.Signal)) //nolint:forcetypeassert // on Unix every os.Signal is one
		return
	}
	switch sig {
	case syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT:
		return
	}
	_ = s.job.Signal(sig)
}

// ends reports whether the signal asks a program to end.
func ends(sig os.Signal) bool {
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	}
	return false
}

// jobStarted hands over the job, and what arrived for it while it was being started.
func (s *signals) jobStarted(p *os.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.job = p
	for _, sig := range s.early {
		s.pass(sig)
	}
}

// jobEnded makes a signal that asks us to end call after from now on.
func (s *signals) jobEnded(after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.job, s.after = nil, after
}

// stop gives the signals their usual effect again.
func (s *signals) stop() {
	signal.Stop(s.in)
	close(s.quit)
	s.done.Wait()
}

// foreground reports whether we are in the foreground of a terminal.
func foreground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	owner, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && owner == unix.Getpgrp()
}
