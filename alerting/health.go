package alerting

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
)

// health watches how a receiver answers, in metrics and in the log: one line when it begins to fail, one when it is well
// again. The report speaks up for as long as anything waits.
type health struct {
	receiver string
	log      *slog.Logger
	metrics  *metrics

	mu       sync.Mutex
	failures int // in a row
	since    time.Time
	lastLine time.Time
	lastErr  string
}

// quiet is how far apart the lines about one receiver's beginning to fail are at least: where some deliveries are taken
// and others not, each of those would begin anew.
const quiet = 10 * time.Second

func (h *health) taken(ctx context.Context, a alert.Attempt) {
	h.metrics.attempt(a, "taken")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures >= 3 {
		h.log.InfoContext(ctx, "the receiver takes alerts again", "receiver", h.receiver,
			"failures", h.failures, "after", time.Since(h.since).Round(time.Millisecond))
	}
	h.failures = 0
	h.metrics.failing(h.receiver, 0)
}

func (h *health) failed(ctx context.Context, a alert.Attempt) {
	outcome := "failed"
	if a.StatusCode != 0 {
		outcome = "answered"
	}
	h.metrics.attempt(a, outcome)
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.failures++
	h.lastErr = a.Error
	h.metrics.failing(h.receiver, h.failures)
	if h.failures > 1 {
		return
	}
	h.since = now
	if now.Sub(h.lastLine) >= quiet {
		h.lastLine = now
		h.log.WarnContext(ctx, "the receiver did not take an alert; it is tried again until it does", "receiver", h.receiver,
			"org", a.Org, "incident", a.Incident, "attempt", a.Attempt, "error", a.Error)
	}
}

// last returns the error met last, and how many failures in a row there are.
func (h *health) last() (text string, failures int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastErr, h.failures
}

// streak logs the first of several errors in a row and the end of them, and says how long to wait. Not for concurrent use.
type streak struct {
	log      *slog.Logger
	what     string
	failures int
	since    time.Time
}

// failed counts an error (nil: something ended that should not have) and returns the pause before the next try.
func (s *streak) failed(err error) time.Duration {
	if s.failures == 0 {
		s.since = time.Now()
		s.log.Error(s.what, "error", err)
	}
	s.failures++
	return min(100*time.Millisecond<<min(s.failures-1, 10), longestPause)
}

func (s *streak) succeeded() {
	if s.failures > 0 {
		s.log.Info("works again: "+s.what, "failures", s.failures, "after", time.Since(s.since).Round(time.Millisecond))
	}
	s.failures = 0
}
