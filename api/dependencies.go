package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Dependencies reads and changes what monitors depend on. A parent that is not the organisation's is a *quiet.FieldError; a cycle is a fault
// of code invalid.
type Dependencies interface {
	MonitorDependencies(ctx context.Context, org tenant.OrgID, monitor uuid.UUID) ([]uuid.UUID, error)
	PutMonitorDependencies(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, parents []uuid.UUID) error
}

func (a *API) dependencyOperations(h huma.API) {
	tags := []string{"Monitors"}
	operation(a, h, huma.Operation{
		OperationID: "get-dependencies", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/dependencies", Tags: tags,
		Summary: "Read what a monitor depends on",
	}, tenant.ScopeRead, a.getDependencies)
	operation(a, h, huma.Operation{
		OperationID: "put-dependencies", Method: http.MethodPut, Path: "/api/v1/monitors/{id}/dependencies", Tags: tags,
		Summary: "Say what a monitor depends on",
		Description: "Replaces the list. While one of these, or something they depend on, is down (missed, failed or overrun), alerts of this monitor are not told. " +
			"A cycle is refused.",
	}, tenant.ScopeWrite, a.putDependencies)
}

type dependenciesView struct {
	DependsOn []uuid.UUID `json:"depends_on" nullable:"false" doc:"Ids of monitors."`
}

type dependenciesFields struct {
	DependsOn []uuid.UUID `json:"depends_on" nullable:"false" maxItems:"50" doc:"Ids of monitors; empty: it depends on none."`
}

type dependenciesOutput struct {
	Body dependenciesView
}

func (a *API) getDependencies(ctx context.Context, who tenant.Identity, in *MonitorPath) (*dependenciesOutput, error) {
	list, err := a.store.MonitorDependencies(ctx, who.Org, in.ID)
	if err != nil {
		return nil, err
	}
	return &dependenciesOutput{Body: dependenciesView{DependsOn: orEmpty(list)}}, nil
}

type putDependenciesInput struct {
	MonitorPath
	Body dependenciesFields
}

func (a *API) putDependencies(ctx context.Context, who tenant.Identity, in *putDependenciesInput) (*dependenciesOutput, error) {
	if err := a.store.PutMonitorDependencies(ctx, who.Org, in.ID, in.Body.DependsOn); err != nil {
		return nil, asViolation(err)
	}
	return a.getDependencies(ctx, who, &in.MonitorPath)
}
