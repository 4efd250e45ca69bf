package ingest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
)

// TestURLs goes over every form of URL in the contract, with every method, and looks at what is stored.
func TestURLs(t *testing.T) {
	b := start(t, nil)
	rid := uuid.MustParse(runID)
	stored := 0
	for _, c := range []struct {
		path string
		want record.Ping // what differs from a plain success
	}{
		{"/ping/" + mainKey, record.Ping{}},
		{"/ping/" + mainKey + "/", record.Ping{}},
		{"/ping/" + mainKey + "/start", record.Ping{Kind: record.Start}},
		{"/ping/" + mainKey + "/fail", record.Ping{Kind: record.Fail}},
		{"/ping/" + mainKey + "/log", record.Ping{Kind: record.Log}},
		{"/ping/" + mainKey + "/log/", record.Ping{Kind: record.Log}},
		{"/ping/" + mainKey + "/0", record.Ping{Kind: record.Success, ExitCode: 1000}},
		{"/ping/" + mainKey + "/1", record.Ping{Kind: record.Fail, ExitCode: 1}},
		{"/ping/" + mainKey + "/255", record.Ping{Kind: record.Fail, ExitCode: 255}},
		{"/ping/" + mainKey + "/007", record.Ping{Kind: record.Fail, ExitCode: 7}},
		{"/ping/" + projKey + "/main-job", record.Ping{}},
		{"/ping/" + projKey + "/main-job/", record.Ping{}},
		{"/ping/" + projKey + "/main-job/start", record.Ping{Kind: record.Start}},
		{"/ping/" + projKey + "/main-job/fail", record.Ping{Kind: record.Fail}},
		{"/ping/" + projKey + "/main-job/log", record.Ping{Kind: record.Log}},
		{"/ping/" + projKey + "/main-job/0", record.Ping{ExitCode: 1000}},
		{"/ping/" + projKey + "/main-job/137", record.Ping{Kind: record.Fail, ExitCode: 137}},
		{"/ping/" + projKey + "/main-job?create=1", record.Ping{}},
		{"/api/ping/" + mainKey, record.Ping{}},
		{"/api/ping/" + mainKey + "/", record.Ping{}},
		{"/api/ping/" + mainKey + "?state=start", record.Ping{Kind: record.Start}},
		{"/api/ping/" + mainKey + "?state=success", record.Ping{}},
		{"/api/ping/" + mainKey + "?state=fail", record.Ping{Kind: record.Fail}},
		{"/api/ping/" + mainKey + "?state=log", record.Ping{Kind: record.Log}},
		{"/api/ping/" + mainKey + "?exit_code=0", record.Ping{ExitCode: 1000}},
		{"/api/ping/" + mainKey + "?exit_code=3", record.Ping{Kind: record.Fail, ExitCode: 3}},
		{"/api/ping/" + mainKey + "?exit_code=3&state=success", record.Ping{Kind: record.Fail, ExitCode: 3}},
		{"/api/ping/" + mainKey + "?state=fail&exit_code=0", record.Ping{Kind: record.Fail, ExitCode: 1000}},
		{"/ping/" + mainKey + "?rid=" + runID, record.Ping{RID: rid}},
		{"/ping/" + mainKey + "/start?rid=" + strings.ToUpper(runID), record.Ping{Kind: record.Start, RID: rid}},
		{"/ping/" + mainKey + "?duration=1.5", record.Ping{Duration: 1500 * time.Millisecond}},
		{"/ping/" + mainKey + "?duration=0", record.Ping{Duration: 0, ExitCode: 2000}},
		{"/ping/" + mainKey + "?duration=.25&unknown=1&x", record.Ping{Duration: 250 * time.Millisecond}},
		{"/ping/" + mainKey + "?state=fail&exit_code=300&create=1", record.Ping{}}, // known to /api/ping only; create to slugs
		{"/ping/" + mainKey + "?rid=1&rid=" + runID, record.Ping{RID: rid}},        // the last one counts
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			got := b.do(method, c.path, nil, "User-Agent", "test/1")
			want := plainPing(c.want)
			want.Method = method
			want.UserAgent = "test/1"
			stored++
			body := "OK"
			if method == http.MethodHead {
				body = ""
			}
			got.want(t, 200, body)
			ping := b.log.last(t, stored)
			if d := cmp.Diff(want, ping, cmpopts.IgnoreFields(record.Ping{}, "ID", "At"), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s %s is stored wrongly (-want +got):\n%s", method, c.path, d)
			}
			if ping.ID.Version() != 7 || got.header.Get("Ping-Id") != ping.ID.String() {
				t.Errorf("%s %s: Ping-Id %q, stored %v (version %d)", method, c.path, got.header.Get("Ping-Id"), ping.ID, ping.ID.Version())
			}
			if got.header.Get("Content-Length") != "2" {
				t.Errorf("%s %s: Content-Length %q", method, c.path, got.header.Get("Content-Length"))
			}
		}
	}
}

