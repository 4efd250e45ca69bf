package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

// bundle is a fresh database with two organisations.
type bundle struct {
	t     *testing.T
	ctx   context.Context
	pool  *pgxpool.Pool
	store *store.Store
	a, b  owner
}

// owner is an organisation with its project.
type owner struct {
	org        tenant.OrgID
	project    tenant.ProjectID
	projectKey string
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	t.Parallel()
	return bundleOn(t, pgtest.New(t))
}

func bundleOn(t *testing.T, pool *pgxpool.Pool) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s := &bundle{t: t, ctx: ctx, pool: pool, store: store.New(pool)}
	boot, err := s.store.Bootstrap(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	s.a = owner{org: boot.Org.ID, project: boot.Project.ID, projectKey: boot.Project.PingKey}
	s.b = owner{org: tenant.OrgID{UUID: uuid.New()}, project: tenant.ProjectID{UUID: uuid.New()}, projectKey: "other-project"}
	s.exec(`insert into organisations (id, name, created_at) values ($1, 'other', now() + interval '1 day')`, s.b.org)
	s.exec(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $2, 'other', 'other', $3)`, s.b.project, s.b.org, s.b.projectKey)
	return s
}

func (s *bundle) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func (s *bundle) count(sql string, args ...any) int {
	s.t.Helper()
	var n int
	if err := s.pool.QueryRow(s.ctx, sql, args...).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (s *bundle) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func hourly(t *testing.T, name string) monitor.Config {
	t.Helper()
	c := monitor.DefaultConfig()
	c.Name = name
	if err := json.Unmarshal([]byte(`{"interval":"1h"}`), &c.Schedule); err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *bundle) create(o owner, name string) inventory.Monitor {
	s.t.Helper()
	m, err := s.store.CreateMonitor(s.ctx, o.org, inventory.NewMonitor{Project: o.project, Config: hourly(s.t, name)})
	s.must(err)
	return m
}

// evaluate writes a monitor's state as the evaluator would.
func (s *bundle) evaluate(m inventory.Monitor, status monitor.Status, version int64) {
	s.t.Helper()
	state, err := json.Marshal(monitor.State{Status: status, Version: version})
	s.must(err)
	s.exec(`insert into monitor_states (monitor_id, org_id, hash, config, state, status, last_ping_at, due_at, deadline_at, open_runs)
		values ($1, $2, $3, '{}', $4, $5, '2026-01-01 12:00:00.123456+00', '2026-01-01 13:00+00', '2026-01-01 13:05+00', 2)
		on conflict (monitor_id) do update set state = excluded.state, status = excluded.status`,
		m.ID, m.Org, int64(record.Hash(m.ID)), state, string(status))
}

// open inserts an open incident as the evaluator would.
func (s *bundle) open(m inventory.Monitor, k incident.Kind, at time.Time) uuid.UUID {
	s.t.Helper()
	id := incident.ID(m.ID, k, at, 1)
	s.exec(`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, evidence)
		values ($1, $2, $3, $4, $5, $6, $7, '{"exit_code": 3}')`, id, m.Org, m.ID, m.Config.Name, string(k), string(k.Severity()), at)
	return id
}

// journal is a log that only remembers.
type journal struct {
	mu      sync.Mutex
	records []record.Control
	fail    func(record.Control) error
	entered func(record.Control)
}

func (j *journal) append(_ context.Context, c record.Control) error {
	if j.entered != nil {
		j.entered(c)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		if err := j.fail(c); err != nil {
			return err
		}
	}
	j.records = append(j.records, c)
	return nil
}

func (j *journal) of(id uuid.UUID) []record.Control {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []record.Control
	for _, c := range j.records {
		if c.Monitor == id {
			out = append(out, c)
		}
	}
	return out
}

var errLogDown = errors.New("the log is down")
