package receivers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
)

// Add puts a notification into the log.
func Add(l *Log, n alert.Notification) { l.add(n) }

// Figures are how many wait, and how many are lost.
func Figures(l *Log) (waiting int, lost prometheus.Counter) { return l.backlog(), l.metrics.lost }

// AsAsked is how long the error asks to leave the receiver alone.
func AsAsked(err error) time.Duration { return asAsked(err) }

// Clean takes secrets out of a text.
func Clean(text string, secrets ...string) string { return newScrubber(secrets).clean(text) }

// Organisations are how many of them have attempts under way.
func Organisations(t *Turns) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.orgs)
}