// plainPing fills in what a plain success stores. An exit status of 1000 stands for 0, 2000 for a given duration of 0.
func plainPing(p record.Ping) record.Ping {
	t := mainTarget()
	p.Org, p.Monitor, p.RemoteAddr = t.Org, t.Monitor, "127.0.0.1"
	if p.Kind == 0 {
		p.Kind = record.Success
	}
	if p.Duration == 0 && p.ExitCode != 2000 {
		p.Duration = record.NoDuration
	}
	switch p.ExitCode {
	case 1000:
		p.ExitCode = 0
	case 0, 2000:
		p.ExitCode = record.NoExitCode
	}
	return p
}

// TestRefusals goes over every row of the table of answers that stores nothing.
func TestRefusals(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/ping/" + mainKey + "/256", 400, "invalid url format"},
		{"/ping/" + mainKey + "/99999999999999999999", 400, "invalid url format"},
		{"/ping/" + projKey + "/main-job/256", 400, "invalid url format"},
		{"/ping/" + projKey + "/fresh/256?create=1", 400, "invalid url format"},
		{"/ping/" + projKey + "/Main-Job", 400, "invalid url format"},
		{"/ping/" + projKey + "/FRESH?create=1", 400, "invalid url format"},
		{"/ping/" + projKey + "/Main-Job/start", 400, "invalid url format"},
		{"/ping/" + mainKey + "?duration=", 400, "invalid url format"},
		{"/ping/" + mainKey + "?duration=-1", 400, "invalid url format"},
		{"/ping/" + mainKey + "?duration=1e3", 400, "invalid url format"},
		{"/ping/" + mainKey + "?duration=1000000001", 400, "invalid url format"},
		{"/api/ping/" + mainKey + "?state=done", 400, "invalid url format"},
		{"/api/ping/" + mainKey + "?exit_code=256", 400, "invalid url format"},
		{"/api/ping/" + mainKey + "?exit_code=-1", 400, "invalid url format"},
		{"/api/ping/" + mainKey + "?exit_code=", 400, "invalid url format"},
		{"/ping/" + mainKey + "?rid=12345", 400, "invalid uuid format"},
		{"/ping/" + mainKey + "?rid=", 400, "invalid uuid format"},
		{"/ping/" + mainKey + "?rid=684e2e73-017e-465f-8149-d70b7c5aaa490", 400, "invalid uuid format"},
		{"/ping/" + mainKey + "?rid=" + strings.ReplaceAll(runID, "-", ""), 400, "invalid uuid format"},
		{"/ping/" + projKey + "/fresh?create=1&rid=x", 400, "invalid uuid format"},
		{"/api/ping/" + mainKey + "?rid=x", 400, "invalid uuid format"},
		{"/ping/" + noKey, 404, "not found"},
		{"/ping/" + noKey + "/start", 404, "not found"},
		{"/api/ping/" + noKey, 404, "not found"},
		{"/ping/" + strings.ToUpper(mainKey), 404, "not found"},
		{"/ping/" + strings.ReplaceAll(mainKey, "-", ""), 404, "not found"},
		{"/ping/not-a-uuid", 404, "not found"},
		{"/ping/not-a-uuid/", 404, "not found"},
		{"/ping/", 404, "not found"},
		{"/api/ping/", 404, "not found"},
		{"/api/ping/" + mainKey + "/start", 404, "not found"},
		{"/ping/" + mainKey + "/unknown", 404, "not found"},
		{"/ping/" + mainKey + "/-1", 404, "not found"},
		{"/ping/" + mainKey + "/start/x", 404, "not found"},
		{"/ping/" + mainKey + "//", 404, "not found"},
		{"/ping/" + projKey + "/unknown", 404, "not found"},
		{"/ping/" + projKey + "/unknown?create=0", 404, "not found"},
		{"/ping/" + projKey + "/unknown?create=true", 404, "not found"},
		{"/ping/" + projKey + "/main-job/unknown", 404, "not found"},
		{"/ping/" + projKey + "/main-job/start/x", 404, "not found"},
		{"/ping/" + projKey + "/main.job?create=1", 404, "not found"},
		{"/ping/" + projKey + "/caf%C3%A9?create=1", 404, "not found"},
		{"/ping/" + projKey + "/" + strings.Repeat("a", 101) + "?create=1", 404, "not found"},
		{"/ping/nobody/main-job", 404, "not found"},
		{"/ping/nobody/fresh?create=1", 404, "not found"},
		{"/ping//main-job", 404, "not found"},
		{"/ping/" + sideKey + "/main-job", 404, "not found"}, // another project of the same organisation
		{"/ping/" + projKey + "/twin", 409, "ambiguous slug"},
		{"/ping/" + projKey + "/twin/start?create=1", 409, "ambiguous slug"},
	} {
		got := b.get(c.path)
		if got.status != c.status || got.body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, got.status, got.body, c.status, c.body)
		}
		if got.header.Get("Ping-Id") != "" {
			t.Errorf("%s: a Ping-Id for what is not stored", c.path)
		}
		checkCommon(t, c.path, got)
	}
	if n := len(b.log.all()); n != 0 {
		t.Errorf("%d pings are stored", n)
	}
	if b.creator.calls != 0 {
		t.Errorf("the creator was called %d times", b.creator.calls)
	}
}

