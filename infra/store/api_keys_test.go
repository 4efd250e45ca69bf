package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store"
)

// firstKey is the key that the bundle's bootstrap made for organisation a.
func (s *bundle) firstKey() inventory.APIKey {
	s.t.Helper()
	return s.apiKeys(s.a.org)[0]
}

func (s *bundle) apiKeys(org tenant.OrgID) []inventory.APIKey {
	s.t.Helper()
	list, err := s.store.APIKeys(s.ctx, org, uuid.Nil, 0)
	s.must(err)
	return list
}

// foreignKey is a key of organisation b with the scopes.
func (s *bundle) foreignKey(scopes ...string) uuid.UUID {
	s.t.Helper()
	id := uuid.New()
	s.exec(`insert into api_keys (id, org_id, name, hash, prefix, scopes) values ($1, $2, 'theirs', $3, 'tkf_', $4)`, id, s.b.org, id[:], scopes)
	return id
}

func (s *bundle) createKey(by uuid.UUID, name string, scopes ...tenant.Scope) (inventory.APIKey, string) {
	s.t.Helper()
	k, clearKey, err := s.store.CreateAPIKey(s.ctx, s.a.org, by, name, scopes)
	s.must(err)
	return k, clearKey
}

func TestAKeyIsMadeUsedAndRevoked(t *testing.T) {
	s := newBundle(t)
	first := s.firstKey()
	k, clearKey := s.createKey(first.ID, "prometheus", tenant.ScopeMetrics)
	if !strings.HasPrefix(clearKey, k.Prefix) || len(k.Prefix) != len("tkf_")+8 || len(clearKey) != len("tkf_")+52 {
		t.Errorf("key %q, prefix %q", clearKey, k.Prefix)
	}
	who, err := s.store.Authenticate(s.ctx, clearKey)
	s.must(err)
	if d := cmp.Diff(tenant.Identity{Org: s.a.org, Key: k.ID, Scopes: []tenant.Scope{tenant.ScopeMetrics}}, who); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]inventory.APIKey{first, k}, s.apiKeys(s.a.org)); d != "" {
		t.Errorf("the list: %s", d)
	}
	if n := s.count(`select count(*) from api_keys k where k::text like $1`, "%"+clearKey+"%"); n != 0 {
		t.Error("the key itself is kept")
	}

	s.must(s.store.RevokeAPIKey(s.ctx, s.a.org, k.ID, first.ID))
	if _, err := s.store.Authenticate(s.ctx, clearKey); !errors.Is(err, store.ErrUnauthenticated) {
		t.Errorf("a revoked key: %v", err)
	}
	revoked := s.apiKeys(s.a.org)[1]
	if revoked.RevokedAt == nil || revoked.RevokedAt.Before(k.CreatedAt) {
		t.Errorf("revoked at %v, made at %v", revoked.RevokedAt, k.CreatedAt)
	}
	s.must(s.store.RevokeAPIKey(s.ctx, s.a.org, k.ID, first.ID))
	if d := cmp.Diff(revoked, s.apiKeys(s.a.org)[1]); d != "" {
		t.Errorf("revoked again: %s", d)
	}

	page, err := s.store.APIKeys(s.ctx, s.a.org, first.ID, 1)
	s.must(err)
	if len(page) != 1 || page[0].ID != k.ID {
		t.Errorf("behind the first: %+v", page)
	}
}

