package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// maxBody is how many bytes a request's body may have.
const maxBody = 1 << 20

// identityKey holds the identity between the middleware and operation's wrapper, and nowhere else: handlers get it as an
// argument.
type identityKey struct{}

// operation registers a handler behind the check of the key and its scope.
func operation[I, O any](a *API, h huma.API, op huma.Operation, scope tenant.Scope, f func(context.Context, tenant.Identity, *I) (*O, error)) {
	op.Security = security(scope)
	op.RejectUnknownQueryParameters = true
	op.Middlewares = huma.Middlewares{wellFormedQuery(h), a.authenticate(h, scope)}
	op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusServiceUnavailable)
	if strings.Contains(op.Path, "{") {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	if _, hasBody := reflect.TypeFor[I]().FieldByName("Body"); hasBody {
		op.MaxBodyBytes = maxBody
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
		who, ok := ctx.Value(identityKey{}).(tenant.Identity)
		if !ok {
			return nil, huma.Error401Unauthorized("an API key is required")
		}
		out, err := f(ctx, who, in)
		if err != nil {
			return nil, a.problem(ctx, op.OperationID, err)
		}
		return out, nil
	})
}

func security(scope tenant.Scope) []map[string][]string {
	return []map[string][]string{{schemeBearer: {string(scope)}}, {schemeHeader: {string(scope)}}}
}

// problem maps an error to its answer: the one place that does.
func (a *API) problem(ctx context.Context, operation string, err error) error {
	if _, ok := errors.AsType[huma.StatusError](err); ok {
		return err // made by a handler for the client
	}
	if ctx.Err() != nil {
		return huma.NewError(statusClientGone, "the request was given up")
	}
	var f *fault.Error
	if !errors.As(err, &f) && unreachable(err) {
		f = &fault.Error{Code: fault.Unavailable, Message: "the database cannot be reached, try again", Err: err}
	}
	if f == nil {
		a.log.ErrorContext(ctx, "api: a request failed", "operation", operation, "error", err)
		return huma.Error500InternalServerError("something went wrong on our side; it is in the server's log")
	}
	switch f.Code {
	case fault.NotFound:
		return huma.Error404NotFound(f.Message)
	case fault.Conflict, fault.Ambiguous:
		return huma.Error409Conflict(f.Message)
	case fault.Unauthenticated:
		return huma.Error401Unauthorized(f.Message)
	case fault.Forbidden:
		return huma.Error403Forbidden(f.Message)
	case fault.Invalid:
		return huma.Error422UnprocessableEntity(f.Message)
	case fault.Unavailable:
		a.log.WarnContext(ctx, "api: a request could not be served", "operation", operation, "error", err)
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(f.Message), http.Header{"Retry-After": {"1"}})
	}
	a.log.ErrorContext(ctx, "api: a fault without a status", "operation", operation, "code", f.Code, "error", err)
	return huma.Error500InternalServerError("something went wrong on our side; it is in the server's log")
}

// unreachable tells an error on the way to the database from one that it answered with.
func unreachable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}

// statusClientGone is what nginx and others log where nobody waits for the answer any more.
const statusClientGone = 499

// wellFormedQuery refuses what would be read as something else than was meant: a second value of a parameter that takes
// one, an empty value among several (huma takes the parameter for missing), and text that PostgreSQL does not keep.
func wellFormedQuery(h huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		u := ctx.URL()
		for name, values := range u.Query() {
			if fault := queryFault(ctx.Operation(), name, values); fault != "" {
				_ = huma.WriteErr(h, ctx, http.StatusUnprocessableEntity, "validation failed", &huma.ErrorDetail{
					Location: "query." + strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), ""), Message: fault,
				})
				return
			}
		}
		next(ctx)
	}
}

func queryFault(op *huma.Operation, name string, values []string) string {
	for _, v := range append(values, name) {
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return "must be UTF-8 without NUL"
		}
	}
	if len(values) < 2 {
		return ""
	}
	for _, p := range op.Parameters {
		if p.In == "query" && p.Name == name && p.Schema.Type != huma.TypeArray {
			return "must be given once"
		}
	}
	if slices.Contains(values, "") {
		return "must not be empty where it is repeated"
	}
	return ""
}

// plainProblem makes a problem of huma's readable: it leads with what is wrong and where, in a fixed order, and does not
// send back more of the request than a short value.
func plainProblem(_ huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*huma.ErrorModel)
	if !ok || len(p.Errors) == 0 {
		return v, nil
	}
	q := *p
	q.Errors = make([]*huma.ErrorDetail, len(p.Errors))
	for i, d := range p.Errors {
		e := *d
		if e.Message == "unexpected property" {
			e.Message = "unknown field"
		}
		e.Value = shortValue(e.Value)
		q.Errors[i] = &e
	}
	slices.SortStableFunc(q.Errors, func(a, b *huma.ErrorDetail) int { return strings.Compare(a.Location, b.Location) })
	if first := q.Errors[0]; q.Detail == "validation failed" {
		q.Detail = strings.TrimPrefix(first.Location+": "+first.Message, ": ")
	}
	return &q, nil
}

func shortValue(v any) any {
	const most = 100
	switch v := v.(type) {
	case string:
		if v != "" && len(v) <= most {
			return v
		}
	case bool, float64, int64:
		return v
	}
	return nil
}

// unknownPath answers for every path and method under /api/v1 that nothing else takes.
func (a *API) unknownPath(r chi.Router) http.HandlerFunc {
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	return func(w http.ResponseWriter, req *http.Request) {
		var allowed []string
		for _, m := range methods {
			rc := chi.NewRouteContext()
			if r.Match(rc, m, req.URL.Path) && !strings.HasSuffix(rc.RoutePattern(), "*") {
				allowed = append(allowed, m)
			}
		}
		if len(allowed) == 0 {
			writeProblem(w, http.StatusNotFound, "there is no such path; see /api/openapi.json")
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, ", "))
	}
}

// writeProblem writes an RFC 9457 answer outside of huma.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = huma.DefaultJSONFormat.Marshal(w, huma.NewError(status, detail)) // the client may be gone
}
