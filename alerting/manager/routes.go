package manager

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Prefix is where the organisation's Alertmanager is.
const Prefix = "/alertmanager"

const (
	maxBody      = 16 << 20        // of a request, in bytes
	catchUpLimit = 2 * time.Second // that an answer waits for the instance to show what was written
)

// Routes mounts everything under Prefix: Alertmanager's API of the organisation whose key is given.
func (m *Manager) Routes(r chi.Router) {
	r.Get(Prefix+"/-/healthy", says("OK"))
	r.Get(Prefix+"/-/ready", says("OK"))
	// The address at the foot of messages. A browser goes on to what there is to see.
	r.Get(Prefix, goesTo(strings.TrimPrefix(Prefix, "/")+groups))
	r.Get(Prefix+"/", goesTo(strings.TrimPrefix(groups, "/")))
	r.HandleFunc(Prefix+"/*", m.serveOrg)
}

const groups = "/api/v2/alerts/groups"

// goesTo answers with a relative address, which is right behind a proxy that serves us below a path, too.
func goesTo(relative string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", relative)
		w.WriteHeader(http.StatusFound)
	}
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

func (m *Manager) serveOrg(w http.ResponseWriter, r *http.Request) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	scope := tenant.ScopeWrite
	if reads {
		scope = tenant.ScopeRead
	}
	who, err := m.o.Keys.Request(r, scope)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	s, err := m.session(r.Context(), who.Org)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	http.StripPrefix(Prefix, s.instance.Handler()).ServeHTTP(w, r)
	if !reads {
		// What was written is shown to whoever asks next: the answer's last bytes leave when this returns.
		ctx, cancel := context.WithTimeout(r.Context(), catchUpLimit)
		defer cancel()
		s.catchUp(ctx)
	}
}

// refuse answers as Alertmanager does: a text in JSON.
func (m *Manager) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, message := http.StatusInternalServerError, "alerting does not start: the log of the server says why"
	switch code := fault.CodeOf(err); {
	case code == fault.Unauthenticated:
		auth.Challenge(w.Header())
		status, message = http.StatusUnauthorized, fault.MessageOf(err)
	case code == fault.Forbidden:
		status, message = http.StatusForbidden, fault.MessageOf(err)
	case code == fault.Unavailable:
		w.Header().Set("Retry-After", "1")
		status, message = http.StatusServiceUnavailable, fault.MessageOf(err)
	case errors.Is(err, context.Canceled):
		return // nobody waits for an answer
	case errors.Is(err, context.DeadlineExceeded):
		status, message = http.StatusServiceUnavailable, "alerting does not start in time, try again"
	default:
		m.log.ErrorContext(r.Context(), "a request to an organisation's alerting failed", "path", r.URL.Path, "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(message)
}
