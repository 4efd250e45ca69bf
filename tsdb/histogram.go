package tsdb

import (
	"encoding/binary"
	"math"
)

// histogram counts values by their order of magnitude, fine enough for quantiles and small enough to be kept for every
// hour: bucket 0 holds values up to 1 µs, bucket b those in (γ^(b−1), γ^b] µs with γ = 1.05.
//
// The buckets and the value that stands for one are those of DDSketch (C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast
// and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12, 2019): every quantile is within
// (γ−1)/(γ+1) = 2.44 % of the value that has that rank. Migration 00003 makes them; merging adds counts, so a quantile of
// a year is no worse than one of an hour.
type histogram struct {
	counts [histogramBuckets]uint64
	total  uint64
	last   int // greatest bucket in use
}

const (
	histogramBuckets = 1024
	histogramGamma   = 1.05
	histogramUnit    = 1e-6 // seconds
	entryBytes       = 4
	entryCountBits   = 21
)

// reset empties the histogram.
func (h *histogram) reset() {
	clear(h.counts[:h.last+1])
	h.total, h.last = 0, 0
}

// addEntries adds what the database kept: entries of 10 bits of bucket and 21 bits of count, in any order.
func (h *histogram) addEntries(b []byte) {
	for ; len(b) >= entryBytes; b = b[entryBytes:] {
		e := binary.BigEndian.Uint32(b)
		bucket := int(e>>entryCountBits) & (histogramBuckets - 1)
		n := uint64(e & (1<<entryCountBits - 1))
		h.counts[bucket] += n
		h.total += n
		h.last = max(h.last, bucket)
	}
}

// quantile is the value of rank ⌈q·n⌉ (the nearest rank) among the values, in seconds; 0 when there are none.
func (h *histogram) quantile(q float64) float64 {
	rank := uint64(math.Ceil(q * float64(h.total)))
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for b, n := range h.counts[:h.last+1] {
		if seen += n; n > 0 && seen >= rank {
			return bucketValue(b)
		}
	}
	return 0
}

// bucketValue is the value whose relative distance to both bounds of the bucket is the same.
func bucketValue(b int) float64 {
	if b == 0 {
		return 0
	}
	return histogramUnit * 2 * math.Pow(histogramGamma, float64(b)) / (histogramGamma + 1)
}
