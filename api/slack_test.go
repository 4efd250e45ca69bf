package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// slackApp is an app that knows workspaces.
type slackApp map[tenant.OrgID]alert.Workspace

func (s slackApp) InstallLink(_ context.Context, org tenant.OrgID) (string, time.Time, error) {
	return "https://tokiflow.example.com/api/slack/install?state=" + org.String(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), nil
}

func (s slackApp) Workspace(_ context.Context, org tenant.OrgID) (alert.Workspace, error) {
	w, ok := s[org]
	if !ok {
		return w, fault.New(fault.NotFound, "there is no such thing")
	}
	return w, nil
}

func (s slackApp) RemoveWorkspace(ctx context.Context, org tenant.OrgID) error {
	_, err := s.Workspace(ctx, org)
	delete(s, org)
	return err
}

func TestSlack(t *testing.T) {
	app := slackApp{}
	s := newBundle(t, func(o *api.Options) { o.Slack = app })
	const path = "/api/v1/slack"
	none := s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusNotFound)
	if !strings.Contains(string(none.raw), "install-link") {
		t.Errorf("%s", none.raw)
	}
	app[s.a.org] = alert.Workspace{
		Org: s.a.org, TeamID: "T1", TeamName: "Acme", Channel: "#ops", ChannelID: "C1", BotUserID: "U1", Scopes: []string{"chat:write"},
		Sealed: []byte("hidden"), InstalledBy: "U2", InstalledAt: time.Unix(1, 0).UTC(),
	}
	v := s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)
	if v.body["status"] != "connected" || v.body["team_name"] != "Acme" || v.body["channel"] != "#ops" || v.body["revoked_at"] != nil || strings.Contains(string(v.raw), "hidden") {
		t.Errorf("%s", v.raw)
	}
	s.do(s.b.read, http.MethodGet, path, nil).want(http.StatusNotFound)
	s.do(s.b.write, http.MethodDelete, path, nil).want(http.StatusNotFound)

	w := app[s.a.org]
	w.RevokedAt, w.RevokedReason = time.Unix(2, 0).UTC(), "token_revoked"
	app[s.a.org] = w
	v = s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)
	if v.body["status"] != "revoked" || v.body["revoked_reason"] != "token_revoked" || v.body["revoked_at"] == nil {
		t.Errorf("%s", v.raw)
	}

	link := s.do(s.a.write, http.MethodPost, path+"/install-link", nil).want(http.StatusCreated)
	if link.body["url"] != "https://tokiflow.example.com/api/slack/install?state="+s.a.org.String() || link.body["expires_at"] != "2026-11-01T12:00:00Z" {
		t.Errorf("%s", link.raw)
	}
	s.do(s.a.read, http.MethodPost, path+"/install-link", nil).want(http.StatusForbidden)
	s.do(s.a.read, http.MethodDelete, path, nil).want(http.StatusForbidden)
	s.do("", http.MethodGet, path, nil).want(http.StatusUnauthorized)
	s.do(s.a.write, http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.do(s.a.write, http.MethodDelete, path, nil).want(http.StatusNotFound)
}

func TestSlackWhereThereIsNoApp(t *testing.T) {
	s := newBundle(t)
	for method, path := range map[string]string{http.MethodGet: "/api/v1/slack", http.MethodDelete: "/api/v1/slack", http.MethodPost: "/api/v1/slack/install-link"} {
		a := s.do(s.a.all, method, path, nil).want(http.StatusServiceUnavailable)
		if !strings.Contains(string(a.raw), "--slack-client-id") {
			t.Errorf("%s", a.raw)
		}
	}
}
