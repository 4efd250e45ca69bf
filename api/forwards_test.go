package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/infra/seal"
)

func forwardBundle(t *testing.T) (*bundle, *seal.Box) {
	t.Helper()
	box, err := seal.New(bytes.Repeat([]byte{3}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return newBundle(t, func(o *api.Options) { o.Secrets = box }), box
}

func TestForwardsAreKeptAndTheirSecretsAreNot(t *testing.T) {
	s, box := forwardBundle(t)
	const path = "/api/v1/forwards/home"
	made := s.do(s.a.all, http.MethodPut, path, `{
		"kind": "remote_write", "url": "https://prometheus.example.com/api/v1/write", "interval": "30s",
		"external_labels": {"from": "tokiflow"}, "metrics": ["tokiflow_monitor_*"],
		"basic": {"username": "hidden-user", "password": "hidden-password"}, "headers": {"X-Scope-OrgID": "hidden-tenant"}
	}`).want(http.StatusCreated)
	read := s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)
	list := s.do(s.a.read, http.MethodGet, "/api/v1/forwards", nil).want(http.StatusOK)
	for _, a := range []*answer{made, read, list} {
		if strings.Contains(string(a.raw), "hidden") {
			t.Errorf("%s shows a secret: %s", a.what, a.raw)
		}
	}
	var v map[string]any
	if err := json.Unmarshal(read.raw, &v); err != nil {
		t.Fatal(err)
	}
	status, _ := v["status"].(map[string]any)
	if status["last_sent_at"] != nil || status["samples_sent"] != 0.0 || status["lag_seconds"].(float64) > 60 || status["position_at"] == "" {
		t.Errorf("status %v", status)
	}
	delete(v, "status")
	delete(v, "created_at")
	delete(v, "updated_at")
	if d := cmp.Diff(map[string]any{
		"name": "home", "kind": "remote_write", "url": "https://prometheus.example.com/api/v1/write", "site": "", "interval": "30s",
		"external_labels": map[string]any{"from": "tokiflow"}, "metrics": []any{"tokiflow_monitor_*"},
		"authentication": "basic", "headers": []any{"X-Scope-OrgID"},
	}, v); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n := len(list.items()); n != 1 {
		t.Errorf("%d in the list", n)
	}

	// Neither the database nor the log has it; who has the key, opens it.
	claims, err := s.store.ClaimForwards(s.ctx, uuid.New(), 10, 1)
	if err != nil || len(claims) != 1 {
		t.Fatalf("%v, %v", claims, err)
	}
	if bytes.Contains(claims[0].Sealed, []byte("hidden")) || strings.Contains(s.out.String(), "hidden") {
		t.Error("a secret can be read")
	}
	plain, err := box.Open(claims[0].Sealed, forward.About(s.a.org, "home"))
	if err != nil || !bytes.Contains(plain, []byte("hidden-password")) {
		t.Errorf("%s, %v", plain, err)
	}

	// Replaced as a whole: a secret does not go to another address than it was given for.
	s.do(s.a.write, http.MethodPut, path, `{"kind": "remote_write", "url": "https://other.example.com/"}`).want(http.StatusOK)
	again := s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)
	if again.body["authentication"] != "none" || again.body["interval"] != "1m" || len(again.body["headers"].([]any)) != 0 {
		t.Errorf("replaced: %s", again.raw)
	}
	s.do(s.a.write, http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusNotFound)
}

func TestForwardsOfDatadog(t *testing.T) {
	s, _ := forwardBundle(t)
	v := s.do(s.a.all, http.MethodPut, "/api/v1/forwards/dd", `{"kind": "datadog", "api_key": "hidden-key"}`).want(http.StatusCreated)
	if v.body["site"] != "datadoghq.com" || v.body["authentication"] != "api_key" || v.body["url"] != "" {
		t.Errorf("%s", v.raw)
	}
}

func TestForwardsBelongToTheirOrganisation(t *testing.T) {
	s, _ := forwardBundle(t)
	const path, body = "/api/v1/forwards/home", `{"kind": "remote_write", "url": "https://prometheus.example.com/"}`
	s.do(s.a.all, http.MethodPut, path, body).want(http.StatusCreated)
	s.do(s.b.all, http.MethodGet, path, nil).want(http.StatusNotFound)
	s.do(s.b.all, http.MethodDelete, path, nil).want(http.StatusNotFound)
	if n := len(s.do(s.b.all, http.MethodGet, "/api/v1/forwards", nil).want(http.StatusOK).items()); n != 0 {
		t.Errorf("another organisation sees %d", n)
	}
	s.do(s.b.all, http.MethodPut, path, body).want(http.StatusCreated) // its own of the same name
	s.do(s.b.all, http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)

	s.do(s.a.read, http.MethodPut, path, body).want(http.StatusForbidden)
	s.do(s.a.read, http.MethodDelete, path, nil).want(http.StatusForbidden)
	s.do(s.a.write, http.MethodGet, path, nil).want(http.StatusForbidden)
	s.do("", http.MethodGet, path, nil).want(http.StatusUnauthorized)
}

func TestForwardsThatCannotBe(t *testing.T) {
	s, _ := forwardBundle(t)
	for _, c := range []struct{ body, location, words string }{
		{`{"kind": "kafka", "url": "https://x.example.com/"}`, "body.kind", ""},
		{`{"kind": "remote_write"}`, "body.url", "where to write"},
		{`{"kind": "remote_write", "url": "ftp://x.example.com/"}`, "body.url", "https://"},
		{`{"kind": "remote_write", "url": "https://x.example.com/", "interval": "20s"}`, "body.interval", "multiple of 15s"},
		{`{"kind": "remote_write", "url": "https://x.example.com/", "interval": "soon"}`, "body.interval", ""},
		{`{"kind": "remote_write", "url": "https://x.example.com/", "bearer_token": "a\nb"}`, "body.bearer_token", "control"},
		{`{"kind": "remote_write", "url": "https://x.example.com/", "headers": {"Host": "y"}}`, "body.headers", "Host"},
		{`{"kind": "datadog"}`, "body.api_key", "API key"},
		{`{"kind": "datadog", "api_key": "k", "site": "a/b"}`, "body.site", ""},
		{`{"kind": "remote_write", "url": "https://x.example.com/", "paused": true}`, "body.paused", "unknown"},
	} {
		s.do(s.a.all, http.MethodPut, "/api/v1/forwards/home", c.body).problem(c.location, c.words)
	}
	const good = `{"kind": "remote_write", "url": "https://x.example.com/"}`
	for _, name := range []string{"Home", "-home", "home-", "ho%20me", strings.Repeat("x", 64)} {
		s.do(s.a.all, http.MethodPut, "/api/v1/forwards/"+name, good).want(http.StatusUnprocessableEntity)
	}
	for i := range forward.Most {
		s.do(s.a.all, http.MethodPut, fmt.Sprintf("/api/v1/forwards/n%d", i), good).want(http.StatusCreated)
	}
	s.do(s.a.all, http.MethodPut, "/api/v1/forwards/one-more", good).want(http.StatusUnprocessableEntity)
}

func TestWithoutAKeyNothingIsKept(t *testing.T) {
	s := newBundle(t)
	s.do(s.a.all, http.MethodPut, "/api/v1/forwards/home", `{"kind": "remote_write", "url": "https://x.example.com/"}`).want(http.StatusServiceUnavailable)
}
