package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Slack connects organisations to Slack workspaces. A missing workspace is a fault of code not_found.
type Slack interface {
	// InstallLink is the address at which a person goes on, until it expires.
	InstallLink(ctx context.Context, org tenant.OrgID) (link string, expires time.Time, err error)
	Workspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error)
	RemoveWorkspace(ctx context.Context, org tenant.OrgID) error
}

func (a *API) slackOperations(h huma.API) {
	tags := []string{"Slack"}
	operation(a, h, huma.Operation{
		OperationID: "get-slack", Method: http.MethodGet, Path: "/api/v1/slack", Tags: tags,
		Summary: "Read the Slack workspace", Description: "The workspace that the organisation's alerts go to, and whether it still lets them in.",
		Errors: []int{http.StatusNotFound},
	}, tenant.ScopeRead, a.getSlack)
	operation(a, h, huma.Operation{
		OperationID: "create-slack-install-link", Method: http.MethodPost, Path: "/api/v1/slack/install-link", Tags: tags,
		Summary:       "Make a link that connects Slack",
		Description:   "Whoever opens it, within ten minutes, may install the app into a workspace of theirs, which then takes the place of the organisation's. It works once.",
		DefaultStatus: http.StatusCreated,
	}, tenant.ScopeWrite, a.createSlackLink)
	operation(a, h, huma.Operation{
		OperationID: "delete-slack", Method: http.MethodDelete, Path: "/api/v1/slack", Tags: tags,
		Summary: "Disconnect the Slack workspace", Description: "Its token is forgotten. Where it served no other organisation, Slack is asked to end the token too.",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, tenant.ScopeWrite, a.deleteSlack)
}

// slackView is a workspace in an answer. Its token is not shown.
type slackView struct {
	TeamID        string     `json:"team_id" doc:"Slack's id of the workspace."`
	TeamName      string     `json:"team_name"`
	Status        string     `json:"status" enum:"connected,revoked" doc:"revoked: the app was removed from the workspace, or its token ended. Install it again."`
	Channel       string     `json:"channel" doc:"Chosen when the app was installed; it takes what names no other. Empty: none."`
	ChannelID     string     `json:"channel_id"`
	BotUserID     string     `json:"bot_user_id"`
	Scopes        []string   `json:"scopes" nullable:"false" doc:"What the app may do in the workspace."`
	InstalledAt   time.Time  `json:"installed_at"`
	InstalledBy   string     `json:"installed_by" doc:"Slack's id of the person."`
	RevokedAt     *time.Time `json:"revoked_at"`
	RevokedReason string     `json:"revoked_reason" doc:"Slack's code, as token_revoked or app_uninstalled. Empty: it is not revoked."`
}

type oneSlack struct {
	Body slackView
}

// slackApp is the app, or a fault where this server has none.
func (a *API) slackApp() (Slack, error) {
	if a.slack == nil {
		return nil, fault.New(fault.Unavailable, "this server has no Slack app: set --slack-client-id, --slack-client-secret and --slack-signing-secret")
	}
	return a.slack, nil
}

func (a *API) getSlack(ctx context.Context, who tenant.Identity, _ *struct{}) (*oneSlack, error) {
	app, err := a.slackApp()
	if err != nil {
		return nil, err
	}
	w, err := app.Workspace(ctx, who.Org)
	if err != nil {
		return nil, noSlack(err)
	}
	v := slackView{
		TeamID: w.TeamID, TeamName: w.TeamName, Status: "connected", Channel: w.Channel, ChannelID: w.ChannelID, BotUserID: w.BotUserID,
		Scopes: w.Scopes, InstalledAt: w.InstalledAt, InstalledBy: w.InstalledBy, RevokedAt: orNull(w.RevokedAt), RevokedReason: w.RevokedReason,
	}
	if w.Revoked() {
		v.Status = "revoked"
	}
	if v.Scopes == nil {
		v.Scopes = []string{}
	}
	return &oneSlack{Body: v}, nil
}

// noSlack says which thing there is not.
func noSlack(err error) error {
	if fault.CodeOf(err) == fault.NotFound {
		return fault.New(fault.NotFound, "no Slack workspace is connected: POST /api/v1/slack/install-link makes a link that connects one")
	}
	return err
}

type slackLinkView struct {
	URL       string    `json:"url" doc:"To be opened in a browser."`
	ExpiresAt time.Time `json:"expires_at"`
}

type oneSlackLink struct {
	Body slackLinkView
}

func (a *API) createSlackLink(ctx context.Context, who tenant.Identity, _ *struct{}) (*oneSlackLink, error) {
	app, err := a.slackApp()
	if err != nil {
		return nil, err
	}
	link, expires, err := app.InstallLink(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	return &oneSlackLink{Body: slackLinkView{URL: link, ExpiresAt: expires.UTC()}}, nil
}

func (a *API) deleteSlack(ctx context.Context, who tenant.Identity, _ *struct{}) (*struct{}, error) {
	app, err := a.slackApp()
	if err != nil {
		return nil, err
	}
	return nil, noSlack(app.RemoveWorkspace(ctx, who.Org))
}
