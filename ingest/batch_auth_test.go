package ingest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/saas/auth"
)

func TestBatchNeedsAKey(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"none", nil, 401},
		{"unknown", []string{"Authorization", "Bearer nonsense"}, 401},
		{"empty", []string{"Authorization", "Bearer "}, 401},
		{"another scheme", []string{"Authorization", "Basic " + apiKeyAll}, 401},
		{"no scheme", []string{"Authorization", apiKeyAll}, 401},
		{"without the scope", []string{"X-Api-Key", "tkf_read"}, 403},
		{"bearer", []string{"Authorization", "Bearer " + apiKeyAll}, 200},
		{"bearer in lower case", []string{"Authorization", "bearer  " + apiKeyAll}, 200},
		{"X-Api-Key", []string{"X-API-KEY", apiKeyAll}, 200},
	} {
		got := b.do(http.MethodPost, batchPath, strings.NewReader(lines(1)), c.header...)
		if got.status != c.status {
			t.Errorf("%s: %d %q, want %d", c.name, got.status, got.body, c.status)
		}
		if c.status != 200 {
			got.problem(t, c.status)
		}
		if (got.header.Get("Www-Authenticate") == "Bearer") != (c.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", c.name, got.header.Get("Www-Authenticate"))
		}
	}
	b.log.last(t, 3)

	// The other organisation's key sees its own monitors only.
	a := b.do(http.MethodPost, batchPath, strings.NewReader(lines(1)+`{"slug":"other-job","kind":"log"}`), "X-Api-Key", "tkf_b").taken(t)
	if d := cmp.Diff(batchAnswer{Accepted: 1, Rejected: []rejected{{0, "not found"}}}, a); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestBatchWhileTheDatabaseIsAway: a key that was good a moment ago is good still.
func TestBatchWhileTheDatabaseIsAway(t *testing.T) {
	b := start(t, nil)
	b.batch(strings.NewReader(lines(1))).taken(t)
	b.batch(strings.NewReader(lines(1))).taken(t)
	if b.auth.calls != 1 {
		t.Errorf("the key was looked up %d times", b.auth.calls)
	}
	b.auth.set(errDown)
	b.src.lose(errDown)
	b.until("the loss is noticed", func() bool { return !b.ingest.cache.connected() })
	b.clock.advance(time.Minute)
	a := b.batch(strings.NewReader(lines(1) + `{"slug":"just-made","kind":"log"}`)).taken(t)
	if d := cmp.Diff(batchAnswer{Accepted: 1, Rejected: []rejected{{1, "try again"}}}, a); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got := b.do(http.MethodPost, batchPath, strings.NewReader(lines(1)), "X-Api-Key", "tkf_second")
	got.problem(t, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.clock.advance(auth.StaleLife)
	b.batch(strings.NewReader(lines(1))).problem(t, 503)

	// A revoked key is refused as soon as anyone can be asked.
	b.auth.set(nil)
	b.batch(strings.NewReader(lines(1))).taken(t)
	who := b.do(http.MethodPost, batchPath, nil, "X-Api-Key", "tkf_second")
	who.taken(t)
	b.clock.advance(auth.KeyLife)
	b.auth.set(errUnauthenticated())
	b.batch(strings.NewReader(lines(1))).problem(t, 401)
	b.auth.set(errDown)
	b.batch(strings.NewReader(lines(1))).problem(t, 503) // and forgotten
}
