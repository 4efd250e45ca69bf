package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HistogramSchema is the resolution of Histogram as Prometheus' native histograms number it: eight buckets to each
// doubling, so that a bucket is 2^(1/8) ≈ 1.09 times as wide as the one before
// (https://prometheus.io/docs/specs/native_histograms/#schema).
const HistogramSchema = 3

// Histogram counts durations in exponential buckets. Bucket i holds the seconds in (2^((i−1)/8), 2^(i/8)]; a duration of 0
// is counted apart. The zero value is empty. There are at most some 400 buckets, since a duration is from 1 µs to 292 years.
type Histogram struct {
	Count   int64
	Sum     time.Duration
	Zero    int64
	Buckets []Bucket // by index, none empty
}

// Bucket is one bucket that is not empty.
type Bucket struct {
	Index int32
	Count int64
}

// BucketIndex is the bucket of a duration, which must be greater than 0.
func BucketIndex(d time.Duration) int32 {
	v := d.Seconds()
	i := math.Ceil(math.Log2(v) * 8)
	// The logarithm may be off by its last digit at a boundary.
	for v <= BucketBound(int32(i)-1) {
		i--
	}
	for v > BucketBound(int32(i)) {
		i++
	}
	return int32(i)
}

// BucketBound is the upper bound of a bucket, in seconds, inclusive. It is exact where it is a power of two.
func BucketBound(i int32) float64 { return math.Exp2(float64(i) / 8) }

// Add counts a duration, which must not be negative; by is 1, or -1 to take it back.
func (h *Histogram) Add(d time.Duration, by int64) {
	h.Count += by
	h.Sum += d * time.Duration(by)
	if d == 0 {
		h.Zero += by
		return
	}
	i := BucketIndex(d)
	at, found := slices.BinarySearchFunc(h.Buckets, i, func(b Bucket, i int32) int { return int(b.Index) - int(i) })
	if !found {
		h.Buckets = slices.Insert(h.Buckets, at, Bucket{Index: i})
	}
	if h.Buckets[at].Count += by; h.Buckets[at].Count == 0 {
		h.Buckets = slices.Delete(h.Buckets, at, at+1)
	}
}

// AtMost is how many durations are not longer than 2^log2 seconds.
func (h *Histogram) AtMost(log2 int) int64 {
	n := h.Zero
	for _, b := range h.Buckets {
		if int(b.Index) > 8*log2 {
			break
		}
		n += b.Count
	}
	return n
}

// IsZero reports whether nothing was counted.
func (h Histogram) IsZero() bool { return h.Count == 0 }

type histogramJSON struct {
	Count   int64  `json:"n"`
	Sum     int64  `json:"sum_us"`
	Zero    int64  `json:"zero,omitempty"`
	Buckets string `json:"b,omitempty"`
}

// MarshalJSON writes the buckets as "index:count,index:count…". As arrays they would make the state, which is written with
// every ping, several times as large in the database.
func (h Histogram) MarshalJSON() ([]byte, error) {
	j := make([]byte, 0, 48+8*len(h.Buckets))
	j = strconv.AppendInt(append(j, `{"n":`...), h.Count, 10)
	j = strconv.AppendInt(append(j, `,"sum_us":`...), h.Sum.Microseconds(), 10)
	if h.Zero != 0 {
		j = strconv.AppendInt(append(j, `,"zero":`...), h.Zero, 10)
	}
	for i, b := range h.Buckets {
		if i == 0 {
			j = append(j, `,"b":"`...)
		} else {
			j = append(j, ',')
		}
		j = strconv.AppendInt(j, int64(b.Index), 10)
		j = strconv.AppendInt(append(j, ':'), b.Count, 10)
	}
	if len(h.Buckets) > 0 {
		j = append(j, '"')
	}
	return append(j, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote. Buckets out of order are an error.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	*h = Histogram{Count: j.Count, Sum: time.Duration(j.Sum) * time.Microsecond, Zero: j.Zero}
	if j.Buckets == "" {
		return nil
	}
	h.Buckets = make([]Bucket, 0, strings.Count(j.Buckets, ",")+1)
	for text := range strings.SplitSeq(j.Buckets, ",") {
		index, count, _ := strings.Cut(text, ":")
		i, err := strconv.ParseInt(index, 10, 32)
		if err != nil {
			return fmt.Errorf("histogram: bucket %q: %w", text, err)
		}
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return fmt.Errorf("histogram: bucket %q: %w", text, err)
		}
		if last := len(h.Buckets) - 1; n == 0 || last >= 0 && int64(h.Buckets[last].Index) >= i {
			return fmt.Errorf("histogram: bucket %q is empty or out of order", text)
		}
		h.Buckets = append(h.Buckets, Bucket{Index: int32(i), Count: n})
	}
	return nil
}
