package app

import (
	"context"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// hands are what Slack's buttons and commands do, as the API does it.
type hands struct{ a *App }

// Incidents lists incidents.
func (h hands) Incidents(ctx context.Context, org tenant.OrgID, f inventory.IncidentFilter) ([]inventory.Incident, error) {
	return h.a.store.Incidents(ctx, org, f)
}

// ResolveIncident asks for it to be resolved, in order with the monitor's pings.
func (h hands) ResolveIncident(ctx context.Context, org tenant.OrgID, id uuid.UUID, by string) error {
	i, queued, err := h.a.store.ResolveIncident(ctx, org, id)
	if err != nil {
		return err
	}
	h.a.log.InfoContext(ctx, "incident resolved by hand", "org", org, "incident", id, "by", by)
	if queued {
		return h.a.publisher.Publish(ctx, i.Monitor)
	}
	return nil
}

// Organisation reads the organisation.
func (h hands) Organisation(ctx context.Context, org tenant.OrgID) (inventory.Organisation, error) {
	return h.a.store.Organisation(ctx, org)
}

// Monitors lists monitors.
func (h hands) Monitors(ctx context.Context, org tenant.OrgID, f inventory.MonitorFilter) ([]inventory.Monitor, error) {
	return h.a.store.Monitors(ctx, org, f)
}

// SetPaused pauses a monitor or resumes it.
func (h hands) SetPaused(ctx context.Context, org tenant.OrgID, id uuid.UUID, paused bool) (inventory.Monitor, error) {
	m, err := h.a.store.SetPaused(ctx, org, id, paused)
	if err != nil {
		return m, err
	}
	return m, h.a.publisher.Publish(ctx, id)
}
