package slack_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/slack"
)

// page is an answer that was read.
type page struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    string
}

// get asks for a page with the cookies given.
func (b *bundle) get(address string, header http.Header, cookies ...*http.Cookie) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	for _, c := range cookies {
		req.AddCookie(c)
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var sb strings.Builder
	if _, err := copyAll(&sb, res.Body); err != nil {
		b.t.Fatal(err)
	}
	return page{res.StatusCode, res.Header, res.Cookies(), sb.String()}
}

const grant = `{"ok":true,"access_token":"xoxb-fresh","token_type":"bot","scope":"chat:write,commands","bot_user_id":"U0BOT","app_id":"A1",
	"team":{"id":"T0ACME","name":"Acme <b>Inc</b>"},"authed_user":{"id":"U0ADA"},
	"incoming_webhook":{"channel":"#alerts","channel_id":"C0ALERTS","url":"https://hooks.slack.com/services/x"}}`

// begin begins an installation and returns its state and cookie.
func (b *bundle) begin(key string) (state string, cookie *http.Cookie) {
	b.t.Helper()
	res := b.get(b.server.URL+"/api/slack/install", http.Header{"Authorization": {"Bearer " + key}})
	if res.status != http.StatusFound {
		b.t.Fatalf("%d", res.status)
	}
	to, err := url.Parse(res.header.Get("Location"))
	if err != nil {
		b.t.Fatal(err)
	}
	return to.Query().Get("state"), res.cookies[0]
}

func (b *bundle) callback(cookie *http.Cookie, query url.Values) (int, string) {
	b.t.Helper()
	var cookies []*http.Cookie
	if cookie != nil {
		cookies = append(cookies, cookie)
	}
	res := b.get(b.server.URL+"/api/slack/callback?"+query.Encode(), nil, cookies...)
	return res.status, res.body
}

func TestInstallWithAKey(t *testing.T) {
	b := newBundle(t)
	b.slack.oauth = func(form url.Values) string {
		if form.Get("client_secret") != "client-secret" || form.Get("code") != "good" || form.Get("redirect_uri") != b.server.URL+"/api/slack/callback" {
			t.Errorf("%v", form)
		}
		return grant
	}
	res := b.get(b.server.URL+"/api/slack/install", http.Header{"X-Api-Key": {"acme-write"}})
	to := res.header.Get("Location")
	has(t, to, "https://slack.example/authorize?", "client_id=1.2", "chat%3Awrite", url.QueryEscape(b.server.URL+"/api/slack/callback"))

	state, cookie := b.begin("acme-write")
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("%+v", cookie)
	}
	status, page := b.callback(cookie, url.Values{"state": {state}, "code": {"good"}})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	has(t, page, "Acme &lt;b&gt;Inc&lt;/b&gt;", "#alerts")
	w, err := b.app.Workspace(t.Context(), b.a)
	if err != nil || w.TeamID != "T0ACME" || w.ChannelID != "C0ALERTS" || w.BotUserID != "U0BOT" || w.InstalledBy != "U0ADA" || len(w.Scopes) != 2 {
		t.Errorf("%+v %v", w, err)
	}
	if strings.Contains(string(w.Sealed[:40]), "xoxb") {
		t.Error("the token is not sealed")
	}

	// The state works once.
	status, page = b.callback(cookie, url.Values{"state": {state}, "code": {"good"}})
	if status != http.StatusBadRequest {
		t.Errorf("%d", status)
	}
	has(t, page, "works once")

	// A second installation takes the place of the first.
	b.slack.oauth = func(url.Values) string { return strings.ReplaceAll(grant, "T0ACME", "T0NEW") }
	state, cookie = b.begin("acme-write")
	if status, page = b.callback(cookie, url.Values{"state": {state}, "code": {"good"}}); status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	if w, _ = b.app.Workspace(t.Context(), b.a); w.TeamID != "T0NEW" {
		t.Errorf("%+v", w)
	}
}

func TestInstallWithALink(t *testing.T) {
	b := newBundle(t)
	b.slack.oauth = func(url.Values) string { return grant }
	b.store.orgs[b.a] = "<script>alert(1)</script>"
	link, expires, err := b.app.InstallLink(t.Context(), b.a)
	if err != nil || expires.IsZero() {
		t.Fatal(err)
	}
	res := b.get(link, nil)
	if res.status != http.StatusOK || len(res.cookies) != 1 {
		t.Fatalf("%d %s", res.status, res.body)
	}
	has(t, res.body, "&lt;script&gt;", "https://slack.example/authorize?")
	hasNot(t, res.body, "<script>")
	has(t, res.header.Get("Content-Security-Policy"), "default-src 'none'")
	u, _ := url.Parse(link)
	status, page := b.callback(res.cookies[0], url.Values{"state": {u.Query().Get("state")}, "code": {"x"}})
	if status != http.StatusOK {
		t.Errorf("%d %s", status, page)
	}
}

