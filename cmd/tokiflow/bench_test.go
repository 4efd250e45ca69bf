package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBenchPing(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/limited") {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Ping-Id", "the-id")
	}))
	defer h.Close()
	ids := filepath.Join(t.TempDir(), "ids")
	i := invocation{files: map[string]string{"/keys": "a\np/b\n", "/limited": "limited"}}
	r := i.run(t, "bench", "ping", "--url", h.URL, "--keys-file", "/keys", "--duration", "100ms", "--warmup", "0s", "-c", "2", "--ids", ids)
	if r.Code != 0 || !strings.Contains(r.Out, "pings a second answered") || !strings.Contains(r.Out, "status 200:") {
		t.Errorf("%+v", r)
	}
	if text, err := os.ReadFile(ids); err != nil || !strings.HasPrefix(string(text), "the-id\nthe-id\n") {
		t.Errorf("ids %.60q, %v", text, err)
	}
	r = i.run(t, "bench", "ping", "--url", h.URL, "--keys-file", "/limited", "--duration", "100ms", "--warmup", "0s", "-c", "2")
	if r.Code != 1 || !strings.Contains(r.Out, "--ping-rate-limit 0") {
		t.Errorf("%+v, want a word on the rate limit", r)
	}
}

func TestBenchMistakes(t *testing.T) {
	t.Parallel()
	f := func(says string, args ...string) {
		t.Helper()
		r := invocation{}.run(t, append([]string{"bench"}, args...)...)
		if r.Code != 2 || !strings.Contains(r.Errors, says) {
			t.Errorf("%q: %+v, want %q", args, r, says)
		}
	}
	f("--api-key", "ping")
	f("--batch", "ping", "--baseline", "--batch", "3", "--keys-file", "x")
	f("--body-size", "ping", "--body-size", "-3", "--keys-file", "x")
	f("--api-key", "detect")
}
