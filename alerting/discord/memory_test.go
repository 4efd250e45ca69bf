package discord_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// memory is a store in memory.
type memory struct {
	mu          sync.Mutex
	connections map[string]alert.DiscordConnection
	states      map[string]alert.DiscordState
}

var errNone = fault.New(fault.NotFound, "there is no such thing")

func (m *memory) DiscordConnection(_ context.Context, org tenant.OrgID, name string) (alert.DiscordConnection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.connections[org.String()+name]
	if !ok {
		return c, errNone
	}
	return c, nil
}

func (m *memory) DiscordConnections(_ context.Context, org tenant.OrgID) ([]alert.DiscordConnection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []alert.DiscordConnection
	for key, c := range m.connections {
		if strings.HasPrefix(key, org.String()) {
			out = append(out, c)
		}
	}
	return out, nil
}

func (m *memory) PutDiscordConnection(_ context.Context, org tenant.OrgID, c alert.DiscordConnection) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connections[org.String()+c.Name] = c
	return nil
}

func (m *memory) DeleteDiscordConnection(_ context.Context, org tenant.OrgID, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.connections[org.String()+name]; !ok {
		return errNone
	}
	delete(m.connections, org.String()+name)
	return nil
}

func (m *memory) AddDiscordState(_ context.Context, org tenant.OrgID, s alert.DiscordState, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[org.String()+string(s.Sum)+string(s.Browser)] = s
	return nil
}

func (m *memory) TakeDiscordState(_ context.Context, org tenant.OrgID, sum, browser []byte) (alert.DiscordState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := org.String() + string(sum) + string(browser)
	s, ok := m.states[key]
	if !ok {
		return s, errNone
	}
	delete(m.states, key)
	return s, nil
}

// keys know one key of each scope.
type keys struct{ org tenant.OrgID }

func (k keys) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	switch key {
	case "tkf_write":
		return tenant.Identity{Org: k.org, Scopes: []tenant.Scope{tenant.ScopeWrite}}, nil
	case "tkf_read":
		return tenant.Identity{Org: k.org, Scopes: []tenant.Scope{tenant.ScopeRead}}, nil
	}
	return tenant.Identity{}, fault.New(fault.Unauthenticated, "the API key is unknown")
}
