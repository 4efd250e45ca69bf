package ingest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// appender keeps what is appended, in memory.
type appender struct {
	mu    sync.Mutex
	pings []record.Ping
	fail  error
	block chan struct{} // appends wait for its closing
	calls int           // of AppendAll
}

func (a *appender) Append(ctx context.Context, partition int, rec []byte) (time.Time, error) {
	return a.AppendAll(ctx, partition, [][]byte{rec})
}

func (a *appender) AppendAll(_ context.Context, partition int, recs [][]byte) (time.Time, error) {
	a.mu.Lock()
	block := a.block
	a.mu.Unlock()
	if block != nil {
		<-block
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.fail != nil {
		return time.Time{}, a.fail
	}
	at := time.Date(2026, 11, 22, 20, 51, 0, 0, time.UTC)
	for _, rec := range recs {
		record.Stamp(rec, 1, uint64(len(a.pings)+1), at)
		p, err := record.ParsePing(append([]byte(nil), rec...)) // what is handed over is used again
		if err != nil {
			return time.Time{}, err
		}
		if want := record.Partition(p.Monitor, 4); want != partition {
			return time.Time{}, errors.New("wrong partition")
		}
		a.pings = append(a.pings, p)
	}
	return at, nil
}

func (a *appender) setFail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = err
}

func (a *appender) all() []record.Ping {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]record.Ping(nil), a.pings...)
}

// last is the ping stored last; there must be n.
func (a *appender) last(t *testing.T, n int) record.Ping {
	t.Helper()
	pings := a.all()
	if len(pings) != n {
		t.Fatalf("%d pings are stored, want %d", len(pings), n)
	}
	return pings[n-1]
}

// source is a Targets whose connection the test holds.
type source struct {
	mu       sync.Mutex
	projects []tenant.ProjectKey
	targets  map[uuid.UUID]tenant.PingTarget
	down     error
	apply    func(tenant.PingTargets)
	lost     chan error
	watches  int
}

func newSource() *source {
	s := &source{targets: map[uuid.UUID]tenant.PingTarget{}}
	s.projects = []tenant.ProjectKey{
		{Org: orgA(), Project: projA(), Key: projKey}, {Org: orgA(), Project: sideA(), Key: sideKey},
	}
	s.set(mainTarget())
	s.set(targetOf(orgB(), tenant.ProjectID{UUID: uuid.NewSHA1(orgB().UUID, nil)}, otherKey, "other-job"))
	for i, slug := range []string{"twin", "twin"} {
		s.set(targetOf(orgA(), projA(), "3333333"+string(rune('0'+i))+"-aaaa-4bbb-8ccc-dddddddddddd", slug))
	}
	// The same slug in two projects: fine in URLs, ambiguous in a batch.
	s.set(targetOf(orgA(), projA(), "44444440-aaaa-4bbb-8ccc-dddddddddddd", "shared"))
	s.set(targetOf(orgA(), sideA(), "44444441-aaaa-4bbb-8ccc-dddddddddddd", "shared"))
	return s
}

func (s *source) WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error {
	s.mu.Lock()
	s.watches++
	if s.down != nil {
		defer s.mu.Unlock()
		return s.down
	}
	full := tenant.PingTargets{Full: true, Projects: s.projects}
	for _, t := range s.targets {
		full.Targets = append(full.Targets, t)
	}
	apply(full)
	lost := make(chan error, 1)
	s.apply, s.lost = apply, lost
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return err
	}
}

func (s *source) set(t tenant.PingTarget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets[t.Monitor] = t
	if s.apply != nil {
		s.apply(tenant.PingTargets{Monitor: t.Monitor, Targets: []tenant.PingTarget{t}})
	}
}

func (s *source) remove(monitor uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.targets, monitor)
	if s.apply != nil {
		s.apply(tenant.PingTargets{Monitor: monitor})
	}
}

// lose cuts the connection; it stays cut until err is nil.
func (s *source) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.apply = err, nil
	if s.lost != nil && err != nil {
		s.lost <- err
		s.lost = nil
	}
}

func (s *source) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down != nil && s.watches > 0
}

// creator makes monitors, after the gate (if any) opens.
type creator struct {
	src   *source
	gate  chan struct{}
	mu    sync.Mutex
	err   error
	made  int
	calls int
	quiet bool // the source does not hear of them
}

func (c *creator) Create(_ context.Context, p tenant.ProjectKey, slug string) (tenant.PingTarget, bool, error) {
	c.mu.Lock()
	c.calls++
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return tenant.PingTarget{}, false, c.err
	}
	c.src.mu.Lock()
	for _, t := range c.src.targets {
		if t.Project == p.Project && t.Slug == slug {
			c.src.mu.Unlock()
			return t, false, nil
		}
	}
	c.src.mu.Unlock()
	c.made++
	t := targetOf(p.Org, p.Project, uuid.NewString(), slug)
	if !c.quiet {
		c.src.set(t)
	}
	return t, true, nil
}

// authority knows one key with every scope, one that may only read, and one of the other organisation.
type authority struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (a *authority) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.err != nil {
		return tenant.Identity{}, a.err
	}
	who := tenant.Identity{Org: orgA(), Key: uuid.NewSHA1(uuid.NameSpaceOID, []byte(key)), Scopes: []tenant.Scope{tenant.ScopePing}}
	switch key {
	case apiKeyAll, "tkf_second":
	case "tkf_read":
		who.Scopes = []tenant.Scope{tenant.ScopeRead, tenant.ScopeWrite}
	case "tkf_b":
		who.Org = orgB()
	default:
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "unknown key")
	}
	return who, nil
}

func (a *authority) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}
