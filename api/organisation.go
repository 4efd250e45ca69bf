package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

func (a *API) organisationOperations(h huma.API) {
	operation(a, h, huma.Operation{
		OperationID: "get-organisation", Method: http.MethodGet, Path: "/api/v1/organisation", Tags: []string{"Organisation"},
		Summary: "Read whom the key stands for", Description: "The organisation with its projects and their keys for slug URLs, and what the API key may do.",
	}, tenant.ScopeRead, a.getOrganisation)
}

type organisationOutput struct {
	Body organisationView
}

type organisationView struct {
	ID        uuid.UUID     `json:"id" format:"uuid"`
	Name      string        `json:"name"`
	CreatedAt time.Time     `json:"created_at"`
	Projects  []projectView `json:"projects" nullable:"false"`
	APIKey    usedKeyView   `json:"api_key"`
}

type projectView struct {
	ID      uuid.UUID `json:"id" format:"uuid"`
	Name    string    `json:"name"`
	Slug    string    `json:"slug"`
	PingKey string    `json:"ping_key" doc:"The project key of slug URLs."`
	PingURL string    `json:"ping_url" format:"uri" doc:"Put a slash and a monitor's slug behind it."`
}

type usedKeyView struct {
	ID     uuid.UUID      `json:"id" format:"uuid"`
	Scopes []tenant.Scope `json:"scopes" nullable:"false"`
}

func (a *API) getOrganisation(ctx context.Context, who tenant.Identity, _ *struct{}) (*organisationOutput, error) {
	o, err := a.store.Organisation(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	v := organisationView{
		ID: o.ID.UUID, Name: o.Name, CreatedAt: o.CreatedAt, Projects: make([]projectView, len(o.Projects)),
		APIKey: usedKeyView{ID: who.Key, Scopes: who.Scopes},
	}
	for i, p := range o.Projects {
		v.Projects[i] = projectView{ID: p.ID.UUID, Name: p.Name, Slug: p.Slug, PingKey: p.PingKey, PingURL: a.baseURL + "/ping/" + p.PingKey}
	}
	return &organisationOutput{Body: v}, nil
}
