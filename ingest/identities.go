package ingest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// maxLimits bounds how many rate limits are remembered of which none is in use.
const maxLimits = 4096

// errNoKey says that a request carries no valid API key.
var errNoKey = errors.New("the API key is missing or not valid")

// identity is a proved API key with its rate limit.
type identity struct {
	tenant.Identity
	limit *bucket
}

// identities proves API keys and keeps the rate limit of each. Safe for concurrent use.
type identities struct {
	keys *auth.Keys

	mu      sync.Mutex
	buckets map[uuid.UUID]*bucket // by the key's id; guarded by mu
}

func newIdentities(keys *auth.Keys) *identities {
	return &identities{keys: keys, buckets: map[uuid.UUID]*bucket{}}
}

// authenticate tells whose key it is. The error is errNoKey, or says why that cannot be told now.
func (s *identities) authenticate(ctx context.Context, key string, now time.Duration) (identity, error) {
	who, err := s.keys.Identify(ctx, key)
	if fault.CodeOf(err) == fault.Unauthenticated {
		return identity{}, errNoKey
	}
	if err != nil {
		return identity{}, err
	}
	return identity{Identity: who, limit: s.limit(who.Key, now)}, nil
}

// limit is the rate limit of a key. Those that are idle are as good as new ones, and go when there are many.
func (s *identities) limit(key uuid.UUID, now time.Duration) *bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[key]; b != nil {
		return b
	}
	if len(s.buckets) >= maxLimits {
		for id, b := range s.buckets {
			if b.idle(now) {
				delete(s.buckets, id)
			}
		}
	}
	b := new(bucket)
	s.buckets[key] = b
	return b
}
