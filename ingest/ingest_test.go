package ingest

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Appender: new(appender), Partitions: 1, Targets: newSource(), Creator: new(creator), Authenticator: new(authority)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"Appender":   func(o *Options) { o.Appender = nil },
		"Partitions": func(o *Options) { o.Partitions = 0 },
		"body limit": func(o *Options) { o.BodyLimit = maxBody + 1 },
		"rate limit": func(o *Options) { o.RateLimit = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAppendsThatFailPromiseNothing(t *testing.T) {
	b := start(t, func(o *Options) { o.RateLimit = 2 })
	b.log.setFail(errors.New("disk full"))
	for range 5 { // more than the rate limit: a client that tries again as told is not refused for it
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := b.do(method, "/ping/"+mainKey, nil)
			if got.status != 503 || got.header.Get("Retry-After") == "" || got.header.Get("Ping-Id") != "" {
				t.Errorf("%s: %d, %v", method, got.status, got.header)
			}
		}
	}
	b.log.setFail(nil)
	b.get("/ping/"+mainKey).want(t, 200, "OK")
	b.log.last(t, 1)
}