func TestAKeyGrantsOnlyWhatItHas(t *testing.T) {
	s := newBundle(t)
	first := s.firstKey()
	writer, _ := s.createKey(first.ID, "ci", tenant.ScopeWrite, tenant.ScopeRead)
	_, _, err := s.store.CreateAPIKey(s.ctx, s.a.org, writer.ID, "more", []tenant.Scope{tenant.ScopePing, tenant.ScopeRead, tenant.ScopeSamples})
	if fault.CodeOf(err) != fault.Forbidden || !strings.Contains(fault.MessageOf(err), `lacks "ping", "samples":`) {
		t.Errorf("%v", err)
	}
	s.createKey(writer.ID, "less", tenant.ScopeRead)

	// A key that was believed a moment ago makes no other and revokes none.
	s.must(s.store.RevokeAPIKey(s.ctx, s.a.org, writer.ID, first.ID))
	for _, by := range []uuid.UUID{writer.ID, uuid.New(), uuid.Nil, s.foreignKey("write", "read")} {
		if _, _, err := s.store.CreateAPIKey(s.ctx, s.a.org, by, "late", []tenant.Scope{tenant.ScopeRead}); !errors.Is(err, store.ErrUnauthenticated) {
			t.Errorf("made by %v: %v", by, err)
		}
		if err := s.store.RevokeAPIKey(s.ctx, s.a.org, first.ID, by); !errors.Is(err, store.ErrUnauthenticated) {
			t.Errorf("revoked by %v: %v", by, err)
		}
	}
	if n := len(s.apiKeys(s.a.org)); n != 3 {
		t.Errorf("%d keys", n)
	}
}

func TestKeysStayInTheirOrganisation(t *testing.T) {
	s := newBundle(t)
	first, theirs := s.firstKey(), s.foreignKey("read", "write")
	for _, id := range []uuid.UUID{theirs, uuid.New()} {
		if err := s.store.RevokeAPIKey(s.ctx, s.a.org, id, first.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
	if got := s.apiKeys(s.b.org); len(got) != 1 || got[0].ID != theirs || got[0].RevokedAt != nil {
		t.Errorf("the other's: %+v", got)
	}
	if got := s.apiKeys(s.a.org); len(got) != 1 || got[0].ID != first.ID {
		t.Errorf("one's own: %+v", got)
	}
}

func TestTheLastKeyThatWritesStays(t *testing.T) {
	s := newBundle(t)
	s.foreignKey("write") // another organisation's does not count
	first := s.firstKey()
	s.createKey(first.ID, "reader", tenant.ScopeRead)
	err := s.store.RevokeAPIKey(s.ctx, s.a.org, first.ID, first.ID)
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(fault.MessageOf(err), "last") {
		t.Errorf("%v", err)
	}

	// Of many that all revoke themselves at once, one stays.
	keys := []uuid.UUID{first.ID}
	for i := range 5 {
		k, _ := s.createKey(first.ID, fmt.Sprint(i), tenant.ScopeWrite)
		keys = append(keys, k.ID)
	}
	var wg sync.WaitGroup
	var refused atomic.Int64
	for _, id := range keys {
		wg.Go(func() {
			switch err := s.store.RevokeAPIKey(s.ctx, s.a.org, id, id); fault.CodeOf(err) {
			case "":
				if err != nil {
					t.Error(err)
				}
			case fault.Conflict:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := s.count(`select count(*) from api_keys where org_id = $1 and revoked_at is null and 'write' = any (scopes)`, s.a.org)
	if n != 1 || refused.Load() != 1 {
		t.Errorf("%d living, %d refused", n, refused.Load())
	}
}

func TestAHundredLivingKeys(t *testing.T) {
	s := newBundle(t)
	first := s.firstKey()
	s.exec(`insert into api_keys (id, org_id, name, hash, prefix, scopes)
		select gen_random_uuid(), $1, 'many', int4send(i), 'tkf_', '{read}' from generate_series(1, 98) i`, s.a.org)
	var wg sync.WaitGroup
	var made atomic.Int64
	for range 5 {
		wg.Go(func() {
			_, _, err := s.store.CreateAPIKey(s.ctx, s.a.org, first.ID, "one more", []tenant.Scope{tenant.ScopeRead})
			if err == nil {
				made.Add(1)
			} else if fault.CodeOf(err) != fault.Invalid || !strings.Contains(fault.MessageOf(err), "100 API keys: revoke one") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d made beside 99, want 1", made.Load())
	}
	s.exec(`update api_keys set revoked_at = now() where name = 'one more'`)
	s.createKey(first.ID, "instead", tenant.ScopeRead)
}
