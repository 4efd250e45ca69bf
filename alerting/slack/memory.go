package slack

import (
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	memorySize = 20_000          // of each kind of thing remembered
	missedFor  = 5 * time.Minute // how long a channel that could not be joined is not tried again
)

// memory is what the process knows besides what is stored: it spares calls and second messages, and may be lost at any moment.
// Safe for concurrent use.
type memory struct {
	mu     sync.Mutex
	groups map[string]threads   // what a group was told, by the key of its flushes
	misses map[string]time.Time // channels not to be joined, until
	used   map[string]bool      // channels noted as an organisation's
}

func newMemory() *memory {
	return &memory{groups: map[string]threads{}, misses: map[string]time.Time{}, used: map[string]bool{}}
}

func (m *memory) threads(group string) (threads, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.groups[group]
	return t.clone(), ok
}

func (m *memory) setThreads(group string, t threads) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.empty() {
		delete(m.groups, group)
		return
	}
	if len(m.groups) >= memorySize {
		clear(m.groups)
	}
	m.groups[group] = t.clone()
}

func (m *memory) missing(key string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.misses[key])
}

func (m *memory) miss(key string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.misses) >= memorySize {
		clear(m.misses)
	}
	m.misses[key] = now.Add(missedFor)
}

// usedBefore reports whether the channel was noted as the organisation's since the workspace was installed.
func (m *memory) usedBefore(org tenant.OrgID, installed time.Time, channel string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used[usedKey(org, installed, channel)]
}

func (m *memory) use(org tenant.OrgID, installed time.Time, channel string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.used) >= memorySize {
		clear(m.used)
	}
	m.used[usedKey(org, installed, channel)] = true
}

func usedKey(org tenant.OrgID, installed time.Time, channel string) string {
	return org.String() + installed.String() + channel
}