func TestInstallationsThatDoNotGoOn(t *testing.T) {
	b := newBundle(t)
	b.slack.oauth = func(url.Values) string { return grant }
	state, cookie := b.begin("acme-write")
	_, other := b.begin("globex-write")
	for name, c := range map[string]struct {
		cookie *http.Cookie
		query  url.Values
		says   string
	}{
		"no state":           {cookie, url.Values{"code": {"x"}}, "not valid any more"},
		"a made-up state":    {cookie, url.Values{"state": {strings.Repeat("A", 120)}, "code": {"x"}}, "not valid any more"},
		"a very long state":  {cookie, url.Values{"state": {strings.Repeat("A", 5000)}}, "not valid any more"},
		"a changed state":    {cookie, url.Values{"state": {state[:len(state)-2] + "AA"}, "code": {"x"}}, "not valid any more"},
		"another browser":    {nil, url.Values{"state": {state}, "code": {"x"}}, "another browser"},
		"another's cookie":   {other, url.Values{"state": {state}, "code": {"x"}}, "another browser"},
		"not base64 at all":  {cookie, url.Values{"state": {"<b>"}}, "not valid any more"},
		"sealed for another": {cookie, url.Values{"state": {string(b.connect(b.b, "T9").Sealed)}}, "not valid any more"},
	} {
		status, page := b.callback(c.cookie, c.query)
		if status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
		has(t, page, c.says)
	}
	if _, err := b.app.Workspace(t.Context(), b.a); err == nil {
		t.Error("a workspace was stored")
	}
	status, page := b.callback(cookie, url.Values{"state": {state}, "error": {"access_denied<script>"}})
	if status != http.StatusBadRequest {
		t.Errorf("%d", status)
	}
	has(t, page, "access_denied&lt;script&gt;")
	hasNot(t, page, "<script>")
}

func TestWhatSlackSaysToTheExchange(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		says   string
	}{
		"an old code":   {`{"ok":false,"error":"code_already_used"}`, 400, "code_already_used"},
		"a bad secret":  {`{"ok":false,"error":"bad_client_secret"}`, 400, "client id, secret"},
		"markup":        {`{"ok":false,"error":"<img src=x>"}`, 400, "&lt;img src=x&gt;"},
		"enterprise":    {`{"ok":true,"access_token":"xoxb","is_enterprise_install":true,"enterprise":{"id":"E1"}}`, 400, "choose a workspace"},
		"no token":      {`{"ok":true,"team":{"id":"T1","name":"x"}}`, 400, "no lasting token"},
		"rotating":      {`{"ok":true,"access_token":"xoxe","refresh_token":"r","team":{"id":"T1","name":"x"}}`, 400, "token rotation must be off"},
		"not JSON":      {`<html>`, 503, "could not be reached"},
		"empty":         {``, 503, "could not be reached"},
		"ok is missing": {`{}`, 400, "choose a workspace"},
	} {
		b := newBundle(t)
		b.slack.oauth = func(url.Values) string { return c.answer }
		state, cookie := b.begin("acme-write")
		status, page := b.callback(cookie, url.Values{"state": {state}, "code": {"x"}})
		if status != c.status {
			t.Errorf("%s: %d", name, status)
		}
		has(t, page, c.says)
		hasNot(t, page, "client-secret", "xoxb")
		if _, err := b.app.Workspace(t.Context(), b.a); err == nil {
			t.Errorf("%s: a workspace was stored", name)
		}
	}
}

func TestWhoMayInstall(t *testing.T) {
	b := newBundle(t)
	for key, want := range map[string]int{"acme-read": http.StatusForbidden, "nobody": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		res := b.get(b.server.URL+"/api/slack/install", http.Header{"X-Api-Key": {key}})
		if res.status != want || want == http.StatusUnauthorized && !strings.Contains(fmt.Sprint(res.header["Www-Authenticate"]), "Basic") {
			t.Errorf("%q: %d %v", key, res.status, res.header)
		}
	}
	b.store.down = true
	if res := b.get(b.server.URL+"/api/slack/install", http.Header{"X-Api-Key": {"acme-write"}}); res.status != http.StatusServiceUnavailable {
		t.Errorf("%d", res.status)
	}
}

func TestRemoveWorkspace(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0BOTH")
	b.connect(b.b, "T0BOTH")
	if err := b.app.RemoveWorkspace(t.Context(), b.a); err != nil || b.slack.called("auth.revoke") != 0 {
		t.Errorf("%v: the token still serves another organisation", err)
	}
	if err := b.app.RemoveWorkspace(t.Context(), b.b); err != nil || b.slack.called("auth.revoke") != 1 {
		t.Errorf("%v: the token was not ended", err)
	}
	if err := b.app.RemoveWorkspace(t.Context(), b.b); err == nil {
		t.Error("it was removed twice")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := slack.New(slack.Options{}); err == nil {
		t.Error("an app of nothing was made")
	}
	if _, err := slack.New(slack.Options{ClientID: "1", ClientSecret: "2", SigningSecret: "3"}); err == nil || !strings.Contains(err.Error(), "base URL") {
		t.Errorf("%v", err)
	}
}
