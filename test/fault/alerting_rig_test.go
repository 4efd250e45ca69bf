//go:build fault

package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// rest is a request to the REST API with a key; it must succeed. out may be nil.
func rest(t *testing.T, s *server, key, method, path string, in, out any) {
	t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.base()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, data, err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
}

// putConfig gives the organisation of the key an alerting configuration.
func putConfig(t *testing.T, s *server, key, yaml string) {
	t.Helper()
	rest(t, s, key, http.MethodPut, "/api/v1/alerting/config", map[string]string{"yaml": yaml}, nil)
}

// group is what Alertmanager's webhook says.
type group struct {
	Receiver string       `json:"receiver"`
	Alerts   []groupAlert `json:"alerts"`
}

type groupAlert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
}

// heard is one webhook that was taken.
type heard struct {
	at time.Time
	group
}

// ear hears the webhooks of organisations' receivers.
type ear struct {
	url string

	mu     sync.Mutex
	all    []heard
	refuse func(n int) bool // of the n-th: it is answered with 502
	calls  int
}

// hear listens until the test ends.
func hear(t *testing.T, refuse func(n int) bool) *ear {
	t.Helper()
	e := &ear{refuse: refuse}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	e.url = srv.URL
	return e
}

// ServeHTTP takes a webhook, or refuses it.
func (e *ear) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	var g group
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	if err != nil || e.refuse != nil && e.refuse(e.calls) {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	e.all = append(e.all, heard{time.Now(), g})
}

// list is what was heard so far.
func (e *ear) list() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]heard(nil), e.all...)
}

// told is each message of an alert that was heard, in order: "incident id/firing".
func (e *ear) told() []string {
	var out []string
	for _, h := range e.list() {
		for _, a := range h.Alerts {
			out = append(out, a.Annotations["incident_id"]+"/"+a.Status)
		}
	}
	return out
}

// ping sends one ping, again and again until it is answered: the server may be down at the moment.
func ping(t *testing.T, s *server, key, end string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(s.base() + "/ping/" + key + end) //nolint:noctx // a test
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no ping is taken: %v", err)
		}
	}
}

// eventually waits for what has no signal of its own.
func eventually(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
