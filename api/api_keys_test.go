package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/saas/auth"
)

const keysPath = "/api/v1/api-keys"

// makeKey makes a key with the scopes, as JSON, and returns its id and itself.
func (s *bundle) makeKey(by, scopes string) (id, key string) {
	s.t.Helper()
	r := s.do(by, http.MethodPost, keysPath, `{"name": "made", "scopes": `+scopes+`}`).want(http.StatusCreated)
	return r.text("id"), r.text("key")
}

// ownID is the id of a key.
func (s *bundle) ownID(key string) string {
	s.t.Helper()
	mine := s.do(key, http.MethodGet, "/api/v1/organisation", nil).want(http.StatusOK).body["api_key"].(map[string]any)
	return mine["id"].(string)
}

func TestAKeyWithOneScope(t *testing.T) {
	s := newBundle(t)
	made := s.do(s.a.all, http.MethodPost, keysPath, `{"name": "prometheus", "scopes": ["metrics"]}`).want(http.StatusCreated)
	key := made.text("key")
	if !strings.HasPrefix(key, made.text("prefix")) || len(key) != len("tkf_")+52 || made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", made.header, made.raw)
	}
	for _, c := range []struct{ method, path, body string }{
		{http.MethodGet, keysPath, ""},
		{http.MethodPost, keysPath, `{"name": "more", "scopes": ["metrics"]}`},
		{http.MethodDelete, keysPath + "/" + made.text("id"), ""},
		{http.MethodGet, "/api/v1/organisation", ""},
		{http.MethodPost, "/api/v1/monitors", `{"name": "n", "schedule": {"interval": "1h"}}`},
	} {
		s.do(key, c.method, c.path, c.body).want(http.StatusForbidden)
	}

	list := s.do(s.a.read, http.MethodGet, keysPath, nil).want(http.StatusOK)
	if strings.Contains(string(list.raw), key) || strings.Contains(string(list.raw), "hash") {
		t.Errorf("the list shows a key: %s", list.raw)
	}
	var found map[string]any
	for _, k := range list.items() {
		if k["id"] == made.text("id") {
			found = k
		}
	}
	if d := cmp.Diff(map[string]any{
		"id": made.text("id"), "name": "prometheus", "prefix": key[:12], "scopes": []any{"metrics"}, "created_at": made.text("created_at"), "revoked_at": nil,
	}, found); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if strings.Contains(s.out.String(), "tkf_") || !strings.Contains(s.out.String(), made.text("id")) {
		t.Errorf("the log shall name the key, and not have it: %s", s.out)
	}
}

func TestKeysAreListedByPages(t *testing.T) {
	s := newBundle(t)
	s.makeKey(s.a.all, `["read"]`)
	seen, cursor := map[any]bool{}, ""
	for range 3 {
		r := s.do(s.a.read, http.MethodGet, keysPath+"?limit=2&cursor="+url.QueryEscape(cursor), nil).want(http.StatusOK)
		for _, k := range r.items() {
			seen[k["id"]] = true
		}
		if cursor = r.text("next_cursor"); cursor == "" {
			break
		}
	}
	if len(seen) != 4 || cursor != "" {
		t.Errorf("%d keys of 4, then %q", len(seen), cursor)
	}
	s.do(s.a.read, http.MethodGet, keysPath+"?cursor=x", nil).problem("query.cursor")
}

func TestAKeyGrantsNoMoreThanItHas(t *testing.T) {
	s := newBundle(t)
	r := s.do(s.a.write, http.MethodPost, keysPath, `{"name": "more", "scopes": ["write", "read", "metrics"]}`).want(http.StatusForbidden)
	if d := r.text("detail"); !strings.Contains(d, `"read", "metrics"`) || strings.Contains(d, `"write"`) {
		t.Errorf("%q does not say which", d)
	}
	_, less := s.makeKey(s.a.all, `["write", "read"]`)
	_, least := s.makeKey(less, `["read"]`)
	s.do(least, http.MethodGet, "/api/v1/organisation", nil).want(http.StatusOK)
	s.do(less, http.MethodPost, keysPath, `{"name": "n", "scopes": ["ping"]}`).want(http.StatusForbidden)
}

