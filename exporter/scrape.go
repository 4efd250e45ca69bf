package exporter

import (
	"net/http"
	"strconv"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// scrape answers GET and HEAD /metrics/monitors.
func (e *Exporter) scrape(w http.ResponseWriter, r *http.Request) {
	began := e.now()
	b, f, err := e.scraped(r)
	status := http.StatusOK
	if err != nil {
		status = e.refuse(w, r, err)
	} else {
		h := w.Header()
		h.Set("Content-Type", contentType(f))
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Accept, Accept-Encoding")
		if c := contentEncoding(b.encoding); c != "" {
			h.Set("Content-Encoding", c)
		}
		h.Set("Content-Length", strconv.Itoa(b.size))
		if r.Method != http.MethodHead {
			b.writeTo(w)
			e.metrics.sent.Add(float64(b.size))
		}
	}
	e.metrics.observe(status, e.now().Sub(began))
}

// scraped is the answer to a scrape.
func (e *Exporter) scraped(r *http.Request) (*body, format, error) {
	who, err := e.keys.Request(r, tenant.ScopeMetrics)
	if err != nil {
		return nil, 0, err
	}
	sel, err := e.layout.selectionOf(r.URL.RawQuery)
	if err != nil {
		return nil, 0, err
	}
	f, enc := formatOf(r.Header["Accept"]), encodingOf(r.Header["Accept-Encoding"])
	fl, fresh, err := e.fleets.of(r.Context(), who.Org)
	if err != nil {
		return nil, 0, err
	}
	select {
	case e.writers <- struct{}{}:
		defer func() { <-e.writers }()
	case <-r.Context().Done():
		return nil, 0, r.Context().Err()
	}
	b, err := e.answer(fl, sel, f, enc, e.now(), fresh)
	return b, f, err
}

// writeTo sends the answer. Small pieces are put together: each writing may be a system call.
func (b *body) writeTo(w http.ResponseWriter) {
	const most = 64 << 10
	buf := make([]byte, 0, min(b.size, most))
	send := func(p []byte) bool {
		_, err := w.Write(p) //nolint:gosec // metrics, as text/plain or protobuf that no browser may take for HTML
		return err == nil    // else the client is gone, which is its own affair
	}
	for _, p := range b.pieces {
		if len(buf)+len(p) > cap(buf) {
			if !send(buf) {
				return
			}
			buf = buf[:0]
		}
		if len(p) >= most/2 {
			if !send(p) {
				return
			}
			continue
		}
		buf = append(buf, p...)
	}
	send(buf)
}

// refuse answers an error and returns the status it gave.
func (e *Exporter) refuse(w http.ResponseWriter, r *http.Request, err error) int {
	status, message := http.StatusInternalServerError, "this failed on our side; the server's log says why"
	switch fault.CodeOf(err) {
	case fault.Invalid:
		status, message = http.StatusBadRequest, fault.MessageOf(err)
	case fault.Unauthenticated:
		auth.Challenge(w.Header())
		status = http.StatusUnauthorized
		message = fault.MessageOf(err) + ".\nPrometheus sends one with `authorization: {credentials: tkf_…}` in its scrape_config."
	case fault.Forbidden:
		status, message = http.StatusForbidden, fault.MessageOf(err)+": use one that has it"
	case fault.Unavailable:
		w.Header().Set("Retry-After", "1")
		status, message = http.StatusServiceUnavailable, fault.MessageOf(err)
	default:
		if r.Context().Err() != nil {
			status, message = http.StatusServiceUnavailable, "the client is gone"
			break
		}
		e.log.Error("a scrape failed", "path", r.URL.Path, "error", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(message + "\n")) //nolint:gosec // text/plain with nosniff; the client may be gone
	}
	return status
}
