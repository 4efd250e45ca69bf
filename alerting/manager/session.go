package manager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// session is one instance from its start to its end. One goroutine runs it; a slow one holds up nobody else's.
type session struct {
	m      *Manager
	org    tenant.OrgID
	owner  bool
	lost   <-chan struct{} // of an owner: closed when the lock is
	after  <-chan struct{} // the end of the session before; nil: there was none
	ctx    context.Context // its end is the session's
	cancel context.CancelFunc

	poked chan struct{}      // something changed
	asks  chan chan struct{} // somebody waits until what has changed is taken over
	ready chan struct{}      // closed when instance or err and cutShort are set
	done  chan struct{}      // closed when the session has ended

	instance Running
	err      error
	cutShort bool // err came because it had to end

	tooSlow atomic.Bool  // its start takes too long
	used    atomic.Int64 // Unix nanoseconds
	version atomic.Int64 // the version the instance is at

	reread atomic.Bool // the configuration may have changed

	// Of the session's goroutine alone.
	config  int64 // version of the configuration in force, as Options.Config has it
	stored  int64 // version of the one in the database when that was read
	failing bool  // the last step did, and it was logged
}

// newSession makes a session and has it run. m.mu must be held.
func (m *Manager) newSession(org tenant.OrgID, owner bool, lost <-chan struct{}) *session {
	s := &session{
		m: m, org: org, owner: owner, lost: lost,
		poked: make(chan struct{}, 1), asks: make(chan chan struct{}), ready: make(chan struct{}), done: make(chan struct{}),
	}
	if before := m.sessions[org]; before != nil {
		before.cancel()
		s.after = before.done
	}
	s.ctx, s.cancel = context.WithCancel(m.life)
	s.touch(time.Now())
	m.sessions[org] = s
	m.running.Add(1)
	go s.run()
	return s
}

func (s *session) touch(now time.Time) { s.used.Store(now.UnixNano()) }

// idle reports whether nobody has needed it for so long, and it may end.
func (s *session) idle(now time.Time, after time.Duration) bool {
	if now.Sub(time.Unix(0, s.used.Load())) < after {
		return false
	}
	select {
	case <-s.ready:
		return s.err == nil && (!s.owner || !s.instance.Busy())
	default:
		return false
	}
}

func (s *session) ending() bool { return s.ctx.Err() != nil }

func (s *session) run() {
	defer s.m.running.Done()
	defer s.leave()
	defer s.cancel()
	if s.after != nil {
		<-s.after // it is ending already
	}
	unwatch := s.watch()
	defer unwatch()

	began := time.Now()
	s.instance, s.err = s.start()
	s.cutShort = s.ending() && !s.tooSlow.Load()
	s.m.started(s, time.Since(began))
	close(s.ready)
	if s.err != nil {
		return
	}
	// Not by the loop below, which may be waiting for the database just then.
	stopped := make(chan struct{})
	context.AfterFunc(s.ctx, func() {
		defer close(stopped)
		s.instance.Stop()
	})
	gauge := s.m.metrics.instances.WithLabelValues(s.state())
	gauge.Inc()
	s.serve()
	<-stopped
	gauge.Dec()
}

// watch ends the session when its lock is lost.
func (s *session) watch() (stop func()) {
	if s.lost == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.lost:
			s.m.metrics.lost.Inc()
			s.m.log.Info("the lock of an organisation's alerting was lost, it goes on elsewhere or here anew", "org", s.org.String())
			s.cancel()
		case <-quit:
		}
	})
	return func() {
		close(quit)
		wg.Wait()
	}
}

// leave gives the lock back and makes room for the next session.
func (s *session) leave() {
	if s.owner {
		s.m.unlock(s.ctx, s.org)
	}
	s.m.mu.Lock()
	if s.m.sessions[s.org] == s {
		delete(s.m.sessions, s.org)
	}
	s.m.mu.Unlock()
	close(s.done)
	loop.Poke(s.m.wake) // what it left may have to be taken up
}

func (s *session) state() string {
	if s.owner {
		return "owner"
	}
	return "viewer"
}

