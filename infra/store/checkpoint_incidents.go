package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/incident"
)

const (
	openIncident = `
		insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, evidence)
		values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict do nothing
		returning status, severity, opened_at, acknowledged_at, resolved_at, resolution, evidence, monitor_name`
	resolveIncident = `
		update incidents set status = 'resolved', resolved_at = $3, resolution = $4
		where org_id = $1 and id = $2 and resolved_at is null
		returning status, severity, opened_at, acknowledged_at, resolved_at, resolution, evidence, monitor_name`
	insertOutbox = `insert into outbox (org_id, incident_id, type, payload) values ($1, $2, $3, $4)`
)

// saveIncidents opens and resolves in the order given and puts what must be said of it into the outbox. An incident that
// stands already is not said twice.
func saveIncidents(ctx context.Context, tx pgx.Tx, changes []checkpoint.Incident) error {
	if len(changes) == 0 {
		return nil
	}
	write := &pgx.Batch{}
	say := &pgx.Batch{}
	for i := range changes {
		c := &changes[i]
		var q *pgx.QueuedQuery
		if c.Resolved {
			q = write.Queue(resolveIncident, c.Org.UUID, c.ID, c.At, c.Reason)
		} else {
			evidence, err := json.Marshal(c.Evidence)
			if err != nil {
				return fmt.Errorf("evidence of incident %s: %w", c.ID, err)
			}
			q = write.Queue(openIncident, c.ID, c.Org.UUID, c.Monitor, c.Name, string(c.Kind),
				string(c.Kind.Severity()), c.At, evidence)
		}
		q.QueryRow(func(row pgx.Row) error { return queueMessage(say, c, row) })
	}
	if err := tx.SendBatch(ctx, write).Close(); err != nil {
		return fmt.Errorf("save incidents: %w", err)
	}
	if say.Len() == 0 {
		return nil
	}
	say.Queue(`select pg_notify('tokiflow_outbox', '')`)
	if err := tx.SendBatch(ctx, say).Close(); err != nil {
		return fmt.Errorf("save what must be said of incidents: %w", err)
	}
	return nil
}

func queueMessage(say *pgx.Batch, c *checkpoint.Incident, row pgx.Row) error {
	m := alert.Message{Type: alert.TypeOpened, Timestamp: c.At, Data: alert.Data{
		Incident: alert.Incident{ID: c.ID, MonitorID: c.Monitor, Kind: c.Kind},
		Monitor:  alert.Monitor{ID: c.Monitor, Name: c.Name, Slug: c.Slug, Tags: c.Tags, Labels: c.Labels},
	}}
	if c.Resolved {
		m.Type = alert.TypeResolved
	}
	i := &m.Data.Incident
	var status string
	var evidence []byte
	err := row.Scan(&status, &i.Severity, &i.OpenedAt, &i.AcknowledgedAt, &i.ResolvedAt, &i.Resolution, &evidence, &i.MonitorName)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	i.Status, i.Evidence = incident.Status(status), evidence
	payload, err := json.Marshal(m)
	if err != nil {
		return err
	}
	say.Queue(insertOutbox, c.Org.UUID, c.ID, m.Type, payload)
	return nil
}
