package api_test

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// memory is a history in memory. Rows are kept by organisation and monitor.
type memory struct {
	mu          sync.Mutex
	pings       map[place][]history.Ping
	outputs     map[uuid.UUID][]byte
	runs        map[place][]history.Run
	transitions map[place][]history.Transition
	stats       map[place]history.Stats
	windows     []history.Window // asked for
	without     map[uuid.UUID][]history.Window
	fail        error
}

type place struct {
	org     tenant.OrgID
	monitor uuid.UUID // Nil: the organisation
}

func newMemory() *memory {
	return &memory{
		pings: map[place][]history.Ping{}, outputs: map[uuid.UUID][]byte{}, runs: map[place][]history.Run{},
		transitions: map[place][]history.Transition{}, stats: map[place]history.Stats{},
	}
}

// cut is the part of rows that a page asks for. The rows are the oldest first, and each one's tie is its index.
func cut[T any](rows []T, p history.Page, key func(T) history.Key) ([]T, error) {
	last := len(rows)
	if p.After != (history.Key{}) {
		n, err := strconv.Atoi(p.After.Tie)
		if err != nil {
			return nil, fault.New(fault.Invalid, "the cursor is not one of ours")
		}
		last = n
	}
	var out []T
	for _, r := range slices.Backward(rows[:last]) {
		if k := key(r); !k.At.Before(p.From) && k.At.Before(p.To) && len(out) < p.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) Pings(_ context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Ping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	return cut(m.pings[place{org, monitor}], p, func(r history.Ping) history.Key { return r.Key })
}

func (m *memory) PingOutput(_ context.Context, org tenant.OrgID, monitor, ping uuid.UUID) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pings[place{org, monitor}] {
		if p.ID == ping && p.HasOutput {
			return bytes.Clone(m.outputs[ping]), nil
		}
	}
	return nil, fault.New(fault.NotFound, "the ping has no output")
}

func (m *memory) Runs(_ context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cut(m.runs[place{org, monitor}], p, func(r history.Run) history.Key { return r.Key })
}

func (m *memory) Transitions(_ context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Transition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cut(m.transitions[place{org, monitor}], p, func(r history.Transition) history.Key { return r.Key })
}

func (m *memory) MonitorStats(_ context.Context, org tenant.OrgID, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID]history.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.windows = append(m.windows, w)
	out := map[uuid.UUID]history.Stats{}
	for _, id := range monitors {
		if s, ok := m.stats[place{org, id}]; ok {
			out[id] = s
		}
	}
	return out, nil
}

func (m *memory) OrganisationStats(_ context.Context, org tenant.OrgID, w history.Window) (history.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.windows = append(m.windows, w)
	return m.stats[place{org: org}], nil
}

func (m *memory) MonitorStatsWithout(
	ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window, monitors ...uuid.UUID,
) (map[uuid.UUID]history.Stats, error) {
	m.leaveOut(without)
	return m.MonitorStats(ctx, org, w, monitors...)
}

func (m *memory) OrganisationStatsWithout(
	ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window,
) (history.Stats, error) {
	m.leaveOut(without)
	return m.OrganisationStats(ctx, org, w)
}

func (m *memory) leaveOut(without map[uuid.UUID][]history.Window) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.without = without
}

func (m *memory) lastWindow() history.Window {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.windows[len(m.windows)-1]
}

func at(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
