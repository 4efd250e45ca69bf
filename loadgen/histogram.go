package loadgen

import (
	"math/bits"
	"time"
)

// subBuckets is how many buckets each power of two has: a latency is known to within 1/64 of itself.
const subBuckets = 64

// Histogram counts latencies in buckets that grow with them, after HdrHistogram: exact below 64 µs, then to within 1.6 %.
// The zero value is ready. It is not safe for concurrent use.
type Histogram struct {
	counts [40 * subBuckets]uint64
	n      uint64
	sum    time.Duration
	max    time.Duration
}

// Add counts one latency. What is below 0 counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(0, d)
	h.counts[min(bucket(d), len(h.counts)-1)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// bucket is the number of the bucket of d. From 64 µs on the top seven bits say it.
func bucket(d time.Duration) int {
	us := uint64(d.Microseconds())
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - 7
	return shift*subBuckets + int(us>>shift)
}

// upper is the greatest latency of a bucket.
func upper(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i) * time.Microsecond
	}
	shift := i/subBuckets - 1
	top := uint64(i%subBuckets+subBuckets+1)<<shift - 1
	return time.Duration(top) * time.Microsecond
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Count is how many latencies were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the greatest latency.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the mean latency; 0 of none.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Quantile is the least latency that at least the share q (0 to 1) of all do not exceed, by the nearest-rank method; 0
// of none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(h.n)+0.999999))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank && i < len(h.counts)-1 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}
