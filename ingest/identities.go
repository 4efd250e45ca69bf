package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	// freshFor is how long a proved API key is believed without asking again; a revoked one may be used as long.
	freshFor = 5 * time.Second
	// staleFor is how long it is believed while nobody can be asked, so that batches go on while the database is down.
	staleFor = time.Hour
	// maxIdentities bounds what is remembered. Only keys that were proved once get in.
	maxIdentities = 4096
)

// errNoKey says that a request carries no valid API key.
var errNoKey = errors.New("the API key is missing or not valid")

// identity is a proved API key with its rate limit.
type identity struct {
	tenant.Identity
	proved time.Duration // when, on the Ingest's clock
	limit  *bucket
}

// identities remembers API keys for a while. It keeps their SHA-256, not the keys. Safe for concurrent use.
type identities struct {
	source Authenticator

	mu      sync.Mutex
	byHash  map[[sha256.Size]byte]identity // guarded by mu
	buckets map[uuid.UUID]*bucket          // by the key's id; guarded by mu
}

func newIdentities(source Authenticator) *identities {
	return &identities{source: source, byHash: map[[sha256.Size]byte]identity{}, buckets: map[uuid.UUID]*bucket{}}
}

// authenticate tells whose key it is. The error is errNoKey, or says why that cannot be told now.
func (s *identities) authenticate(ctx context.Context, key string, now time.Duration) (identity, error) {
	if key == "" {
		return identity{}, errNoKey
	}
	hash := sha256.Sum256([]byte(key))
	known, ok := s.get(hash)
	if ok && now-known.proved < freshFor {
		return known, nil
	}
	who, err := s.source.Authenticate(ctx, key)
	switch {
	case err == nil:
		return s.put(hash, who, now), nil
	case fault.CodeOf(err) == fault.Unauthenticated:
		s.drop(hash)
		return identity{}, errNoKey
	case ok && now-known.proved < staleFor:
		return known, nil
	}
	return identity{}, err
}

func (s *identities) get(hash [sha256.Size]byte) (identity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.byHash[hash]
	return known, ok
}

func (s *identities) drop(hash [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, hash)
}

func (s *identities) put(hash [sha256.Size]byte, who tenant.Identity, now time.Duration) identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byHash) >= maxIdentities {
		s.evict(now)
	}
	limit := s.buckets[who.Key]
	if limit == nil {
		limit = new(bucket)
		s.buckets[who.Key] = limit
	}
	made := identity{Identity: who, proved: now, limit: limit}
	s.byHash[hash] = made
	return made
}

// evict makes room: what is no longer fresh goes, and half of the rest if that was nothing; then the rate limits that
// are idle and belong to nobody who is left. s.mu is held.
func (s *identities) evict(now time.Duration) {
	for hash, known := range s.byHash {
		if now-known.proved >= freshFor {
			delete(s.byHash, hash)
		}
	}
	for hash := range s.byHash {
		if len(s.byHash) <= maxIdentities/2 {
			break
		}
		delete(s.byHash, hash)
	}
	used := make(map[uuid.UUID]bool, len(s.byHash))
	for _, known := range s.byHash {
		used[known.Key] = true
	}
	for id, b := range s.buckets {
		if !used[id] && b.idle(now) {
			delete(s.buckets, id)
		}
	}
}
