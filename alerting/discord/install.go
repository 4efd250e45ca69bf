package discord

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"golang.org/x/oauth2"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

const (
	cookie    = "tokiflow_discord"
	stateLife = 10 * time.Minute
)

// Routes adds the pages by which a person connects a channel, and what lists and removes connections:
//
//	GET    /api/discord/install?name=ops   to Discord; scope write, in a browser by basic authentication with the API key as password
//	GET    /api/discord/callback           where Discord sends the browser back
//	GET    /api/discord/connections        scope read
//	DELETE /api/discord/connections/{name} scope write
func (a *App) Routes(r chi.Router) {
	r.Get("/api/discord/install", a.install)
	r.Get("/api/discord/callback", a.callback)
	r.Get("/api/discord/connections", a.list)
	r.Delete("/api/discord/connections/{name}", a.remove)
}

func (a *App) oauth() *oauth2.Config {
	return &oauth2.Config{
		ClientID: a.o.ClientID, ClientSecret: a.o.ClientSecret, Scopes: []string{"webhook.incoming"},
		RedirectURL: a.o.PublicURL + "/api/discord/callback",
		Endpoint: oauth2.Endpoint{
			AuthURL: a.o.API + "/oauth2/authorize", TokenURL: a.o.API + "/api/oauth2/token", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// install sends the browser to Discord with a state that only this browser can bring back, once.
func (a *App) install(w http.ResponseWriter, r *http.Request) {
	who, ok := a.identify(w, r, tenant.ScopeWrite)
	if !ok {
		return
	}
	if a.o.ClientID == "" {
		a.fail(w, r, fault.New(fault.Unavailable, "no application at Discord is set up on this server"))
		return
	}
	name := r.URL.Query().Get("name")
	if !validName(name) {
		a.fail(w, r, fault.New(fault.Invalid, "name the connection: ?name= with 1 to 63 of a-z, 0-9 and -, not - at an end"))
		return
	}
	state, browser := who.Org.String()+"."+rand.Text(), rand.Text()
	now := a.o.Clock()
	err := a.o.Store.AddDiscordState(r.Context(), who.Org, alert.DiscordState{
		Sum: sum(state), Browser: sum(browser), Name: name, ExpiresAt: now.Add(stateLife),
	}, now)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.setCookie(w, browser, int(stateLife.Seconds()))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, a.oauth().AuthCodeURL(state), http.StatusFound)
}

func sum(s string) []byte {
	out := sha256.Sum256([]byte(s))
	return out[:]
}

func (a *App) setCookie(w http.ResponseWriter, value string, seconds int) {
	under := "/api/discord"
	if u, err := url.Parse(a.o.PublicURL); err == nil {
		under = u.Path + under // a proxy may serve it below a path
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS
		Name: cookie, Value: value, Path: under, MaxAge: seconds, HttpOnly: true,
		Secure: strings.HasPrefix(a.o.PublicURL, "https://"), SameSite: http.SameSiteLaxMode,
	})
}

// callback takes the browser back. The page says what came of it.
func (a *App) callback(w http.ResponseWriter, r *http.Request) {
	a.setCookie(w, "", -1)
	name, channel, err := a.connect(r)
	status, text := http.StatusOK, "Connected. In the alerting configuration use discord_app_configs: [{connection: "+name+"}] to post as "+channel+"."
	if err != nil {
		status, text = statusOf(err), fault.MessageOf(err)
		if text == "" {
			text = "Something went wrong on our side; it is in the server's log."
			a.o.Logger.ErrorContext(r.Context(), "alerting: Discord cannot be connected", "error", err)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<!doctype html><title>Discord</title><p>" + html.EscapeString(text) + "</p>\n")) // the browser may be gone
}

// connect checks the state, trades the code for a webhook and keeps it.
func (a *App) connect(r *http.Request) (name, channel string, err error) {
	q := r.URL.Query()
	id, _, ok := strings.Cut(q.Get("state"), ".")
	org, errID := uuid.Parse(id)
	browser, errCookie := r.Cookie(cookie)
	again := fault.New(fault.Invalid, "This was not begun in this browser, has expired or was done before. Begin again at /api/discord/install.")
	if !ok || errID != nil || errCookie != nil || a.o.ClientID == "" {
		return "", "", again
	}
	orgID := tenant.OrgID{UUID: org}
	begun, err := a.o.Store.TakeDiscordState(r.Context(), orgID, sum(q.Get("state")), sum(browser.Value))
	if fault.CodeOf(err) == fault.NotFound {
		return "", "", again
	}
	if err != nil {
		return "", "", err
	}
	if !a.o.Clock().Before(begun.ExpiresAt) {
		return "", "", again
	}
	if q.Get("error") != "" || q.Get("code") == "" {
		return "", "", fault.New(fault.Forbidden, "Discord did not allow it: nothing is connected.")
	}
	c, err := a.exchange(r.Context(), q.Get("code"))
	if err != nil {
		return "", "", err
	}
	sealed, err := a.o.Box.Seal([]byte(c.URL), about(orgID, begun.Name))
	if err != nil {
		return "", "", err
	}
	err = a.o.Store.PutDiscordConnection(r.Context(), orgID, alert.DiscordConnection{
		Name: begun.Name, WebhookID: c.ID, WebhookName: c.Name, ChannelID: c.ChannelID, GuildID: c.GuildID,
		Sealed: sealed, ConnectedAt: a.o.Clock(),
	})
	return begun.Name, c.Name, err
}

// made is the webhook that Discord made.
type made struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	ChannelID string `json:"channel_id"`
	GuildID   string `json:"guild_id"`
	URL       string `json:"url"`
}

// exchange trades a code. Its errors hold neither code nor secret: x/oauth2's would have Discord's answer in them.
func (a *App) exchange(ctx context.Context, code string) (made, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, a.o.Client), 10*time.Second)
	defer cancel()
	token, err := a.oauth().Exchange(ctx, code)
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil && refused.Response.StatusCode < 500 {
			a.o.Logger.WarnContext(ctx, "alerting: Discord refused a code", "status", refused.Response.StatusCode, "code", refused.ErrorCode)
			return made{}, fault.New(fault.Invalid, "Discord refused the code. Begin again at /api/discord/install.")
		}
		return made{}, fault.New(fault.Unavailable, "Discord did not answer. Begin again at /api/discord/install.")
	}
	var m made
	raw, err := json.Marshal(token.Extra("webhook"))
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil || m.ID == "" || !a.ours(m.URL) {
		return made{}, fault.New(fault.Invalid, "Discord made no webhook. Begin again at /api/discord/install.")
	}
	if u, err := url.Parse(m.URL); err == nil { // ours read it: it can be
		u.RawQuery = ""
		m.URL = u.String()
	}
	return m, nil
}

