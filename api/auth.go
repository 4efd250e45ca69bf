package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// The names of the security schemes in the document.
const (
	schemeBearer = "bearer"
	schemeHeader = "apiKey"
)

// authenticate lets a request pass whose key carries the scope.
func (a *API) authenticate(h huma.API, scope tenant.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		who, err := a.keys.Identify(ctx.Context(), auth.KeyOf(ctx.Header("Authorization"), ctx.Header("X-Api-Key")))
		switch {
		case fault.CodeOf(err) == fault.Unauthenticated:
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="tokiflow"`)
			if ctx.Method() == http.MethodGet && strings.Contains(ctx.Header("Accept"), "text/html") {
				// Somebody has followed a link of an alert: the browser asks for the key as a password.
				ctx.AppendHeader("WWW-Authenticate", `Basic realm="tokiflow"`)
			}
			_ = huma.WriteErr(h, ctx, http.StatusUnauthorized, fault.MessageOf(err))
		case err != nil:
			a.writeFailure(h, ctx, err)
		case !who.Has(scope):
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="tokiflow", error="insufficient_scope", scope="`+string(scope)+`"`)
			_ = huma.WriteErr(h, ctx, http.StatusForbidden, fault.MessageOf(auth.Lacking(scope)))
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
