package instance

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	saveWait    = 2 * time.Second // how long a delivery waits for its entry to be saved
	saveTimeout = 2 * time.Second // of one statement
	lastSave    = time.Second     // how long saving may take when the instance stops
	saveRetry   = 200 * time.Millisecond
	saveRetries = 15 * time.Second // the longest pause between tries
)

// saver writes down what was told and what is done with, in batches: while one is under way the next is collected. What PostgreSQL
// does not take stays here and is tried until it does, but for what it says it never will. Safe for concurrent use.
type saver struct {
	org    tenant.OrgID
	store  Store
	m      *Metrics
	logger *slog.Logger

	mu     sync.Mutex
	log    map[logKey]*unsaved
	done   map[alert.Key]struct{}
	wake   chan struct{} // holds one
	closed chan struct{}
	ended  chan struct{}
	life   context.Context // of the statements
	end    context.CancelFunc
}

type logKey struct{ group, receiver string }

// unsaved is a log entry on its way.
type unsaved struct {
	alert.LogEntry
	saved chan struct{} // closed when it is
}

// newSaver returns a saver that is to be run. life outlives it.
func newSaver(life context.Context, o Options) *saver {
	life, end := context.WithCancel(life)
	return &saver{
		life: life, end: end, org: o.Org, store: o.Store, m: o.Metrics, logger: o.Logger, log: map[logKey]*unsaved{}, done: map[alert.Key]struct{}{},
		wake: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{}),
	}
}

// entry has a log entry saved, in the place of an earlier one of the same group and receiver. It returns when it is, after saveWait
// at the latest.
func (s *saver) entry(e alert.LogEntry) {
	key, u := logKey{e.GroupKey, e.Receiver}, &unsaved{LogEntry: e, saved: make(chan struct{})}
	s.mu.Lock()
	if _, ok := s.log[key]; !ok {
		s.m.unsaved.Inc()
	}
	s.log[key] = u
	s.mu.Unlock()
	s.kick()
	timer := time.NewTimer(saveWait)
	defer timer.Stop()
	select {
	case <-u.saved:
	case <-timer.C:
	case <-s.ended:
	}
}

// remove has alerts removed that are done with. It does not wait.
func (s *saver) remove(keys []alert.Key) {
	if len(keys) == 0 {
		return
	}
	s.m.removed.Add(float64(len(keys)))
	s.mu.Lock()
	for _, k := range keys {
		s.done[k] = struct{}{}
	}
	s.mu.Unlock()
	s.kick()
}

func (s *saver) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// idle reports whether everything is saved.
func (s *saver) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log) == 0 && len(s.done) == 0
}

// run saves until close is called, and then once more.
func (s *saver) run() {
	defer close(s.ended)
	pause := saveRetry
	for {
		select {
		case <-s.wake:
		case <-s.closed:
			s.save()
			s.forsake()
			return
		}
		if s.save() {
			pause = saveRetry
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.closed:
			timer.Stop()
		}
		pause = min(2*pause, saveRetries)
		s.kick()
	}
}

// close has run end, and waits for it, for lastSave at most.
func (s *saver) close() {
	timer := time.AfterFunc(lastSave, s.end)
	defer timer.Stop()
	close(s.closed)
	<-s.ended
	s.end()
}

// save writes down all there is, what was told before what is done with: a process killed in between finds the alert and the entry
// that says it was told, and tells nobody again. It reports whether all was taken.
func (s *saver) save() bool {
	s.mu.Lock()
	log, done := slices.Collect(maps.Values(s.log)), slices.Collect(maps.Keys(s.done))
	s.mu.Unlock()
	if !s.saveLog(log) {
		return false
	}
	if len(done) > 0 && s.try("alerts", func(ctx context.Context) error { return s.store.RemoveAlerts(ctx, s.org, done) }) != nil {
		return false
	}
	s.mu.Lock()
	for _, key := range done {
		delete(s.done, key)
	}
	s.mu.Unlock()
	return true
}

// saveLog writes down these entries. A batch with one that PostgreSQL can never take is halved until that one is alone and let go. It
// reports whether none is to be tried again.
func (s *saver) saveLog(log []*unsaved) bool {
	if len(log) == 0 {
		return true
	}
	err := s.try("log", func(ctx context.Context) error {
		entries := make([]alert.LogEntry, len(log))
		for i, u := range log {
			entries[i] = u.LogEntry
		}
		return s.store.SaveLog(ctx, s.org, entries)
	})
	switch {
	case err == nil:
		s.settle(log)
		return true
	case fault.CodeOf(err) != fault.Invalid:
		return false
	case len(log) == 1:
		s.m.forsaken.Inc()
		s.logger.Error("what was told can never be saved: it is told again after a restart", "group", log[0].GroupKey, "receiver", log[0].Receiver, "err", err)
		s.settle(log)
		return true
	}
	half := len(log) / 2
	return s.saveLog(log[:half]) && s.saveLog(log[half:])
}

// settle takes note that these need not be saved any more.
func (s *saver) settle(log []*unsaved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range log {
		if key := (logKey{u.GroupKey, u.Receiver}); s.log[key] == u {
			delete(s.log, key)
			s.m.unsaved.Dec()
		}
		close(u.saved)
	}
}

func (s *saver) try(what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.life, saveTimeout)
	defer cancel()
	err := f(ctx)
	if err != nil {
		s.m.saveFailures.WithLabelValues(what).Inc()
		s.logger.Warn("saving what was told failed, it is tried again", "what", what, "err", err)
	}
	return err
}

// forsake lets go of what could not be saved to the end.
func (s *saver) forsake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.log) > 0 {
		s.m.unsaved.Sub(float64(len(s.log)))
		s.logger.Error("what was told could not be saved: it will be told again", "entries", len(s.log))
	}
}
