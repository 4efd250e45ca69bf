package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// CreateMonitor makes a monitor of a valid configuration, with a fresh id and ping key. A project that the organisation
// has not is ErrNotFound. It takes pings once its control record is drained.
func (s *Store) CreateMonitor(ctx context.Context, org tenant.OrgID, n inventory.NewMonitor) (inventory.Monitor, error) {
	var m inventory.Monitor
	c := n.Config
	err := s.inTx(ctx, "create monitor", func(q *db.Queries) error {
		var err error
		if n.FreeSlug && c.Slug != "" {
			if c.Slug, err = freeSlug(ctx, q, org, n.Project, c.Slug); err != nil {
				return err
			}
		}
		id, _, err := insertMonitor(ctx, q, org, n.Project, c)
		if err != nil {
			return err
		}
		m, err = readMonitor(ctx, q, org, id)
		return err
	})
	return m, err
}

func insertMonitor(ctx context.Context, q *db.Queries, org tenant.OrgID, project tenant.ProjectID, c monitor.Config) (id, key uuid.UUID, err error) {
	if id, err = uuid.NewV7(); err != nil {
		return id, key, err
	}
	if key, err = uuid.NewRandom(); err != nil {
		return id, key, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return id, key, err
	}
	if _, err = q.InsertMonitor(ctx, db.InsertMonitorParams{
		ID: id, OrgID: org, ProjectID: project, PingKey: key, Name: c.Name, Slug: c.Slug, Tags: tagsOf(c), Config: config,
	}); err != nil {
		return id, key, err
	}
	return id, key, enqueue(ctx, q, org, id, record.Configure, 1, config)
}

// Monitor reads one monitor.
func (s *Store) Monitor(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Monitor, error) {
	m, err := readMonitor(ctx, s.q, org, id)
	return m, wrap("monitor", err)
}

func readMonitor(ctx context.Context, q *db.Queries, org tenant.OrgID, id uuid.UUID) (inventory.Monitor, error) {
	row, err := q.Monitor(ctx, db.MonitorParams{OrgID: org, ID: id})
	if err != nil {
		return inventory.Monitor{}, err
	}
	return toMonitor(row)
}

// Monitors lists monitors in the order of their making.
func (s *Store) Monitors(ctx context.Context, org tenant.OrgID, f inventory.MonitorFilter) ([]inventory.Monitor, error) {
	p := db.MonitorsParams{
		OrgID: org, After: f.After, Slug: f.Slug, Name: f.Name, Tags: f.Tags,
		Statuses: texts(f.Statuses), MaxRows: rowLimit(f.Limit),
	}
	if f.Tags == nil {
		p.Tags = []string{}
	}
	if f.Project != nil {
		p.ProjectID = &f.Project.UUID
	}
	rows, err := s.q.Monitors(ctx, p)
	if err != nil {
		return nil, wrap("monitors", err)
	}
	out := make([]inventory.Monitor, len(rows))
	for i, r := range rows {
		if out[i], err = toMonitor(db.MonitorRow(r)); err != nil {
			return nil, wrap("monitors", err)
		}
	}
	return out, nil
}

// UpdateMonitor replaces a monitor's configuration by what edit makes of it. The row is locked meanwhile, so of two
// editors at once the second sees what the first left. An error of edit changes nothing and is returned as it is.
func (s *Store) UpdateMonitor(ctx context.Context, org tenant.OrgID, id uuid.UUID, edit func(monitor.Config) (monitor.Config, error)) (inventory.Monitor, error) {
	var m inventory.Monitor
	var refused error
	err := s.inTx(ctx, "update monitor", func(q *db.Queries) error {
		row, err := q.LockMonitor(ctx, db.LockMonitorParams{OrgID: org, ID: id})
		if err != nil {
			return err
		}
		c, err := parseConfig(row.Config)
		if err != nil {
			return err
		}
		if c, refused = edit(c); refused != nil {
			return refused
		}
		config, err := json.Marshal(c)
		if err != nil {
			return err
		}
		version := row.Version + 1
		if err := q.UpdateMonitor(ctx, db.UpdateMonitorParams{
			OrgID: org, ID: id, Name: c.Name, Slug: c.Slug, Tags: tagsOf(c), Config: config, Paused: row.Paused, Version: version,
		}); err != nil {
			return err
		}
		if err := enqueue(ctx, q, org, id, record.Configure, version, config); err != nil {
			return err
		}
		m, err = readMonitor(ctx, q, org, id)
		return err
	})
	if refused != nil {
		return inventory.Monitor{}, refused
	}
	return m, err
}