// connection is one in a list.
type connection struct {
	Name        string    `json:"name"`
	WebhookName string    `json:"webhook_name"`
	ChannelID   string    `json:"channel_id"`
	GuildID     string    `json:"guild_id"`
	ConnectedAt time.Time `json:"connected_at"`
}

func (a *App) list(w http.ResponseWriter, r *http.Request) {
	who, ok := a.identify(w, r, tenant.ScopeRead)
	if !ok {
		return
	}
	all, err := a.o.Store.DiscordConnections(r.Context(), who.Org)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	items := make([]connection, len(all))
	for i, c := range all {
		items[i] = connection{c.Name, c.WebhookName, c.ChannelID, c.GuildID, c.ConnectedAt.UTC()}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items}) // the client may be gone
}

func (a *App) remove(w http.ResponseWriter, r *http.Request) {
	who, ok := a.identify(w, r, tenant.ScopeWrite)
	if !ok {
		return
	}
	if err := a.o.Store.DeleteDiscordConnection(r.Context(), who.Org, chi.URLParam(r, "name")); err != nil {
		a.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// identify answers itself where it returns false.
func (a *App) identify(w http.ResponseWriter, r *http.Request, scope tenant.Scope) (tenant.Identity, bool) {
	who, err := a.o.Keys.Request(r, scope)
	if err != nil {
		if fault.CodeOf(err) == fault.Unauthenticated {
			auth.Challenge(w.Header())
		}
		a.fail(w, r, err)
		return who, false
	}
	return who, true
}

func statusOf(err error) int {
	switch fault.CodeOf(err) {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// fail answers as the API does (RFC 9457).
func (a *App) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := statusOf(err), fault.MessageOf(err)
	if detail == "" {
		detail = "something went wrong on our side; it is in the server's log"
		a.o.Logger.ErrorContext(r.Context(), "alerting: a request about Discord failed", "error", err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
