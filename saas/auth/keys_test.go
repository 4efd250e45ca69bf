package auth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

type source struct {
	asked int
	away  bool
	gone  bool // the key was revoked
}

func (s *source) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	s.asked++
	if s.away {
		return tenant.Identity{}, errors.New("connection refused")
	}
	if key != "good" || s.gone {
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "unknown")
	}
	return tenant.Identity{Org: tenant.OrgID{UUID: uuid.Max}, Scopes: []tenant.Scope{tenant.ScopeMetrics}}, nil
}

func TestKeyOf(t *testing.T) {
	for _, c := range []struct{ authorization, header, want string }{
		{"Bearer tkf_a", "", "tkf_a"},
		{"bearer  tkf_a ", "", "tkf_a"},
		{"Basic dXNlcjp0a2ZfYQ==", "", "tkf_a"},
		{"Basic bm9wZQ==", "", ""},
		{"Basic !!", "tkf_b", "tkf_b"},
		{"Digest x", "tkf_b", "tkf_b"},
		{"", "tkf_b", "tkf_b"},
		{"", "", ""},
	} {
		if got := auth.KeyOf(c.authorization, c.header); got != c.want {
			t.Errorf("KeyOf(%q, %q) = %q, want %q", c.authorization, c.header, got, c.want)
		}
	}
}

func TestRequestsAreHeldToTheirScope(t *testing.T) {
	s, now := &source{}, time.Unix(0, 0)
	k := auth.NewKeys(s, func() time.Time { return now })
	ask := func(key string, scope tenant.Scope) fault.Code {
		_, err := k.Request(&http.Request{Header: http.Header{"X-Api-Key": {key}}}, scope)
		return fault.CodeOf(err)
	}
	if c := ask("good", tenant.ScopeMetrics); c != "" {
		t.Errorf("a good key: %q", c)
	}
	if c := ask("good", tenant.ScopeWrite); c != fault.Forbidden {
		t.Errorf("a key without the scope: %q", c)
	}
	if c := ask("bad", tenant.ScopeMetrics); c != fault.Unauthenticated {
		t.Errorf("an unknown key: %q", c)
	}
	if c := ask("", tenant.ScopeMetrics); c != fault.Unauthenticated {
		t.Errorf("no key: %q", c)
	}
	if s.asked != 2 {
		t.Errorf("the source was asked %d times, want 2: a good key is remembered, a bad one is not", s.asked)
	}
	now = now.Add(time.Minute)
	ask("good", tenant.ScopeMetrics)
	if s.asked != 3 {
		t.Error("a good key is remembered for ever")
	}
}

func TestAGoodKeyOutlivesTheDatabaseForAWhile(t *testing.T) {
	s, now := &source{}, time.Unix(0, 0)
	k := auth.NewKeys(s, func() time.Time { return now })
	ask := func(key string) error {
		_, err := k.Identify(t.Context(), key)
		return err
	}
	if err := ask("good"); err != nil {
		t.Fatal(err)
	}
	s.away, now = true, now.Add(time.Minute)
	if err := ask("good"); err != nil {
		t.Errorf("a key that was good a minute ago: %v", err)
	}
	if err := ask("unknown"); err == nil || fault.CodeOf(err) != "" {
		t.Errorf("a key never seen, without a database: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if err := ask("good"); err == nil {
		t.Error("a key goes on for ever without a database")
	}
	s.away, now = false, time.Unix(60, 0)
	if err := ask("good"); err != nil {
		t.Fatal(err)
	}
	s.gone, now = true, now.Add(time.Minute)
	if err := ask("good"); fault.CodeOf(err) != fault.Unauthenticated {
		t.Errorf("a revoked key: %v", err)
	}
	s.away = true
	if err := ask("good"); err == nil {
		t.Error("a revoked key comes back when the database goes away")
	}
}