// SetPaused asks for a pause or its end. The monitor is shown so at once.
func (s *Store) SetPaused(ctx context.Context, org tenant.OrgID, id uuid.UUID, paused bool) (inventory.Monitor, error) {
	action := record.Resume
	if paused {
		action = record.Pause
	}
	var m inventory.Monitor
	err := s.inTx(ctx, "pause monitor", func(q *db.Queries) error {
		row, err := q.LockMonitor(ctx, db.LockMonitorParams{OrgID: org, ID: id})
		if err != nil {
			return err
		}
		version := row.Version + 1
		if err := q.SetMonitorVersion(ctx, db.SetMonitorVersionParams{OrgID: org, ID: id, Version: version, Paused: paused}); err != nil {
			return err
		}
		if err := enqueue(ctx, q, org, id, action, version, nil); err != nil {
			return err
		}
		m, err = readMonitor(ctx, q, org, id)
		return err
	})
	return m, err
}

// RotateKey gives a monitor a fresh ping key. The old one stops when the change notice arrives.
func (s *Store) RotateKey(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Monitor, error) {
	var m inventory.Monitor
	err := s.inTx(ctx, "rotate ping key", func(q *db.Queries) error {
		key, err := uuid.NewRandom()
		if err != nil {
			return err
		}
		n, err := q.SetPingKey(ctx, db.SetPingKeyParams{OrgID: org, ID: id, PingKey: key})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		if err := q.NotifyTarget(ctx, id.String()); err != nil {
			return err
		}
		m, err = readMonitor(ctx, q, org, id)
		return err
	})
	return m, err
}

// DeleteMonitor removes a monitor. Its ping key stops at once; its state and open incidents end when the evaluator comes
// to the control record. What it has lived through stays in the history until that expires.
func (s *Store) DeleteMonitor(ctx context.Context, org tenant.OrgID, id uuid.UUID) error {
	return s.inTx(ctx, "delete monitor", func(q *db.Queries) error {
		version, err := q.DeleteMonitor(ctx, db.DeleteMonitorParams{OrgID: org, ID: id})
		if err != nil {
			return err
		}
		if err := enqueue(ctx, q, org, id, record.Delete, version+1, nil); err != nil {
			return err
		}
		return q.NotifyTarget(ctx, id.String())
	})
}

func enqueue(ctx context.Context, q *db.Queries, org tenant.OrgID, id uuid.UUID, a record.Action, version int64, payload []byte) error {
	if payload == nil {
		payload = []byte{}
	}
	return q.EnqueueControl(ctx, db.EnqueueControlParams{
		OrgID: org, MonitorID: id, Action: int16(a), Version: version, Payload: payload,
	})
}

func toMonitor(r db.MonitorRow) (inventory.Monitor, error) {
	c, err := parseConfig(r.Config)
	if err != nil {
		return inventory.Monitor{}, fmt.Errorf("monitor %s: %w", r.ID, err)
	}
	return inventory.Monitor{
		ID: r.ID, Org: r.OrgID, Project: r.ProjectID, Key: r.PingKey, Config: c, Version: r.Version,
		Status: monitor.Status(r.Status), LastPingAt: utc(r.LastPingAt), DueAt: utc(r.DueAt), DeadlineAt: utc(r.DeadlineAt),
		OpenRuns: int(r.OpenRuns), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}, nil
}

// parseConfig reads a stored configuration over the defaults: a field younger than the row has its default.
func parseConfig(b []byte) (monitor.Config, error) {
	c := monitor.DefaultConfig()
	if err := json.Unmarshal(b, &c); err != nil {
		return monitor.Config{}, fmt.Errorf("stored configuration: %w", err)
	}
	return c, nil
}

func tagsOf(c monitor.Config) []string {
	if c.Tags == nil {
		return []string{}
	}
	return c.Tags
}

func texts[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func rowLimit(n int) int32 {
	if n <= 0 || n > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(n)
}
