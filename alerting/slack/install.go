package slack

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

const (
	stateLife = 10 * time.Minute
	// stateCookie ties an installation to the browser that began it.
	stateCookie = "tokiflow_slack_install"
)

// Scopes are what the app asks for in a workspace.
func Scopes() []string {
	return []string{"chat:write", "chat:write.public", "channels:join", "channels:read", "commands", "incoming-webhook", "users:read"}
}

// state is an installation that was begun, as it goes to Slack and comes back: sealed, so nobody else can make or change one.
type state struct {
	Org     tenant.OrgID `json:"org"`
	Nonce   uuid.UUID    `json:"nonce"`
	Expires int64        `json:"expires"` // Unix seconds
}

func aboutState() []byte { return []byte("slack installation state") }

// InstallLink begins an installation and returns the address at which a person goes on with it, until it expires.
func (a *App) InstallLink(ctx context.Context, org tenant.OrgID) (link string, expires time.Time, err error) {
	text, expires, err := a.begin(ctx, org)
	if err != nil {
		return "", time.Time{}, err
	}
	return a.o.BaseURL + "/api/slack/install?" + url.Values{"state": {text}}.Encode(), expires, nil
}

func (a *App) begin(ctx context.Context, org tenant.OrgID) (text string, expires time.Time, err error) {
	nonce, err := uuid.NewRandom()
	if err != nil {
		return "", time.Time{}, err
	}
	expires = a.o.Clock().Add(stateLife).Truncate(time.Second)
	plain, err := json.Marshal(state{Org: org, Nonce: nonce, Expires: expires.Unix()})
	if err != nil {
		return "", time.Time{}, err
	}
	sealed, err := a.o.Box.Seal(plain, aboutState())
	if err != nil {
		return "", time.Time{}, err
	}
	if err := a.o.Once.PutSlackState(ctx, org, nonce, expires); err != nil {
		return "", time.Time{}, err
	}
	return base64.RawURLEncoding.EncodeToString(sealed), expires, nil
}

// errState is what a person is told of a state that is not good, whatever is wrong with it.
var errState = fault.New(fault.Invalid, "This link is not valid any more: it works once and for ten minutes. Begin again.")

// maxState bounds what is opened.
const maxState = 2000

func (a *App) readState(text string) (state, error) {
	if len(text) > maxState {
		return state{}, errState
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return state{}, errState
	}
	plain, err := a.o.Box.Open(sealed, aboutState())
	if err != nil {
		return state{}, errState
	}
	var s state
	if err := json.Unmarshal(plain, &s); err != nil || a.o.Clock().Unix() >= s.Expires {
		return state{}, errState
	}
	return s, nil
}

// authorizeURL is where Slack asks the person.
func (a *App) authorizeURL(text string) string {
	return a.o.AuthorizeURL + "?" + url.Values{
		"client_id": {a.o.ClientID}, "scope": {strings.Join(Scopes(), ",")}, "redirect_uri": {a.redirectURI()}, "state": {text},
	}.Encode()
}

func (a *App) redirectURI() string { return a.o.BaseURL + "/api/slack/callback" }

// install sends a person to Slack: at once where the request has an API key of scope write (a browser asks for it as a password),
// and with a link, after saying for which organisation, where it has a state of InstallLink's.
func (a *App) install(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("state")
	if text == "" {
		who, err := a.o.Keys.Request(r, tenant.ScopeWrite)
		if err != nil {
			if fault.CodeOf(err) == fault.Unauthenticated {
				auth.Challenge(w.Header())
			}
			a.sorry(w, r, err)
			return
		}
		if text, _, err = a.begin(r.Context(), who.Org); err != nil {
			a.sorry(w, r, err)
			return
		}
		a.setCookie(w, text)
		http.Redirect(w, r, a.authorizeURL(text), http.StatusFound)
		return
	}
	s, err := a.readState(text)
	if err != nil {
		a.sorry(w, r, err)
		return
	}
	org, err := a.o.Monitors.Organisation(r.Context(), s.Org)
	if err != nil {
		a.sorry(w, r, err)
		return
	}
	a.setCookie(w, text)
	a.page(w, http.StatusOK, pageData{
		Title: "Connect Slack", Text: "The alerts of the organisation “" + org.Name + "” will go to a Slack workspace of your choice, and whoever is in " +
			"its channels can acknowledge and silence them. Go on only if this is your organisation.",
		Link: a.authorizeURL(text), LinkText: "Go on to Slack",
	})
}

func (a *App) setCookie(w http.ResponseWriter, text string) {
	under := "/api/slack"
	if u, err := url.Parse(a.o.BaseURL); err == nil {
		under = u.Path + under // a proxy may serve it below a path
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS
		Name: stateCookie, Value: digestOfState(text), Path: under, MaxAge: int(stateLife / time.Second), HttpOnly: true,
		Secure: strings.HasPrefix(a.o.BaseURL, "https://"), SameSite: http.SameSiteLaxMode, // it comes back by a link on Slack's page
	})
}

