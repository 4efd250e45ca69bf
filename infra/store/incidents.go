package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// Incident reads one incident.
func (s *Store) Incident(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Incident, error) {
	i, err := readIncident(ctx, s.q, org, id)
	return i, wrap("incident", err)
}

func readIncident(ctx context.Context, q *db.Queries, org tenant.OrgID, id uuid.UUID) (inventory.Incident, error) {
	row, err := q.Incident(ctx, db.IncidentParams{OrgID: org, ID: id})
	if err != nil {
		return inventory.Incident{}, err
	}
	return toIncident(row)
}

// Incidents lists incidents, the youngest first.
func (s *Store) Incidents(ctx context.Context, org tenant.OrgID, f inventory.IncidentFilter) ([]inventory.Incident, error) {
	p := db.IncidentsParams{
		OrgID: org, MonitorID: f.Monitor, Statuses: texts(f.Statuses), Kinds: texts(f.Kinds),
		FromAt: f.From, ToAt: f.To, BeforeAt: f.Before.OpenedAt, BeforeID: f.Before.ID, MaxRows: rowLimit(f.Limit),
	}
	if f.To.IsZero() {
		p.ToAt = endOfTime()
	}
	if f.Before == (inventory.IncidentKey{}) {
		p.BeforeAt = endOfTime()
	}
	rows, err := s.q.Incidents(ctx, p)
	if err != nil {
		return nil, wrap("incidents", err)
	}
	out := make([]inventory.Incident, len(rows))
	for i, r := range rows {
		if out[i], err = toIncident(db.IncidentRow(r)); err != nil {
			return nil, wrap("incidents", err)
		}
	}
	return out, nil
}

// AcknowledgeIncident says that somebody is on it; by is the API key. Its alert is acknowledged with it. Again it changes nothing. A
// resolved incident is a conflict.
func (s *Store) AcknowledgeIncident(ctx context.Context, org tenant.OrgID, id, by uuid.UUID) (inventory.Incident, error) {
	var i inventory.Incident
	err := s.changeAlerting(ctx, "acknowledge incident", org, func(q *db.Queries, now db.RaiseAlertingRow) error {
		if _, err := q.AcknowledgeIncident(ctx, db.AcknowledgeIncidentParams{OrgID: org, ID: id, AcknowledgedBy: &by}); err != nil {
			return err
		}
		if _, err := q.AcknowledgeAlertOfIncident(ctx, db.AcknowledgeAlertOfIncidentParams{
			OrgID: org, IncidentID: &id, Version: now.Version,
		}); err != nil {
			return err
		}
		var err error
		if i, err = readIncident(ctx, q, org, id); err != nil {
			return err
		}
		if i.Status == incident.Resolved {
			return fault.New(fault.Conflict, "the incident is resolved already")
		}
		return nil
	})
	return i, err
}

// ResolveIncident asks the evaluator to resolve an incident; queued says whether there was anything to ask. It is not
// where the incident is resolved, nor where its monitor is gone: then the evaluator resolves it anyway.
func (s *Store) ResolveIncident(ctx context.Context, org tenant.OrgID, id uuid.UUID) (i inventory.Incident, queued bool, err error) {
	err = s.inTx(ctx, "resolve incident", func(q *db.Queries) error {
		var err error
		if i, err = readIncident(ctx, q, org, id); err != nil || i.Status == incident.Resolved {
			return err
		}
		row, err := q.LockMonitor(ctx, db.LockMonitorParams{OrgID: org, ID: i.Monitor})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		version := row.Version + 1
		if err := q.SetMonitorVersion(ctx, db.SetMonitorVersionParams{OrgID: org, ID: i.Monitor, Version: version, Paused: row.Paused}); err != nil {
			return err
		}
		queued = true
		return enqueue(ctx, q, org, i.Monitor, record.ResolveIncident, version, id[:])
	})
	return i, queued && err == nil, err
}

func toIncident(r db.IncidentRow) (inventory.Incident, error) {
	i := inventory.Incident{
		ID: r.ID, Monitor: r.MonitorID, MonitorName: r.MonitorName,
		Kind: incident.Kind(r.Kind), Status: incident.Status(r.Status), Severity: incident.Severity(r.Severity),
		OpenedAt: r.OpenedAt.UTC(), AcknowledgedAt: utc(r.AcknowledgedAt), AcknowledgedBy: r.AcknowledgedBy,
		ResolvedAt: utc(r.ResolvedAt), Resolution: r.Resolution,
	}
	if err := json.Unmarshal(r.Evidence, &i.Evidence); err != nil {
		return inventory.Incident{}, fmt.Errorf("evidence of incident %s: %w", r.ID, err)
	}
	return i, nil
}

// endOfTime is later than any instant kept, and within what PostgreSQL and RFC 3339 can say.
func endOfTime() time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }
