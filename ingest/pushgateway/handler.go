package pushgateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// answerError is an error with the answer that it comes to.
type answerError struct {
	status int
	text   string
	retry  time.Duration
}

func (e *answerError) Error() string { return e.text }

func bad(err error) error { return &answerError{status: http.StatusBadRequest, text: err.Error()} }

// inconsistent is the Pushgateway's answer to metrics that can be read, but cannot stand.
func inconsistent(err error) *answerError {
	return &answerError{status: http.StatusBadRequest, text: "pushed metrics are invalid or inconsistent with existing metrics: " + err.Error()}
}

// unavailableRetry is told to who comes while samples, or groups, cannot be stored.
const unavailableRetry = 5 * time.Second

func (g *Gateway) put(w http.ResponseWriter, r *http.Request) {
	g.serve(w, r, http.StatusOK, func(ctx context.Context, org tenant.OrgID) error { return g.push(ctx, r, org, true) })
}

func (g *Gateway) post(w http.ResponseWriter, r *http.Request) {
	g.serve(w, r, http.StatusOK, func(ctx context.Context, org tenant.OrgID) error { return g.push(ctx, r, org, false) })
}

func (g *Gateway) delete(w http.ResponseWriter, r *http.Request) {
	g.serve(w, r, http.StatusAccepted, func(ctx context.Context, org tenant.OrgID) error {
		key, err := groupingKey(r.URL.EscapedPath(), &g.o.Rules)
		if err != nil {
			return bad(err)
		}
		return g.drop(ctx, org, key)
	})
}

// serve answers a request: with status where f returns no error.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, status int, f func(context.Context, tenant.OrgID) error) {
	begun := g.o.Clock()
	who, err := g.o.Keys.Request(r, tenant.ScopeSamples)
	if err == nil {
		err = f(r.Context(), who.Org)
	}
	if err != nil {
		status = g.fail(w, r, err)
	} else {
		w.WriteHeader(status)
	}
	g.metrics.answered(r.Method, status, g.o.Clock().Sub(begun))
}

// fail answers an error and returns the status.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) int {
	a, ok := errors.AsType[*answerError](err)
	if !ok {
		a = &answerError{text: fault.MessageOf(err)}
		switch fault.CodeOf(err) {
		case fault.Unauthenticated:
			a.status = http.StatusUnauthorized
			auth.Challenge(w.Header())
		case fault.Forbidden:
			a.status = http.StatusForbidden
		case fault.Invalid:
			a.status = http.StatusBadRequest
		default:
			a.status, a.text, a.retry = http.StatusServiceUnavailable, "the metrics could not be stored now: try again", unavailableRetry
			g.o.Logger.WarnContext(r.Context(), "a push could not be stored", "error", err)
		}
	}
	h := w.Header()
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(a.retry.Seconds())))))
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.text+"\n") //nolint:gosec // text/plain with nosniff; the client may be gone
	return a.status
}

// push takes a PUT (replace) or POST.
func (g *Gateway) push(ctx context.Context, r *http.Request, org tenant.OrgID, replace bool) error {
	key, err := groupingKey(r.URL.EscapedPath(), &g.o.Rules)
	if err != nil {
		return bad(err)
	}
	ttl, given, err := timeToLive(r.Header.Get("X-Tokiflow-TTL"), r.URL.Query().Get("ttl"))
	if err != nil {
		return bad(err)
	}
	body, err := g.read(r)
	if err != nil {
		return err
	}
	families, stamped, err := parse(body, r.Header.Get("Content-Type"), g.o.MaxSeries)
	if err != nil {
		return bad(err)
	}
	families = without(families)
	if stamped {
		err = errTimestamps
	} else if err = adopt(families, key, &g.o.Rules); err == nil {
		err = consistent(families)
	}
	if err != nil {
		return g.refuse(ctx, org, key, inconsistent(err))
	}
	if err := g.limit(org, families); err != nil {
		return err
	}
	c := change{g: g, families: families, replace: replace}
	if given {
		c.ttl = &ttl
	}
	err = g.alter(ctx, org, key, func(l *series.LockedGroup) error { return c.apply(ctx, l) })
	if err == nil && c.refused != nil {
		return c.refused // the group keeps that it was
	}
	return err
}

// read reads and unpacks the body.
func (g *Gateway) read(r *http.Request) ([]byte, error) {
	var body io.Reader = r.Body
	switch e := strings.ToLower(r.Header.Get("Content-Encoding")); e {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, bad(fmt.Errorf("the body is not gzip: %w", err))
		}
		body = z
	default:
		return nil, &answerError{status: http.StatusUnsupportedMediaType, text: fmt.Sprintf("Content-Encoding %q is not taken: send gzip or none", e)}
	}
	data, err := io.ReadAll(io.LimitReader(body, int64(g.o.MaxBody)+1))
	if err != nil {
		return nil, bad(fmt.Errorf("the body cannot be read: %w", err))
	}
	if len(data) > g.o.MaxBody {
		return nil, &answerError{
			status: http.StatusRequestEntityTooLarge,
			text:   fmt.Sprintf("the body has more than the %d bytes that are allowed", g.o.MaxBody),
		}
	}
	return data, nil
}

// limit holds what was pushed to the organisation's limits. A push is taken whole or not at all.
func (g *Gateway) limit(org tenant.OrgID, families []*family) error {
	var all []series.Series
	for _, f := range families {
		all = append(all, f.series...)
	}
	if wait := g.o.Limiter.Take(org, len(all)); wait > 0 {
		return &answerError{status: http.StatusTooManyRequests, text: "the organisation sends more samples a second than it may", retry: wait}
	}
	var over *admit.Error
	g.o.Limiter.Active(org, all, func(i int) {
		if over == nil {
			over = g.o.Limiter.Over(all[i].Labels)
		}
	})
	if over != nil {
		return &answerError{status: http.StatusTooManyRequests, text: over.Text, retry: admit.SeriesRetry}
	}
	return nil
}

// refuse notes in the group that a push of it was not taken.
func (g *Gateway) refuse(ctx context.Context, org tenant.OrgID, key []series.Label, why *answerError) error {
	err := g.alter(ctx, org, key, func(l *series.LockedGroup) error { return g.failed(ctx, l) })
	if err != nil {
		return err
	}
	return why
}

// drop deletes a group, and ends its series.
func (g *Gateway) drop(ctx context.Context, org tenant.OrgID, key []series.Label) error {
	return g.alter(ctx, org, key, func(l *series.LockedGroup) error {
		l.Drop = true
		if !l.Found {
			return nil
		}
		all := append(g.standing(ctx, l), ownFamilies(&l.Group)...)
		return g.o.Appender.AppendSamples(ctx, l.Org, ended(vanished(all, nil), g.next(l)), nil)
	})
}

// next is the time for samples of the group: now, but behind all there are.
func (g *Gateway) next(l *series.LockedGroup) time.Time {
	now := g.now()
	if after := l.After.Truncate(time.Millisecond).Add(time.Millisecond); after.After(now) {
		return after
	}
	return now
}