// checkCommon looks at the headers that stand on every answer.
func checkCommon(t *testing.T, what string, r reply) {
	t.Helper()
	for name, want := range map[string]string{
		"Ping-Body-Limit": "100000", "Access-Control-Allow-Origin": "*", "Cache-Control": "no-store",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	b := start(t, func(o *Options) { o.RateLimit = 3 })
	path := "/ping/" + mainKey
	ok := b.get(path)
	created := b.get("/ping/" + projKey + "/fresh?create=1")
	large := b.do(http.MethodPost, path, &endless{left: maxBody + 1})
	b.log.setFail(errDown)
	down := b.get(path)
	b.log.setFail(nil)
	b.get(path)
	limited := b.get(path)
	method := b.do(http.MethodDelete, path, nil)
	preflight := b.do(http.MethodOptions, path, nil, "Origin", "https://x", "Access-Control-Request-Method", "POST")
	batch := b.do(http.MethodPost, batchPath, strings.NewReader(""), "X-Api-Key", apiKeyAll)
	noBatch := b.do(http.MethodGet, batchPath, nil)
	for _, c := range []struct {
		name   string
		got    reply
		status int
		text   string
		header map[string]string
	}{
		{"ok", ok, 200, "OK", nil},
		{"created", created, 201, "Created", nil},
		{"too large", large, 413, "body too large", nil},
		{"down", down, 503, "try again", map[string]string{"Retry-After": "2"}},
		{"limited", limited, 429, "rate limited", map[string]string{"Retry-After": "20"}},
		{"method", method, 405, "method not allowed", map[string]string{"Allow": "GET, HEAD, POST"}},
		{"preflight", preflight, 204, "", map[string]string{"Access-Control-Allow-Methods": "GET, HEAD, POST", "Access-Control-Allow-Headers": "*"}},
		{"batch", batch, 200, `{"accepted":0,"rejected":[]}` + "\n", map[string]string{"Content-Type": "application/json"}},
		{"batch method", noBatch, 405, `{"title":"Method Not Allowed","status":405,"detail":"send a batch of pings by POST"}` + "\n", map[string]string{"Allow": "POST"}},
	} {
		if c.got.status != c.status || c.got.body != c.text {
			t.Errorf("%s: %d %q, want %d %q", c.name, c.got.status, c.got.body, c.status, c.text)
		}
		checkCommon(t, c.name, c.got)
		for name, want := range c.header {
			if got := c.got.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
			}
		}
		if hasID := c.got.header.Get("Ping-Id") != ""; hasID != (c.status == 200 && c.text == "OK" || c.status == 201) {
			t.Errorf("%s: Ping-Id is %q", c.name, c.got.header.Get("Ping-Id"))
		}
	}
}

func TestOtherMethods(t *testing.T) {
	b := start(t, nil)
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
		for _, path := range []string{"/ping/" + mainKey, "/ping/" + projKey + "/fresh?create=1", "/api/ping/" + mainKey, "/ping/" + noKey} {
			got := b.do(method, path, nil)
			if got.status != 405 || got.header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("%s %s: %d, Allow %q", method, path, got.status, got.header.Get("Allow"))
			}
		}
	}
	if n := len(b.log.all()); n != 0 || b.creator.calls != 0 {
		t.Errorf("%d pings are stored, the creator was called %d times", n, b.creator.calls)
	}
}

// TestFront serves the same before a router as mounted in one, and methods that no router knows.
func TestFront(t *testing.T) {
	b := start(t, nil)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	server := httptest.NewServer(b.ingest.Front(next))
	defer server.Close()
	b.url = server.URL
	b.get("/ping/"+mainKey).want(t, 200, "OK")
	b.get("/ping/"+projKey+"/main-job/fail").want(t, 200, "OK")
	b.get("/api/ping/"+mainKey+"?state=log").want(t, 200, "OK")
	b.batch(strings.NewReader(lines(1))).taken(t)
	for _, path := range []string{"/", "/ping", "/pings/x", "/api/v1/pings/x", "/api/v1/monitors", "/api/ping"} {
		b.get(path).want(t, http.StatusTeapot, "")
	}
	got := b.do("PURGE", "/ping/"+mainKey, nil)
	got.want(t, 405, "method not allowed")
	if allow := got.header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("Allow %q", allow)
	}
	b.log.last(t, 4)
	b.client.CloseIdleConnections()
}
