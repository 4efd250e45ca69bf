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
	"github.com/tokiflow/tokiflow/saas/auth"
)

func errUnauthenticated() error { return fault.New(fault.Unauthenticated, "revoked") }

// anyKey proves every key, each as one of its own.
type anyKey struct{}

func (anyKey) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	return tenant.Identity{Org: orgA(), Key: uuid.NewSHA1(uuid.NameSpaceOID, []byte(key))}, nil
}

func someIdentities() *identities {
	return newIdentities(auth.NewKeys(anyKey{}, func() time.Time { return time.Unix(0, 0) }))
}

func TestRateLimitsAreBounded(t *testing.T) {
	s, l := someIdentities(), newLimiter(60)
	now := time.Duration(0)
	for i := range 3 * maxLimits {
		who, err := s.authenticate(t.Context(), fmt.Sprint(i), now)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			l.take(who.limit, now)
		}
		now += time.Second // in which the limit of the one before is idle again
		if len(s.buckets) > maxLimits {
			t.Fatalf("%d rate limits are remembered", len(s.buckets))
		}
	}
}

// TestARateLimitInUseIsNotForgotten: eviction would be a way around the limit.
func TestARateLimitInUseIsNotForgotten(t *testing.T) {
	s := someIdentities()
	l := newLimiter(1)
	who, err := s.authenticate(t.Context(), "busy", 0)
	if err != nil || l.take(who.limit, 0) > 0 {
		t.Fatalf("%v, %v", who, err)
	}
	for i := range 5 * maxLimits {
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
	s := someIdentities()
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
