// Package auth finds out who a request acts for: it reads the API key, asks the store whose it is, and holds it to a scope.
package auth

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Authenticator finds who an API key stands for; a key it does not know is a fault of code unauthenticated.
type Authenticator interface {
	Authenticate(ctx context.Context, key string) (tenant.Identity, error)
}

// Keys knows keys that were found a moment ago, by their SHA-256, so that a busy client does not cost a query a request. A
// revoked key goes on for a few seconds at most; while the source cannot be asked, a key goes on that was good a while ago, so
// that what needs no database does not fail with it. Safe for concurrent use.
type Keys struct {
	source Authenticator
	now    func() time.Time

	mu   sync.Mutex
	seen map[[sha256.Size]byte]known
}

type known struct {
	who   tenant.Identity
	until time.Time
}

const (
	// KeyLife is how long a proved key is believed without asking again; a revoked one may be used as long.
	KeyLife = 3 * time.Second
	// StaleLife is how much longer it is believed while nobody can be asked, so that pings go on while the database is down.
	StaleLife = time.Hour

	keysMost = 10_000
)

// NewKeys makes Keys; a nil clock is time.Now.
func NewKeys(source Authenticator, clock func() time.Time) *Keys {
	if clock == nil {
		clock = time.Now
	}
	return &Keys{source: source, now: clock}
}

// Identify finds who the key stands for. The error is a fault of code unauthenticated where that is nobody.
func (k *Keys) Identify(ctx context.Context, key string) (tenant.Identity, error) {
	if key == "" {
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "an API key is required: Authorization: Bearer tkf_…, or X-Api-Key")
	}
	h := sha256.Sum256([]byte(key))
	now := k.now()
	seen, ok := k.get(h)
	if ok && now.Before(seen.until) {
		return seen.who, nil
	}
	who, err := k.source.Authenticate(ctx, key)
	switch {
	case err == nil:
		k.put(h, who, now)
	case fault.CodeOf(err) == fault.Unauthenticated:
		k.forget(h)
	case ok && now.Before(seen.until.Add(StaleLife)):
		return seen.who, nil
	}
	return who, err
}

// Request finds who a request acts for, and that its key carries the scope. The error is a fault of code unauthenticated or
// forbidden, or whatever the source fails with.
func (k *Keys) Request(r *http.Request, scope tenant.Scope) (tenant.Identity, error) {
	who, err := k.Identify(r.Context(), KeyOf(r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")))
	if err == nil && !who.Has(scope) {
		err = Lacking(scope)
	}
	return who, err
}

// Lacking is the fault of a key without the scope.
func Lacking(scope tenant.Scope) error {
	return fault.New(fault.Forbidden, `the API key lacks the scope "`+string(scope)+`"`)
}

// Challenge sets the header that tells a client how to come back with a key. Call it before answering 401.
func Challenge(h http.Header) {
	h.Add("WWW-Authenticate", `Bearer realm="tokiflow"`)
	h.Add("WWW-Authenticate", `Basic realm="tokiflow"`)
}

// KeyOf is the API key in a request's headers: the bearer token, the password of basic authentication (the user's name is
// whatever the client likes) or X-Api-Key; "" where there is none.
func KeyOf(authorization, header string) string {
	if scheme, token, ok := strings.Cut(authorization, " "); ok {
		switch strings.ToLower(scheme) {
		case "bearer":
			return strings.TrimSpace(token)
		case "basic":
			r := http.Request{Header: http.Header{"Authorization": {authorization}}}
			if _, password, ok := r.BasicAuth(); ok {
				return password
			}
		}
	}
	return header
}

func (k *Keys) get(h [sha256.Size]byte) (known, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.seen[h]
	return e, ok
}

func (k *Keys) forget(h [sha256.Size]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, h)
}

func (k *Keys) put(h [sha256.Size]byte, who tenant.Identity, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil || len(k.seen) >= keysMost {
		k.seen = map[[sha256.Size]byte]known{} // begin anew: it fills again in KeyLife
	}
	k.seen[h] = known{who: who, until: now.Add(KeyLife)}
}
