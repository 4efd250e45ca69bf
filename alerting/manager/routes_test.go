package manager_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// ask serves one request to the process.
func (p *process) ask(method, path, key string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	p.t.Helper()
	router := chi.NewRouter()
	p.m.Routes(router)
	r := httptest.NewRequestWithContext(p.t.Context(), method, path, strings.NewReader("{}"))
	if key != "" {
		r.SetBasicAuth("whoever", key)
	}
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	router.ServeHTTP(w, r)
	return w
}

func wantAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	got, err := io.ReadAll(w.Body)
	if err != nil || w.Code != status || !strings.Contains(string(got), body) {
		t.Errorf("answered %d %q, want %d %q", w.Code, got, status, body)
	}
}

func TestTheAPIOfAnOrganisation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org, other := newTable(), newOrg(), newOrg()
		p := newProcess(t, data, newRegistry(), nil)
		data.setBusy(org, true)
		sleep(time.Second)
		key := org.String()
		wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/status", key), 200, "/api/v2/status owner=true version=1")
		wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/alerts?active=true", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }), 200, "/api/v2/alerts")
		wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/alerts", "", func(r *http.Request) { r.Header.Set("X-Api-Key", "read"+key) }), 200, "/api/v2/alerts")
		wantAnswer(t, p.ask("POST", "/alertmanager/api/v2/alerts", "read"+key), 403, `lacks the scope \"write\"`)
		wantAnswer(t, p.ask("DELETE", "/alertmanager/api/v2/silence/x", "read"+key), 403, `lacks the scope \"write\"`)
		wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/status", other.String()), 200, "owner=false version=0")
		if n := len(p.running()); n != 2 {
			t.Errorf("%d instances", n)
		}
	})
}

func TestWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, newTable(), nil, nil)
		for _, path := range []string{"/alertmanager/-/healthy", "/alertmanager/-/ready"} {
			wantAnswer(t, p.ask("GET", path, ""), 200, "OK")
		}
		for path, want := range map[string]string{"/alertmanager": "alertmanager/api/v2/alerts/groups", "/alertmanager/": "api/v2/alerts/groups"} {
			if w := p.ask("GET", path, ""); w.Code != 302 || w.Header().Get("Location") != want {
				t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Location"))
			}
		}
		for _, key := range []string{"", "unknown"} {
			for _, path := range []string{"/alertmanager/api/v2/status", "/alertmanager/metrics"} {
				w := p.ask("GET", path, key)
				if diff := cmp.Diff([]string{`Bearer realm="tokiflow"`, `Basic realm="tokiflow"`}, w.Header().Values("WWW-Authenticate")); diff != "" {
					t.Error(diff)
				}
				var message string
				if err := json.Unmarshal(w.Body.Bytes(), &message); err != nil || w.Code != 401 || message == "" {
					t.Errorf("%s: %d %s %v", path, w.Code, w.Body, err)
				}
			}
		}
		p.wantNone()
	})
}

// What was posted a moment ago is seen by whoever asks next, although nobody was notified of it.
func TestWhatWasPostedIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		p := newProcess(t, data, nil, nil)
		p.ask("GET", "/alertmanager/api/v2/status", org.String())
		sleep(time.Second)
		data.mu.Lock()
		data.wake = nil
		data.mu.Unlock()
		for _, want := range []string{"version=1", "version=2"} {
			p.ask("POST", "/alertmanager/api/v2/alerts", org.String())
			wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/alerts", org.String()), 200, want)
		}
		// A database that hangs does not hold up the answer for long: it was written.
		data.mu.Lock()
		data.hang = make(chan struct{})
		data.mu.Unlock()
		began := time.Now()
		wantAnswer(t, p.ask("POST", "/alertmanager/api/v2/alerts", org.String()), 200, "")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("answered after %v", took)
		}
		close(data.hang)
	})
}

func TestAnOrganisationThatCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, org := newTable(), newOrg()
		data.putConfig(org, true)
		p := newProcess(t, data, nil, nil)
		wantAnswer(t, p.ask("GET", "/alertmanager/api/v2/status", org.String()), 500, "the log of the server says why")
		p.mu.Lock()
		p.starts = func(context.Context, tenant.OrgID) error { time.Sleep(time.Second); return nil }
		p.mu.Unlock()
		other := newOrg()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		w := p.ask("GET", "/alertmanager/api/v2/status", other.String(), func(r *http.Request) { *r = *r.WithContext(ctx) })
		wantAnswer(t, w, 503, "in time")
		p.stop()
		w = p.ask("GET", "/alertmanager/api/v2/status", other.String())
		wantAnswer(t, w, 503, "stopping")
		if w.Header().Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
	})
}
