package ingest

import (
	"fmt"
	"testing"
	"time"
)

func TestRateLimitOfAKey(t *testing.T) {
	b := start(t, func(o *Options) { o.RateLimit = DefaultRateLimit })
	paths := []string{"/ping/" + mainKey, "/ping/" + projKey + "/main-job/log", "/api/ping/" + mainKey} // one monitor, one limit
	for i := range DefaultRateLimit {
		b.get(paths[i%len(paths)]).want(t, 200, "OK")
	}
	for _, path := range paths {
		got := b.get(path)
		got.want(t, 429, "rate limited")
		if after := got.header.Get("Retry-After"); after != "1" {
			t.Errorf("Retry-After %q", after)
		}
	}
	b.log.last(t, DefaultRateLimit)
	b.get("/ping/"+otherKey).want(t, 200, "OK") // another monitor's is its own

	// One comes back each second. The limit belongs to the monitor: a new key is no way around it.
	b.clock.advance(time.Second)
	rekeyed := mainTarget()
	rekeyed.Key[0]++
	b.src.set(rekeyed)
	b.get("/ping/"+rekeyed.Key.String()).want(t, 200, "OK")
	b.get("/ping/"+rekeyed.Key.String()).want(t, 429, "rate limited")

	// After a minute of rest the whole burst is there again, and no more.
	b.clock.advance(time.Hour)
	for range DefaultRateLimit {
		b.get("/ping/"+rekeyed.Key.String()).want(t, 200, "OK")
	}
	b.get("/ping/"+rekeyed.Key.String()).want(t, 429, "rate limited")
}

func TestRateLimitOfCreates(t *testing.T) {
	b := start(t, func(o *Options) { o.RateLimit = 3 })
	for i := range 3 {
		b.get(fmt.Sprintf("/ping/%s/fresh-%d?create=1", projKey, i)).want(t, 201, "Created")
	}
	b.get("/ping/"+projKey+"/fresh-3?create=1").want(t, 429, "rate limited")
	if b.creator.made != 3 || b.creator.calls != 3 {
		t.Errorf("%d monitors were made by %d calls", b.creator.made, b.creator.calls)
	}
	b.get("/ping/"+projKey+"/fresh-0?create=1").want(t, 200, "OK") // is there: its own limit counts
	b.get("/ping/"+sideKey+"/fresh-3?create=1").want(t, 201, "Created")
	b.clock.advance(20 * time.Second)
	b.get("/ping/"+projKey+"/fresh-3?create=1").want(t, 201, "Created")
}

func TestNoRateLimit(t *testing.T) {
	b := start(t, nil)
	for range 200 {
		b.get("/ping/"+mainKey).want(t, 200, "OK")
	}
}

func TestLimiter(t *testing.T) {
	for _, perMinute := range []int{1, 7, 60, 1000, 60_000_000} {
		l := newLimiter(perMinute)
		b := new(bucket)
		now := time.Hour
		burst := min(perMinute, 10_000)
		for i := range burst {
			if wait := l.take(b, now); wait > 0 {
				t.Fatalf("%d a minute: number %d has to wait %v", perMinute, i+1, wait)
			}
		}
		if burst < perMinute {
			continue
		}
		wait := l.take(b, now)
		if want := time.Minute / time.Duration(perMinute); wait != want {
			t.Errorf("%d a minute: wait %v, want %v", perMinute, wait, want)
		}
		if l.take(b, now+wait-1) == 0 {
			t.Errorf("%d a minute: a token came early", perMinute)
		}
		if l.take(b, now+wait) > 0 {
			t.Errorf("%d a minute: no token after the wait that was told", perMinute)
		}
		l.giveBack(b)
		if l.take(b, now+wait) > 0 {
			t.Errorf("%d a minute: what was given back is not there", perMinute)
		}
		if b.idle(now) || !b.idle(now+wait+time.Minute) {
			t.Errorf("%d a minute: idle is wrong", perMinute)
		}
	}
}

func TestRetryAfterRoundsUp(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60"} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
