package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// incidentView is an incident in an answer.
type incidentView struct {
	ID             uuid.UUID         `json:"id" format:"uuid"`
	MonitorID      uuid.UUID         `json:"monitor_id" format:"uuid"`
	MonitorName    string            `json:"monitor_name" doc:"As it was when the incident opened."`
	Kind           incident.Kind     `json:"kind" enum:"missed,late,fail,overrun,anomaly"`
	Status         incident.Status   `json:"status" enum:"open,acknowledged,resolved"`
	Severity       incident.Severity `json:"severity" enum:"critical,warning"`
	OpenedAt       time.Time         `json:"opened_at"`
	AcknowledgedAt *time.Time        `json:"acknowledged_at"`
	AcknowledgedBy *uuid.UUID        `json:"acknowledged_by" format:"uuid" nullable:"true" doc:"The id of the API key."`
	ResolvedAt     *time.Time        `json:"resolved_at"`
	Resolution     string            `json:"resolution" doc:"Why it was resolved; empty: it is not."`
	Evidence       incident.Evidence `json:"evidence" doc:"What was known when it opened."`
}

func viewIncident(i inventory.Incident) incidentView {
	return incidentView{
		ID: i.ID, MonitorID: i.Monitor, MonitorName: i.MonitorName, Kind: i.Kind, Status: i.Status, Severity: i.Severity,
		OpenedAt: i.OpenedAt, AcknowledgedAt: i.AcknowledgedAt, AcknowledgedBy: i.AcknowledgedBy,
		ResolvedAt: i.ResolvedAt, Resolution: i.Resolution, Evidence: i.Evidence,
	}
}

type incidentID struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The incident's id."`
}

type oneIncident struct {
	Body incidentView
}

type askedIncident struct {
	Status int
	Body   incidentView
}

func (a *API) incidentOperations(h huma.API) {
	tags := []string{"Incidents"}
	operation(a, h, huma.Operation{
		OperationID: "list-incidents", Method: http.MethodGet, Path: "/api/v1/incidents", Tags: tags,
		Summary: "List incidents", Description: "The youngest first; from and to limit opened_at.",
	}, tenant.ScopeRead, a.listIncidents)
	operation(a, h, huma.Operation{
		OperationID: "get-incident", Method: http.MethodGet, Path: "/api/v1/incidents/{id}", Tags: tags, Summary: "Read an incident",
	}, tenant.ScopeRead, a.getIncident)
	operation(a, h, huma.Operation{
		OperationID: "acknowledge-incident", Method: http.MethodPost, Path: "/api/v1/incidents/{id}/acknowledge", Tags: tags,
		Errors: []int{http.StatusConflict}, Summary: "Acknowledge an incident",
		Description: "Somebody is on it. The first acknowledgement stays; a resolved incident is a conflict.",
	}, tenant.ScopeWrite, a.acknowledgeIncident)
	operation(a, h, huma.Operation{
		OperationID: "resolve-incident", Method: http.MethodPost, Path: "/api/v1/incidents/{id}/resolve", Tags: tags,
		Responses: map[string]*huma.Response{"202": {
			Description: "Asked for, and not done within two seconds; the incident as it is.",
			Content: map[string]*huma.MediaType{"application/json": {
				Schema: h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[incidentView](), true, ""),
			}},
		}},
		Summary: "Resolve an incident", Description: "In order with the monitor's pings, so it may take a moment.",
	}, tenant.ScopeWrite, a.resolveIncident)
}

type listIncidentsInput struct {
	Paging
	Span
	Status  []string   `query:"status,explode" nullable:"false" enum:"open,acknowledged,resolved" doc:"Any of them; may be repeated."`
	Kind    []string   `query:"kind,explode" nullable:"false" enum:"missed,late,fail,overrun,anomaly" doc:"Any of them; may be repeated."`
	Monitor optionalID `query:"monitor" format:"uuid" doc:"The monitor's id."`
}

func (a *API) listIncidents(ctx context.Context, who tenant.Identity, in *listIncidentsInput) (*list[incidentView], error) {
	c, err := decodeCursor("incidents", in.Cursor)
	if err != nil {
		return nil, err
	}
	w, err := in.window(allTime())
	if err != nil {
		return nil, err
	}
	f := inventory.IncidentFilter{
		Monitor: in.Monitor.id, From: w.From, To: w.To,
		Before: inventory.IncidentKey{OpenedAt: c.At, ID: c.ID}, Limit: in.Limit + 1,
	}
	for _, s := range in.Status {
		f.Statuses = append(f.Statuses, incident.Status(s))
	}
	for _, k := range in.Kind {
		f.Kinds = append(f.Kinds, incident.Kind(k))
	}
	rows, err := a.store.Incidents(ctx, who.Org, f)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewIncident, func(i inventory.Incident) cursor {
		return cursor{Of: "incidents", At: i.OpenedAt, ID: i.ID}
	})
}

func (a *API) getIncident(ctx context.Context, who tenant.Identity, in *incidentID) (*oneIncident, error) {
	i, err := a.store.Incident(ctx, who.Org, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneIncident{Body: viewIncident(i)}, nil
}

func (a *API) acknowledgeIncident(ctx context.Context, who tenant.Identity, in *incidentID) (*oneIncident, error) {
	i, err := a.store.AcknowledgeIncident(ctx, who.Org, in.ID, who.Key)
	if err != nil {
		return nil, err
	}
	return &oneIncident{Body: viewIncident(i)}, nil
}

func (a *API) resolveIncident(ctx context.Context, who tenant.Identity, in *incidentID) (*askedIncident, error) {
	i, queued, err := a.store.ResolveIncident(ctx, who.Org, in.ID)
	if err != nil {
		return nil, err
	}
	if queued {
		a.publish(ctx, i.Monitor)
		if i, err = a.awaitResolved(ctx, who.Org, i); err != nil {
			return nil, err
		}
	}
	status := http.StatusOK
	if i.Status != incident.Resolved {
		status = http.StatusAccepted
	}
	return &askedIncident{Status: status, Body: viewIncident(i)}, nil
}

// awaitResolved reads the incident until the evaluator has resolved it, resolveWait at most, and returns it as it is then.
func (a *API) awaitResolved(ctx context.Context, org tenant.OrgID, i inventory.Incident) (inventory.Incident, error) {
	const first, most = 20 * time.Millisecond, 200 * time.Millisecond
	end := time.NewTimer(a.resolveWait)
	defer end.Stop()
	for wait := first; ; wait = min(2*wait, most) {
		next, err := a.store.Incident(ctx, org, i.ID)
		if err != nil || next.Status == incident.Resolved {
			return next, err
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-end.C:
			again.Stop()
			return next, nil
		case <-ctx.Done():
			again.Stop()
			return next, ctx.Err()
		}
	}
}
