package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestBootstrapMakesEachThingOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := store.New(pool)

	// Several processes of one installation start together.
	const processes = 8
	got := make([]store.Bootstrapped, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			var err error
			if got[i], err = s.Bootstrap(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	keys := 0
	for _, b := range got {
		if b.APIKey != "" {
			keys++
			if !strings.HasPrefix(b.APIKey, "tkf_") || len(b.APIKey) != len("tkf_")+52 {
				t.Errorf("API key %q is not tkf_ and 256 bits in base 32", b.APIKey)
			}
			id, err := s.Authenticate(t.Context(), b.APIKey)
			if err != nil {
				t.Fatal(err)
			}
			want := tenant.Identity{Org: b.Org.ID, Key: id.Key, Scopes: []tenant.Scope{
				tenant.ScopeRead, tenant.ScopeWrite, tenant.ScopePing, tenant.ScopeMetrics, tenant.ScopeSamples,
			}}
			if d := cmp.Diff(want, id); d != "" {
				t.Error(d)
			}
		}
		b.APIKey = ""
		first := got[0]
		first.APIKey = ""
		if d := cmp.Diff(first, b); d != "" {
			t.Errorf("two processes see different organisations: %s", d)
		}
	}
	if keys != 1 {
		t.Errorf("%d processes made an API key, want 1", keys)
	}
	if p := got[0].Project; p.Name != "default" || p.Slug != "default" || len(p.PingKey) != 26 || strings.ToLower(p.PingKey) != p.PingKey {
		t.Errorf("project %+v", p)
	}
	org, err := s.Organisation(t.Context(), got[0].Org.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got[0].Org, org); d != "" {
		t.Error(d)
	}
}

func TestAGivenKeyReplacesTheOneGivenBefore(t *testing.T) {
	s := newBundle(t)
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 64)

	valid := func(key string) bool {
		t.Helper()
		_, err := s.store.Authenticate(s.ctx, key)
		if err != nil && !errors.Is(err, store.ErrUnauthenticated) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, step := range []struct {
		give     string
		one, two bool
	}{
		{one, true, false}, {one, true, false}, {two, false, true}, {one, true, false}, {"", true, false},
	} {
		b, err := s.store.Bootstrap(s.ctx, step.give)
		s.must(err)
		if b.APIKey != "" {
			t.Error("a key was made although there was one, or a given key was handed back")
		}
		if valid(one) != step.one || valid(two) != step.two {
			t.Errorf("after %.4q…: key one %v, key two %v", step.give, valid(one), valid(two))
		}
	}

	if _, err := s.store.Bootstrap(s.ctx, "short"); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("a short key: %v, want what to do instead", err)
	}
	s.exec(`update api_keys set org_id = $1 where name = 'BOOTSTRAP_API_KEY'`, s.b.org)
	if _, err := s.store.Bootstrap(s.ctx, one); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("another organisation's key: %v, want a conflict", err)
	}
}

func TestAuthenticateRefusesWhatItDoesNotKnow(t *testing.T) {
	s := newBundle(t)
	boot, err := s.store.Bootstrap(s.ctx, "")
	s.must(err)
	if boot.APIKey != "" {
		t.Fatal("a second bootstrap made a second key")
	}
	for _, key := range []string{"", "tkf_", "tkf_unknown", strings.Repeat("x", 1<<16), "tkf_\x00"} {
		if _, err := s.store.Authenticate(s.ctx, key); !errors.Is(err, store.ErrUnauthenticated) {
			t.Errorf("%.10q: %v, want ErrUnauthenticated", key, err)
		}
	}
	if n := s.count(`select count(*) from api_keys where hash::text like '%tkf_%' or length(hash) <> 32`); n != 0 {
		t.Errorf("%d keys are not kept as a hash", n)
	}
}

func TestOrganisationIsNotFoundForAnother(t *testing.T) {
	s := newBundle(t)
	other, err := s.store.Organisation(s.ctx, s.b.org)
	s.must(err)
	if len(other.Projects) != 1 || other.Projects[0].ID != s.b.project {
		t.Errorf("projects %+v", other.Projects)
	}
	if _, err := s.store.Organisation(s.ctx, tenant.OrgID{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no organisation: %v", err)
	}
}
