package ingest

import (
	"sync/atomic"
	"time"
)

// bucket is the state of one key's rate limit: the time, in nanoseconds on the Ingest's clock, at which it will be full
// again. One number that is set by compare-and-swap, so a limit costs 8 bytes a monitor and no lock.
type bucket struct{ full atomic.Int64 }

// limiter is a token bucket (in the form known as generic cell rate algorithm) over many buckets.
type limiter struct {
	interval int64 // nanoseconds in which one token comes back; 0: no limit
	burst    int64 // nanoseconds in which an empty bucket fills
}

// newLimiter allows perMinute in a minute and in a burst; 0: any number.
func newLimiter(perMinute int) limiter {
	if perMinute == 0 {
		return limiter{}
	}
	interval := int64(time.Minute) / int64(perMinute)
	return limiter{interval: interval, burst: interval * int64(perMinute)}
}

// take takes a token. wait is 0 if there was one, else the time until there will be.
func (l limiter) take(b *bucket, now time.Duration) (wait time.Duration) {
	if l.interval == 0 {
		return 0
	}
	for {
		full := b.full.Load()
		next := max(full, int64(now)) + l.interval
		if over := next - int64(now) - l.burst; over > 0 {
			return time.Duration(over)
		}
		if b.full.CompareAndSwap(full, next) {
			return 0
		}
	}
}

// giveBack returns a token that bought nothing.
func (l limiter) giveBack(b *bucket) { b.full.Add(-l.interval) }

// idle reports that the bucket is full, as a new one is.
func (b *bucket) idle(now time.Duration) bool { return b.full.Load() <= int64(now) }
