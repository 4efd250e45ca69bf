package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// The names of the security schemes in the document.
const (
	schemeBearer = "bearer"
	schemeHeader = "apiKey"
)

// authenticate lets a request pass whose key carries the scope.
func (a *API) authenticate(h huma.API, scope tenant.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		key := bearerToken(ctx.Header("Authorization"))
		if key == "" {
			key = ctx.Header("X-Api-Key")
		}
		who, err := a.identify(ctx.Context(), key)
		switch {
		case fault.CodeOf(err) == fault.Unauthenticated:
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="tokiflow"`)
			_ = huma.WriteErr(h, ctx, http.StatusUnauthorized, fault.MessageOf(err))
		case err != nil:
			a.writeFailure(h, ctx, err)
		case !who.Has(scope):
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="tokiflow", error="insufficient_scope", scope="`+string(scope)+`"`)
			_ = huma.WriteErr(h, ctx, http.StatusForbidden, `the API key lacks the scope "`+string(scope)+`"`)
		default:
			next(huma.WithValue(ctx, identityKey{}, who))
		}
	}
}

// writeFailure answers an error that came before the handler.
func (a *API) writeFailure(h huma.API, ctx huma.Context, err error) {
	p := a.problem(ctx.Context(), ctx.Operation().OperationID, err)
	status, message := http.StatusInternalServerError, p.Error()
	if se, ok := errors.AsType[huma.StatusError](p); ok {
		status = se.GetStatus()
	}
	if status == http.StatusServiceUnavailable {
		ctx.SetHeader("Retry-After", "1")
	}
	_ = huma.WriteErr(h, ctx, status, message)
}

// identify finds who the key stands for, asking the store at most every few seconds.
func (a *API) identify(ctx context.Context, key string) (tenant.Identity, error) {
	if key == "" {
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "an API key is required: Authorization: Bearer tkf_…, or X-Api-Key")
	}
	h := sha256.Sum256([]byte(key))
	if who, ok := a.keys.get(h, a.now()); ok {
		return who, nil
	}
	who, err := a.store.Authenticate(ctx, key)
	if err == nil {
		a.keys.put(h, who, a.now())
	}
	return who, err
}

func bearerToken(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// keyCache remembers keys that were found a moment ago, by their SHA-256, so that a busy client does not cost a query a
// request. A revoked key goes on for keyLife at most.
type keyCache struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]knownKey
}

type knownKey struct {
	who   tenant.Identity
	until time.Time
}

const (
	keyLife  = 3 * time.Second
	keysMost = 10_000
)

func (c *keyCache) get(h [sha256.Size]byte, now time.Time) (tenant.Identity, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.seen[h]
	if !ok || !now.Before(k.until) {
		return tenant.Identity{}, false
	}
	return k.who, true
}

func (c *keyCache) put(h [sha256.Size]byte, who tenant.Identity, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= keysMost {
		c.seen = map[[sha256.Size]byte]knownKey{} // begin anew: it fills again in keyLife
	}
	c.seen[h] = knownKey{who: who, until: now.Add(keyLife)}
}