func TestKeysThatCannotBe(t *testing.T) {
	s := newBundle(t)
	for _, c := range []struct{ body, location, words string }{
		{`{"name": "n"}`, "body", "scopes"},
		{`{"scopes": ["read"]}`, "body", "name"},
		{`{"name": "n", "scopes": []}`, "body.scopes", "1"},
		{`{"name": "n", "scopes": null}`, "body.scopes", ""},
		{`{"name": "n", "scopes": ["admin"]}`, "body.scopes[0]", "read"},
		{`{"name": "n", "scopes": ["read", "read"]}`, "body.scopes", "unique"},
		{`{"name": "", "scopes": ["read"]}`, "body.name", ""},
		{`{"name": "` + strings.Repeat("x", 101) + `", "scopes": ["read"]}`, "body.name", ""},
		{`{"name": "` + strings.Repeat("ä", 51) + `", "scopes": ["read"]}`, "body.name", "100 bytes"},
		{`{"name": "a\u0000b", "scopes": ["read"]}`, "body.name", "control"},
		{`{"name": "BOOTSTRAP_API_KEY", "scopes": ["read"]}`, "body.name", "another"},
		{`{"name": "n", "scopes": ["read"], "key": "tkf_mine"}`, "body.key", "unknown"},
	} {
		s.do(s.a.all, http.MethodPost, keysPath, c.body).problem(c.location, c.words)
	}
	s.do(s.a.all, http.MethodPost, keysPath, `{"name": "`+strings.Repeat("ä", 50)+`", "scopes": ["read"]}`).want(http.StatusCreated)

	s.exec(`insert into api_keys (id, org_id, name, hash, prefix, scopes)
		select gen_random_uuid(), $1, 'many', int4send(i), 'tkf_', '{read}' from generate_series(1, 96) i`, s.a.org)
	r := s.do(s.a.all, http.MethodPost, keysPath, `{"name": "n", "scopes": ["read"]}`).want(http.StatusUnprocessableEntity)
	if !strings.Contains(r.text("detail"), "100 API keys") {
		t.Errorf("%s", r.raw)
	}
}

func TestARevokedKeyEndsInAMoment(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	s := newBundle(t, func(o *api.Options) { o.Clock = func() time.Time { return time.Unix(0, now.Load()) } })
	id, key := s.makeKey(s.a.all, `["read", "write"]`)
	get := func(status int) {
		t.Helper()
		s.do(key, http.MethodGet, "/api/v1/organisation", nil).want(status)
	}
	get(http.StatusOK)
	s.do(s.a.write, http.MethodDelete, keysPath+"/"+id, nil).want(http.StatusNoContent)
	s.do(s.a.write, http.MethodDelete, keysPath+"/"+id, nil).want(http.StatusNoContent)

	// While it is still believed it can neither live on in another nor take others with it.
	get(http.StatusOK)
	s.do(key, http.MethodPost, keysPath, `{"name": "heir", "scopes": ["read", "write"]}`).want(http.StatusUnauthorized)
	s.do(key, http.MethodDelete, keysPath+"/"+s.ownID(s.a.all), nil).want(http.StatusUnauthorized)
	now.Add(int64(auth.KeyLife))
	get(http.StatusUnauthorized)
	if n := s.count(`select count(*) from api_keys where revoked_at is not null`); n != 1 {
		t.Errorf("%d revoked", n)
	}
}

func TestTheLastKeyThatCanMakeOthersStays(t *testing.T) {
	s := newBundle(t)
	all := keysPath + "/" + s.ownID(s.a.all)
	s.exec(`update api_keys set revoked_at = now() where org_id = $1 and scopes = '{write}'`, s.a.org)
	r := s.do(s.a.all, http.MethodDelete, all, nil).want(http.StatusConflict)
	if !strings.Contains(r.text("detail"), `the last API key with the scope "write"`) {
		t.Errorf("%s", r.raw)
	}
	s.makeKey(s.a.all, `["write"]`)
	s.do(s.a.all, http.MethodDelete, all, nil).want(http.StatusNoContent)
}

func TestKeysBelongToTheirOrganisation(t *testing.T) {
	s := newBundle(t)
	id, _ := s.makeKey(s.a.all, `["read"]`)
	theirs := s.do(s.b.all, http.MethodDelete, keysPath+"/"+id, nil).want(http.StatusNotFound)
	nobodys := s.do(s.b.all, http.MethodDelete, keysPath+"/"+uuid.NewString(), nil).want(http.StatusNotFound)
	if d := cmp.Diff(nobodys.body, theirs.body); d != "" {
		t.Errorf("another's id differs from nobody's: %s", d)
	}
	for _, k := range s.do(s.b.read, http.MethodGet, keysPath, nil).want(http.StatusOK).items() {
		if k["name"] == "made" {
			t.Errorf("another organisation sees %v", k)
		}
	}
	if n := s.count(`select count(*) from api_keys where revoked_at is not null`); n != 0 {
		t.Errorf("%d revoked", n)
	}
}
