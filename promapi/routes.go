package promapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// request is a request of whom the key has let in.
type request struct {
	*http.Request
	org  tenant.OrgID
	form url.Values
}

// handler finds an answer. Its context ends with the time that the request has.
type handler func(ctx context.Context, r *request) (*answer, error)

// Routes mounts everything under /prometheus.
func (a *API) Routes(r chi.Router) {
	r.Get("/prometheus/-/healthy", says("Tokiflow is healthy.\n"))
	r.Get("/prometheus/-/ready", says("Tokiflow is ready.\n"))
	r.Route("/prometheus/api/v1", func(r chi.Router) {
		both := func(path string, h handler) {
			f := a.serve(path, h)
			r.Get(path, f)
			r.Post(path, f)
		}
		both("/query", a.query)
		both("/query_range", a.queryRange)
		both("/query_exemplars", a.queryExemplars)
		both("/format_query", a.formatQuery)
		both("/parse_query", a.parseQuery)
		both("/series", a.series)
		both("/labels", a.labels)
		both("/label/{name}/values", a.labelValues)
		r.Get("/metadata", a.serve("/metadata", a.metricMetadata))
		r.Get("/rules", a.serve("/rules", a.ruleGroups))
		r.Get("/alerts", a.serve("/alerts", a.alerts))
		r.Get("/targets", a.serve("/targets", a.targets))
		r.Get("/status/buildinfo", a.serve("/status/buildinfo", a.buildInfo))
		r.Post("/read", a.serve("/read", a.read))
		r.NotFound(func(w http.ResponseWriter, r *http.Request) {
			a.refuse(w, r, &apiError{kind: errNotFound, message: "there is no " + r.URL.Path + ": docs/prometheus.md lists the endpoints"})
		})
	})
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

// serve finds out who asks, waits for its turn, and answers.
func (a *API) serve(endpoint string, h handler) http.HandlerFunc {
	seconds := a.metrics.seconds.WithLabelValues(endpoint)
	return func(out http.ResponseWriter, r *http.Request) {
		began := time.Now()
		w := &watched{ResponseWriter: out}
		defer func() {
			seconds.Observe(time.Since(began).Seconds())
			a.metrics.requests.WithLabelValues(endpoint, strconv.Itoa(w.status())).Inc()
		}()
		who, err := a.keys.Request(r, tenant.ScopeMetrics)
		if err != nil {
			e := refusal(err)
			if e.kind == errUnauthorized {
				auth.Challenge(w.Header())
			}
			a.refuse(w, r, e)
			return
		}
		timeout, err := a.prepare(w, r)
		if err != nil {
			a.refuse(w, r, a.answerTo(err))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		leave, err := a.admit(ctx, who.Org)
		if err != nil {
			a.refuse(w, r, a.answerTo(err))
			return
		}
		defer leave()
		x, err := h(ctx, &request{Request: r, org: who.Org, form: r.Form})
		if err != nil {
			a.refuse(w, r, a.answerTo(err))
			return
		}
		a.respond(w, r, x)
	}
}

// prepare reads the form, and how long the request may take.
func (a *API) prepare(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	const most = 1 << 20 // of a form; a selector of ten thousand ids takes 400 KB
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		r.Body = http.MaxBytesReader(w, r.Body, most)
	}
	if err := r.ParseForm(); err != nil {
		return 0, badData(fmt.Errorf("error parsing form values: %w", err))
	}
	timeout := a.limits.Timeout
	if v := r.Form.Get("timeout"); v != "" {
		d, err := parseDuration(v)
		if err == nil && d <= 0 {
			err = fmt.Errorf("timeout must be positive, got %s", d)
		}
		if err != nil {
			return 0, badParameter("timeout", err)
		}
		timeout = min(timeout, d)
	}
	return timeout, nil
}

// watched remembers the status that was answered.
type watched struct {
	http.ResponseWriter
	code int
}

// WriteHeader remembers the status.
func (w *watched) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write answers 200 unless something else was said.
func (w *watched) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController through.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *watched) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

// windowOf is the parameters start and end of the endpoints that look for series: all that is kept, unless they say less.
// What was written to us may be a little ahead of our clock.
func (a *API) windowOf(form url.Values) (from, to time.Time, err error) {
	now := a.clock()
	oldest, newest := timeOf(a.oldest(now.UnixMilli())), now.Add(time.Hour)
	if from, err = timeOr(form, "start", oldest); err != nil {
		return from, to, err
	}
	if to, err = timeOr(form, "end", newest); err != nil {
		return from, to, err
	}
	if from.Before(oldest) {
		from = oldest
	}
	if to.After(newest) {
		to = newest
	}
	return from, to, nil
}

func notAfter(start, end time.Time) error {
	if end.Before(start) {
		return errors.New("end timestamp must not be before start time")
	}
	return nil
}
