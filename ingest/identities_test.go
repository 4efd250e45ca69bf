package ingest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func errUnauthenticated() error { return fault.New(fault.Unauthenticated, "revoked") }

// anyKey proves every key, each as one of its own.
type anyKey struct{}

func (anyKey) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	return tenant.Identity{Org: orgA(), Key: uuid.NewSHA1(uuid.NameSpaceOID, []byte(key))}, nil
}

func TestIdentitiesAreBounded(t *testing.T) {
	s := newIdentities(anyKey{})
	l := newLimiter(60)
	now := time.Duration(0)
	first, err := s.authenticate(t.Context(), "first", now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxIdentities {
		who, err := s.authenticate(t.Context(), fmt.Sprint(i), now)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			l.take(who.limit, now)
		}
		if len(s.byHash) > maxIdentities {
			t.Fatalf("%d identities are remembered", len(s.byHash))
		}
	}
	if n := len(s.buckets); n > maxIdentities+1 {
		t.Errorf("%d rate limits are remembered", n)
	}
	// After a pause everything is out of date and goes first.
	now += freshFor
	for i := range maxIdentities {
		if _, err := s.authenticate(t.Context(), fmt.Sprint("later", i), now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.byHash); n > maxIdentities {
		t.Errorf("%d identities are remembered", n)
	}
	again, err := s.authenticate(t.Context(), "first", now)
	if err != nil || again.Key != first.Key {
		t.Errorf("%v, %v", again, err)
	}
}

// TestARateLimitInUseIsNotForgotten: eviction would be a way around the limit.
func TestARateLimitInUseIsNotForgotten(t *testing.T) {
	s := newIdentities(anyKey{})
	l := newLimiter(1)
	who, err := s.authenticate(t.Context(), "busy", 0)
	if err != nil || l.take(who.limit, 0) > 0 {
		t.Fatalf("%v, %v", who, err)
	}
	for i := range 5 * maxIdentities {
		if _, err := s.authenticate(t.Context(), fmt.Sprint(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	who, err = s.authenticate(t.Context(), "busy", 0)
	if err != nil || l.take(who.limit, 0) == 0 {
		t.Errorf("the limit was forgotten: %v", err)
	}
}

func TestIdentitiesConcurrently(t *testing.T) {
	s := newIdentities(anyKey{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if _, err := s.authenticate(t.Context(), fmt.Sprint(i%500), time.Duration(i+w)*time.Millisecond*10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
