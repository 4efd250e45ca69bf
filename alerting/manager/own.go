package manager

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// lockKey is the key of an organisation's advisory lock.
func lockKey(org tenant.OrgID) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("alerting/")) // other locks of the database have keys of their own
	_, _ = h.Write(org.UUID[:])
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// own tries to become the owner of busy organisations that this process does not own.
func (m *Manager) own(ctx context.Context, busy []alert.Busy, now time.Time) error {
	byKey := map[int64]tenant.OrgID{}
	var keys []int64
	m.mu.Lock()
	for _, b := range busy {
		// One that is ending holds its lock until it has ended, and is owned anew after that.
		if s := m.sessions[b.Org]; s != nil && s.owner || now.Before(m.failed[b.Org].until) {
			continue
		}
		key := lockKey(b.Org)
		byKey[key] = b.Org
		keys = append(keys, key)
	}
	m.mu.Unlock()
	for chunk := range slices.Chunk(keys, lockBatch) {
		taken, lost, err := m.o.Locks.TryLock(ctx, chunk...)
		if err != nil {
			return err
		}
		for _, key := range taken {
			m.adopt(ctx, byKey[key], lost)
		}
	}
	return nil
}

// adopt starts an owner. The lock is held.
func (m *Manager) adopt(ctx context.Context, org tenant.OrgID, lost <-chan struct{}) {
	m.mu.Lock()
	closed := m.closed
	if !closed {
		m.newSession(org, true, lost) //nolint:contextcheck // it lives as long as the lock, not as the step that took it
	}
	m.mu.Unlock()
	if closed {
		m.unlock(ctx, org)
		return
	}
	m.log.InfoContext(ctx, "this process owns alerting of an organisation", "org", org.String())
}

// unlock gives the lock back, also when ctx has ended.
func (m *Manager) unlock(ctx context.Context, org tenant.OrgID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followTimeout)
	defer cancel()
	if err := m.o.Locks.Unlock(ctx, lockKey(org)); err != nil {
		m.log.WarnContext(ctx, "the lock of an organisation's alerting cannot be given back", "org", org.String(), "error", err)
	}
}

// started takes note of how a start went. After one that failed an owner waits a while, so that another process can try.
func (m *Manager) started(s *session, took time.Duration) {
	outcome := "started"
	if s.err != nil {
		outcome = "failed"
	}
	m.metrics.starts.WithLabelValues(s.state(), outcome).Inc()
	m.mu.Lock()
	before := m.failed[s.org]
	switch {
	case s.err == nil:
		delete(m.failed, s.org)
	case s.owner && !m.closed:
		wait := min(max(2*before.wait, retryFirst), retryMost)
		m.failed[s.org] = failure{until: time.Now().Add(wait), wait: wait}
	}
	m.mu.Unlock()
	switch {
	case s.err == nil:
		m.log.Info("alerting of an organisation has started", "org", s.org.String(), "owner", s.owner, "version", s.version.Load(), "took", took)
	case m.life.Err() == nil:
		m.log.Error("alerting of an organisation does not start", "org", s.org.String(), "owner", s.owner, "error", s.err)
	}
}