func digestOfState(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// callback completes an installation.
func (a *App) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	text := q.Get("state")
	s, err := a.readState(text)
	if err != nil {
		a.sorry(w, r, err)
		return
	}
	cookie, err := r.Cookie(stateCookie)
	if err != nil || subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(digestOfState(text))) != 1 {
		a.sorry(w, r, fault.New(fault.Invalid, "This installation was begun in another browser. Begin again in this one."))
		return
	}
	if ok, err := a.o.Once.TakeSlackState(r.Context(), s.Org, s.Nonce); err != nil || !ok {
		if err == nil {
			err = errState
		}
		a.sorry(w, r, err)
		return
	}
	if said := q.Get("error"); said != "" {
		what := "Slack said: " + said + ". Nothing was changed."
		if said == "access_denied" {
			what = "You did not let the app into the workspace. Nothing was changed."
		}
		a.sorry(w, r, fault.New(fault.Invalid, what))
		return
	}
	workspace, err := a.exchange(r.Context(), s.Org, q.Get("code"))
	if err != nil {
		a.sorry(w, r, err)
		return
	}
	a.o.Logger.InfoContext(r.Context(), "slack: installed", "org", s.Org, "team", workspace.TeamID)
	what := "Tokiflow is installed in the workspace “" + workspace.TeamName + "”."
	if workspace.Channel != "" {
		what += " Alerts go to " + workspace.Channel + " where a receiver of slack_app_configs names no other channel."
	}
	a.page(w, http.StatusOK, pageData{Title: "Slack is connected", Text: what + " Type /pulse help in Slack."})
}

// exchange makes the code a token, and the workspace the organisation's.
func (a *App) exchange(ctx context.Context, org tenant.OrgID, code string) (alert.Workspace, error) {
	if code == "" {
		return alert.Workspace{}, fault.New(fault.Invalid, "Slack sent no code. Begin again.")
	}
	const method = "oauth.v2.access"
	answer, err := slack.GetOAuthV2ResponseContext(ctx, teamClient{a.http, ""}, a.o.ClientID, a.o.ClientSecret, code, a.redirectURI(),
		slack.OAuthOptionAPIURL(a.o.APIURL))
	if err = asCallError(method, err); err != nil {
		return alert.Workspace{}, exchangeFault(err)
	}
	if answer.IsEnterpriseInstall || answer.Team.ID == "" {
		return alert.Workspace{}, fault.New(fault.Invalid, "The app is installed in one workspace, not in a whole Enterprise organisation. Begin again and choose a workspace.")
	}
	if answer.AccessToken == "" || answer.RefreshToken != "" {
		return alert.Workspace{}, fault.New(fault.Invalid, "Slack sent no lasting token: token rotation must be off in the app's settings, and the bot scopes must be asked for.")
	}
	w := alert.Workspace{
		Org: org, TeamID: answer.Team.ID, TeamName: answer.Team.Name, AppID: answer.AppID, BotUserID: answer.BotUserID,
		Scopes: splitScopes(answer.Scope), Channel: answer.IncomingWebhook.Channel, ChannelID: answer.IncomingWebhook.ChannelID,
		InstalledBy: answer.AuthedUser.ID, InstalledAt: a.o.Clock().UTC().Truncate(time.Microsecond),
	}
	if w.Sealed, err = a.o.Box.Seal([]byte(answer.AccessToken), w.About()); err != nil {
		return alert.Workspace{}, err
	}
	return w, a.o.Workspaces.PutSlackWorkspace(ctx, org, w)
}

// exchangeFault says of a failed exchange what a person can do.
func exchangeFault(err error) error {
	call, ok := errors.AsType[*callError](err)
	switch {
	case ok && (call.code == "invalid_code" || call.code == "code_already_used" || call.code == "code_expired"):
		return &fault.Error{Code: fault.Invalid, Message: "Slack's code is not valid any more (" + call.code + "). Begin again.", Err: err}
	case ok && call.code != "":
		return &fault.Error{Code: fault.Invalid, Message: "Slack refused the installation (" + call.code + "): check the app's client id, secret and redirect URL.", Err: err}
	}
	return &fault.Error{Code: fault.Unavailable, Message: "Slack could not be reached. Begin again in a moment.", Err: err}
}

func splitScopes(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// Workspace is the organisation's; none is a fault of code not_found.
func (a *App) Workspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error) {
	return a.o.Workspaces.SlackWorkspace(ctx, org)
}

// RemoveWorkspace forgets the organisation's workspace. Where it served no other, Slack is asked to end the token too.
func (a *App) RemoveWorkspace(ctx context.Context, org tenant.OrgID) error {
	w, err := a.o.Workspaces.DeleteSlackWorkspace(ctx, org)
	if err != nil {
		return err
	}
	if err := a.endToken(ctx, w); err != nil {
		a.o.Logger.WarnContext(ctx, "slack: the token of a removed workspace could not be ended: remove the app in Slack", "org", org, "team", w.TeamID, "error", err)
	}
	return nil
}

// endToken asks Slack to end the token of a removed workspace, which all organisations in the workspace share.
func (a *App) endToken(ctx context.Context, w alert.Workspace) error {
	others, err := a.o.Workspaces.SlackTeam(ctx, w.TeamID)
	if err != nil || len(others) > 0 || w.Revoked() {
		return err
	}
	c, err := a.callerOf(w)
	if err != nil {
		return err
	}
	_, err = c.api.SendAuthRevokeContext(ctx, "")
	return asCallError("auth.revoke", err)
}
