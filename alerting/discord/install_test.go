package discord_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/discord"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// story is an installation, Discord, and a browser.
type story struct {
	t       *testing.T
	org     tenant.OrgID
	store   *memory
	app     *discord.App
	box     *seal.Box
	ours    *httptest.Server
	discord *httptest.Server
	browser *http.Client

	mu     sync.Mutex
	now    time.Time
	token  func(w http.ResponseWriter, r *http.Request) // what Discord's token URL does
	posted []map[string]any
	answer func(w http.ResponseWriter)
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, org: tenant.OrgID{UUID: uuid.New()}, store: &memory{connections: map[string]alert.DiscordConnection{}, states: map[string]alert.DiscordState{}}, now: time.Now()}
	var err error
	if s.box, err = seal.New(bytes.Repeat([]byte{5}, seal.KeySize)); err != nil {
		t.Fatal(err)
	}
	s.discord = httptest.NewServer(http.HandlerFunc(s.serveDiscord))
	t.Cleanup(s.discord.Close)
	s.token = s.giveWebhook
	r := chi.NewRouter()
	s.ours = httptest.NewServer(r)
	t.Cleanup(s.ours.Close)
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.app, err = discord.New(discord.Options{
		Store: s.store, Box: s.box, Client: client, Keys: auth.NewKeys(keys{s.org}, nil), ClientID: "client", ClientSecret: "hidden-secret",
		PublicURL: s.ours.URL, API: s.discord.URL, Clock: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.app.Routes(r)
	s.browser = s.newBrowser()
	return s
}

// newBrowser keeps cookies and does not follow: the test looks at where it is sent.
func (s *story) newBrowser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func (s *story) serveDiscord(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/api/oauth2/token" {
		s.token(w, r)
		return
	}
	var m map[string]any
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.URL.Path != "/api/webhooks/11/hidden-token" || r.URL.Query().Get("wait") != "true" {
		s.t.Errorf("%s: %v", r.URL, err)
	}
	s.posted = append(s.posted, m)
	if s.answer != nil {
		s.answer(w)
	}
}

func (s *story) giveWebhook(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("code") != "good" || r.PostFormValue("client_secret") != "hidden-secret" || r.PostFormValue("redirect_uri") != s.ours.URL+"/api/discord/callback" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "x", "token_type": "Bearer", "expires_in": 604800, "scope": "webhook.incoming", "webhook": map[string]any{
			"id": "11", "name": "Tokiflow", "channel_id": "22", "guild_id": "33", "token": "hidden-token", "url": s.discord.URL + "/api/webhooks/11/hidden-token",
		},
	})
}

// get asks our server.
func (s *story) get(browser *http.Client, path, key string) (status int, location *url.URL, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.ours.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		req.SetBasicAuth("", key)
	}
	res, err := browser.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	location, _ = res.Location()
	return res.StatusCode, location, string(b)
}

// begin sends the browser to Discord and returns the state.
func (s *story) begin(browser *http.Client, name string) string {
	s.t.Helper()
	status, location, body := s.get(browser, "/api/discord/install?name="+name, "tkf_write")
	if status != http.StatusFound {
		s.t.Fatalf("%d: %s", status, body)
	}
	q := location.Query()
	if location.Path != "/oauth2/authorize" || q.Get("scope") != "webhook.incoming" || q.Get("client_id") != "client" || q.Get("response_type") != "code" ||
		q.Get("redirect_uri") != s.ours.URL+"/api/discord/callback" || len(q.Get("state")) < 60 || strings.Contains(location.String(), "hidden") {
		s.t.Fatalf("%s", location)
	}
	return url.QueryEscape(q.Get("state"))
}

func TestAChannelIsConnected(t *testing.T) {
	s := newStory(t)
	state := s.begin(s.browser, "ops")
	status, _, body := s.get(s.browser, "/api/discord/callback?code=good&guild_id=33&state="+state, "")
	if status != http.StatusOK || !strings.Contains(body, "{connection: ops}") || strings.Contains(body, "hidden") {
		t.Fatalf("%d: %s", status, body)
	}
	c := s.store.connections[s.org.String()+"ops"]
	if d := cmp.Diff(alert.DiscordConnection{Name: "ops", WebhookID: "11", WebhookName: "Tokiflow", ChannelID: "22", GuildID: "33"}, alert.DiscordConnection{
		Name: c.Name, WebhookID: c.WebhookID, WebhookName: c.WebhookName, ChannelID: c.ChannelID, GuildID: c.GuildID,
	}); d != "" || bytes.Contains(c.Sealed, []byte("hidden")) {
		t.Errorf("(-want +got)\n%s%s", d, c.Sealed)
	}
	status, _, body = s.get(s.browser, "/api/discord/connections", "tkf_read")
	if status != http.StatusOK || !strings.Contains(body, `"name":"ops"`) || strings.Contains(body, "hidden") {
		t.Errorf("%d: %s", status, body)
	}
	// Once is all that a state is good for.
	if status, _, _ := s.get(s.browser, "/api/discord/callback?code=good&state="+state, ""); status != http.StatusUnprocessableEntity {
		t.Errorf("a second time: %d", status)
	}
}