// start makes the instance run on what is stored.
func (s *session) start() (Running, error) {
	release, err := s.m.takeTurn(s.ctx)
	if err != nil {
		return nil, errStopping
	}
	defer release()
	slow := time.AfterFunc(slowStart, release)
	defer slow.Stop()
	// The instance may live by the context that it is started with, so no part of it has a deadline.
	giveUp := time.AfterFunc(s.m.o.StartTimeout, func() {
		s.tooSlow.Store(true)
		s.cancel()
	})
	defer giveUp.Stop()

	state, err := s.m.o.Store.AlertingState(s.ctx, s.org, time.Now())
	if err != nil {
		return nil, fmt.Errorf("the state of alerting cannot be read: %w", err)
	}
	c, version, err := s.m.o.Config(s.ctx, s.org)
	if err != nil {
		s.m.metrics.configErrors.Inc()
		return nil, fmt.Errorf("the configuration of alerting cannot be read: %w", err)
	}
	o := s.m.o.Instance(s.org)
	o.Notify = s.owner
	running, err := s.m.o.Start(s.ctx, o, c, state)
	if err != nil {
		return nil, fmt.Errorf("alerting cannot start: %w", err)
	}
	s.config, s.stored = version, state.ConfigVersion
	s.version.Store(state.Version)
	return running, nil
}

// takeTurn waits until few enough are starting.
func (m *Manager) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case m.starts <- struct{}{}:
		return sync.OnceFunc(func() { <-m.starts }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve follows what is stored until the session ends.
func (s *session) serve() {
	again := time.NewTimer(retryConfig)
	again.Stop()
	defer again.Stop()
	loop.Poke(s.poked) // what changed while it started
	for {
		var waiting chan struct{}
		select {
		case <-s.ctx.Done():
			return
		case <-s.poked:
		case <-again.C:
		case waiting = <-s.asks:
		}
		err := s.follow()
		if waiting != nil {
			close(waiting)
		}
		if s.ending() {
			return
		}
		s.note(err)
		if err != nil {
			again.Reset(retryConfig)
		}
	}
}

// follow takes over what has changed.
func (s *session) follow() error {
	ctx, cancel := context.WithTimeout(s.ctx, followTimeout)
	defer cancel()
	at := s.version.Load()
	changes, err := s.m.o.Store.AlertingChanges(ctx, s.org, at)
	if err != nil {
		return fmt.Errorf("changes cannot be read: %w", err)
	}
	switch {
	case changes.Version < at: // the database is an older one, or the organisation is gone
		s.cancel()
		return errors.New("the database is at an older version: beginning anew")
	case changes.Version > at:
		if err := s.instance.Update(ctx, changes); err != nil {
			return fmt.Errorf("changes cannot be taken over: %w", err)
		}
		s.version.Store(changes.Version)
	}
	if !s.reread.Swap(false) && changes.ConfigVersion == s.stored {
		return nil
	}
	if err := s.reload(ctx); err != nil {
		s.reread.Store(true)
		s.m.metrics.configErrors.Inc()
		return fmt.Errorf("the configuration cannot be put in force, the one before stays: %w", err)
	}
	s.stored = changes.ConfigVersion
	return nil
}

// reload puts the configuration in force if it is another.
func (s *session) reload(ctx context.Context) error {
	c, version, err := s.m.o.Config(ctx, s.org)
	if err != nil || version == s.config {
		return err
	}
	if err := s.instance.Apply(c); err != nil {
		return err
	}
	s.config = version
	s.m.log.Info("a configuration of alerting is in force", "org", s.org.String(), "version", version, "owner", s.owner)
	return nil
}

// note counts a step that failed and logs the first in a row.
func (s *session) note(err error) {
	if err != nil {
		s.m.metrics.updateErrors.Inc()
		if !s.failing {
			s.m.log.Warn("alerting of an organisation does not follow what is stored; trying again", "org", s.org.String(), "owner", s.owner, "error", err)
		}
	}
	s.failing = err != nil
}

// catchUp waits until the instance has taken over what was stored before.
func (s *session) catchUp(ctx context.Context) {
	taken := make(chan struct{})
	select {
	case s.asks <- taken:
	case <-s.done:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-taken:
	case <-ctx.Done():
	}
}

// session gives the organisation's session that is running, after its start where there is none.
func (m *Manager) session(ctx context.Context, org tenant.OrgID) (*session, error) {
	for range 3 { // it may be handed over just now
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return nil, errStopping
		}
		s := m.sessions[org]
		if s == nil || s.ending() {
			s = m.newSession(org, false, nil) //nolint:contextcheck // it serves others too, and outlives who asked first
		}
		m.mu.Unlock()
		s.touch(time.Now())
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if s.err == nil && !s.ending() {
			return s, nil
		}
		if s.err != nil && !s.cutShort {
			return nil, s.err
		}
	}
	return nil, fault.New(fault.Unavailable, "alerting is being handed over, try again")
}

// startInstance is Options.Start where nothing else is said.
func startInstance(ctx context.Context, o instance.Options, c *config.Config, s alert.State) (Running, error) {
	i, err := instance.Start(ctx, o, c, s)
	if err != nil {
		return nil, err // a nil *Instance would be a Running
	}
	return i, nil
}
