package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Keys makes, lists and revokes API keys. by is the key of the request: what it may do is looked up anew.
type Keys interface {
	CreateAPIKey(ctx context.Context, org tenant.OrgID, by uuid.UUID, name string, scopes []tenant.Scope) (k inventory.APIKey, clearKey string, err error)
	APIKeys(ctx context.Context, org tenant.OrgID, after uuid.UUID, limit int) ([]inventory.APIKey, error)
	RevokeAPIKey(ctx context.Context, org tenant.OrgID, id, by uuid.UUID) error
}

func (a *API) apiKeyOperations(h huma.API) {
	tags := []string{"API keys"}
	operation(a, h, huma.Operation{
		OperationID: "list-api-keys", Method: http.MethodGet, Path: "/api/v1/api-keys", Tags: tags,
		Summary: "List API keys", Description: "As they were made, the revoked ones too. The keys themselves cannot be read again.",
	}, tenant.ScopeRead, a.listAPIKeys)
	operation(a, h, huma.Operation{
		OperationID: "create-api-key", Method: http.MethodPost, Path: "/api/v1/api-keys", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Make an API key", Description: "The answer alone has the key itself: it is kept hashed. " +
			"A key grants only scopes that it has itself. An organisation may have 100 keys that are not revoked.",
	}, tenant.ScopeWrite, a.createAPIKey)
	operation(a, h, huma.Operation{
		OperationID: "revoke-api-key", Method: http.MethodDelete, Path: "/api/v1/api-keys/{id}", Tags: tags,
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusConflict},
		Summary: "Revoke an API key", Description: "For good, within 3 seconds, and again without effect. " +
			"The last key with the scope write is a conflict: without it no other could be made.",
	}, tenant.ScopeWrite, a.revokeAPIKey)
}

// maxKeyName is how many bytes a key's name may have.
const maxKeyName = 100

// apiKeyFields is what a person says of a key.
type apiKeyFields struct {
	Name   string         `json:"name" minLength:"1" maxLength:"100" doc:"Who has it; 1 to 100 bytes." example:"prometheus"`
	Scopes []tenant.Scope `json:"scopes" nullable:"false" minItems:"1" uniqueItems:"true" enum:"read,write,ping,metrics,samples" doc:"What it may do."`
}

// apiKeyView is a key in an answer.
type apiKeyView struct {
	ID        uuid.UUID      `json:"id" format:"uuid"`
	Name      string         `json:"name"`
	Prefix    string         `json:"prefix" doc:"The key's first characters, to tell it from others."`
	Scopes    []tenant.Scope `json:"scopes" nullable:"false" enum:"read,write,ping,metrics,samples"`
	CreatedAt time.Time      `json:"created_at"`
	RevokedAt *time.Time     `json:"revoked_at" doc:"null: it is not."`
}

// newKeyView is a key just made.
type newKeyView struct {
	ID        uuid.UUID      `json:"id" format:"uuid"`
	Name      string         `json:"name"`
	Key       string         `json:"key" doc:"The key itself. It is not shown again."`
	Prefix    string         `json:"prefix" doc:"Its first characters, to tell it from others."`
	Scopes    []tenant.Scope `json:"scopes" nullable:"false" enum:"read,write,ping,metrics,samples"`
	CreatedAt time.Time      `json:"created_at"`
}

func viewAPIKey(k inventory.APIKey) apiKeyView {
	return apiKeyView{ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, CreatedAt: k.CreatedAt, RevokedAt: k.RevokedAt}
}

type listAPIKeysInput struct{ Paging }

func (a *API) listAPIKeys(ctx context.Context, who tenant.Identity, in *listAPIKeysInput) (*list[apiKeyView], error) {
	const of = "api-keys"
	c, err := decodeCursor(of, in.Cursor)
	if err != nil {
		return nil, err
	}
	rows, err := a.store.APIKeys(ctx, who.Org, c.ID, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewAPIKey, func(k inventory.APIKey) cursor { return cursor{Of: of, ID: k.ID} })
}

type createAPIKeyInput struct {
	Body apiKeyFields
}

type madeAPIKey struct {
	CacheControl string `header:"Cache-Control"`
	Body         newKeyView
}

func (a *API) createAPIKey(ctx context.Context, who tenant.Identity, in *createAPIKeyInput) (*madeAPIKey, error) {
	var v violations
	name := in.Body.Name
	switch {
	case len(name) > maxKeyName:
		v.add("body.name", fmt.Sprintf("must have 1 to %d bytes", maxKeyName), nil)
	case strings.ContainsFunc(name, unicode.IsControl):
		v.add("body.name", "must not have control characters", nil)
	case name == tenant.GivenKeyName:
		v.add("body.name", "is the name of the key that --bootstrap-api-key gives: choose another", nil)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	k, clearKey, err := a.store.CreateAPIKey(ctx, who.Org, who.Key, name, in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "api: an API key was made", "org", who.Org, "id", k.ID, "scopes", k.Scopes, "by", who.Key)
	return &madeAPIKey{
		CacheControl: "no-store",
		Body:         newKeyView{ID: k.ID, Name: k.Name, Key: clearKey, Prefix: k.Prefix, Scopes: k.Scopes, CreatedAt: k.CreatedAt},
	}, nil
}

type apiKeyID struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The API key's id."`
}

func (a *API) revokeAPIKey(ctx context.Context, who tenant.Identity, in *apiKeyID) (*struct{}, error) {
	if err := a.store.RevokeAPIKey(ctx, who.Org, in.ID, who.Key); err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "api: an API key is revoked", "org", who.Org, "id", in.ID, "by", who.Key)
	return nil, nil
}