// A proxy may serve it below a path, which it takes away.
func TestTheBrowserIsKnownBelowAPath(t *testing.T) {
	s := newStory(t)
	app, err := discord.New(discord.Options{
		Store: s.store, Box: s.box, Client: s.discord.Client(), Keys: auth.NewKeys(keys{s.org}, nil), ClientID: "client", ClientSecret: "hidden-secret",
		PublicURL: "https://example.com/below/", API: s.discord.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	app.Routes(r)
	w := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/discord/install?name=ops", nil)
	req.SetBasicAuth("", "tkf_write")
	r.ServeHTTP(w, req)
	if w.Code != http.StatusFound {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	browser := s.newBrowser().Jar
	at := &url.URL{Scheme: "https", Host: "example.com", Path: "/below/api/discord/install"}
	browser.SetCookies(at, (&http.Response{Header: w.Header()}).Cookies())
	at.Path = "/below/api/discord/callback"
	if back := browser.Cookies(at); len(back) != 1 {
		t.Errorf("of %q comes back %v", w.Header()["Set-Cookie"], back)
	}
}

func TestStatesAreBound(t *testing.T) {
	s := newStory(t)
	refused := func(why string, browser *http.Client, query string) {
		t.Helper()
		if status, _, body := s.get(browser, "/api/discord/callback?"+query, ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Begin again") {
			t.Errorf("%s: %d: %s", why, status, body)
		}
		if len(s.store.connections) != 0 {
			t.Fatalf("%s: it was connected", why)
		}
	}
	state := s.begin(s.browser, "ops")
	refused("no state", s.browser, "code=good")
	refused("another browser", s.newBrowser(), "code=good&state="+state)
	state = s.begin(s.browser, "ops")
	id, rest, _ := strings.Cut(state, ".")
	refused("another organisation", s.browser, "code=good&state="+uuid.NewString()+"."+rest)
	s.begin(s.browser, "ops")
	refused("another state", s.browser, "code=good&state="+id+".x")
	mine, theirs := s.newBrowser(), s.newBrowser()
	s.begin(mine, "mine")
	refused("a state of another browser's", mine, "code=good&state="+s.begin(theirs, "theirs"))

	state = s.begin(s.browser, "ops")
	s.mu.Lock()
	s.now = s.now.Add(10 * time.Minute)
	s.mu.Unlock()
	refused("too late", s.browser, "code=good&state="+state)
}

func TestWhatDiscordMaySay(t *testing.T) {
	s := newStory(t)
	webhook := func(url string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "webhook": map[string]any{"id": "1", "url": url}})
		}
	}
	for name, c := range map[string]struct {
		query  string
		token  func(http.ResponseWriter, *http.Request)
		status int
	}{
		"the person said no":  {"error=access_denied", nil, http.StatusForbidden},
		"a bad code":          {"code=bad", nil, http.StatusUnprocessableEntity},
		"Discord is down":     {"code=good", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, http.StatusServiceUnavailable},
		"no webhook":          {"code=good", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "access_token=x") }, http.StatusUnprocessableEntity},
		"a webhook elsewhere": {"code=good", webhook("http://10.0.0.1/api/webhooks/1/2"), http.StatusUnprocessableEntity},
		"another path":        {"code=good", webhook(s.discord.URL + "/admin"), http.StatusUnprocessableEntity},
		"with a user":         {"code=good", webhook(strings.Replace(s.discord.URL, "//", "//u@", 1) + "/api/webhooks/1/2"), http.StatusUnprocessableEntity},
		"a redirect to private": {"code=good", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusFound)
		}, http.StatusUnprocessableEntity},
	} {
		state := s.begin(s.browser, "ops")
		s.mu.Lock()
		s.token = s.giveWebhook
		if c.token != nil {
			s.token = c.token
		}
		s.mu.Unlock()
		status, _, body := s.get(s.browser, "/api/discord/callback?"+c.query+"&state="+state, "")
		if status != c.status || len(s.store.connections) != 0 || strings.Contains(body, "hidden") {
			t.Errorf("%s: %d: %s", name, status, body)
		}
	}
}

func TestWhoMayConnect(t *testing.T) {
	s := newStory(t)
	for _, c := range []struct {
		path, key string
		status    int
	}{
		{"/api/discord/install?name=ops", "", 401},
		{"/api/discord/install?name=ops", "tkf_other", 401},
		{"/api/discord/install?name=ops", "tkf_read", 403},
		{"/api/discord/install", "tkf_write", 422},
		{"/api/discord/install?name=Ops%20", "tkf_write", 422},
		{"/api/discord/connections", "", 401},
		{"/api/discord/connections", "tkf_write", 403},
	} {
		if status, _, body := s.get(s.browser, c.path, c.key); status != c.status || !strings.Contains(body, `"detail"`) {
			t.Errorf("%s: %d: %s", c.path, status, body)
		}
	}
	remove := func(key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.ours.URL+"/api/discord/connections/ops", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		res, err := s.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return errStatus(res)
	}
	s.store.connections[s.org.String()+"ops"] = alert.DiscordConnection{Name: "ops"}
	for _, c := range []struct {
		key    string
		status int
	}{{"tkf_read", 403}, {"tkf_write", 204}, {"tkf_write", 404}} {
		if got := remove(c.key); got != c.status {
			t.Errorf("%s: %d", c.key, got)
		}
	}
}

func errStatus(res *http.Response) int {
	_ = res.Body.Close()
	return res.StatusCode
}

func TestOptions(t *testing.T) {
	s := newStory(t)
	good := discord.Options{Store: s.store, Box: s.box, Client: http.DefaultClient}
	if _, err := discord.New(good); err != nil {
		t.Errorf("without an application: %v", err)
	}
	bad := good
	bad.ClientID = "x"
	if _, err := discord.New(bad); err == nil {
		t.Error("an id without a secret")
	}
	bad.ClientSecret = "y"
	if _, err := discord.New(bad); err == nil {
		t.Error("without a public URL")
	}
	if _, err := discord.New(discord.Options{}); err == nil {
		t.Error("nothing")
	}
}
