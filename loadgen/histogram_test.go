package loadgen

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsFollowEachOther(t *testing.T) {
	t.Parallel()
	last := -1
	for us := time.Duration(0); us < 1<<20; us += 1 + us/1000 {
		d := us * time.Microsecond
		i := bucket(d)
		if i < last || i > last+1 && us > 0 && us < 1000 {
			t.Fatalf("%v is in bucket %d, the one before in %d", d, i, last)
		}
		last = i
		if u := upper(i); u < d || float64(u-d) > 0.016*float64(d)+1 {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, i, u)
		}
		if i > 0 && upper(i-1) >= d {
			t.Fatalf("%v is in bucket %d, but the one below ends at %v", d, i, upper(i-1))
		}
	}
}

func TestQuantilesAgainstSortedValues(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var h, left, right Histogram
	var all []time.Duration
	var sum time.Duration
	for i := range 10_000 {
		d := time.Duration(r.ExpFloat64()*3000) * time.Microsecond
		all = append(all, d)
		sum += d
		h.Add(d)
		if i%2 == 0 {
			left.Add(d)
		} else {
			right.Add(d)
		}
	}
	left.Merge(&right)
	if left != h {
		t.Error("two halves merged are not the whole")
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)))-1]
		if got := h.Quantile(q); got < want || float64(got) > 1.017*float64(want)+1000 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] || h.Count() != 10_000 || h.Mean() != sum/10_000 {
		t.Errorf("max %v, count %d, mean %v", h.Max(), h.Count(), h.Mean())
	}
}

func TestHistogramAtItsEdges(t *testing.T) {
	t.Parallel()
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Error("of nothing everything is 0")
	}
	h.Add(-time.Second)
	h.Add(1 << 62)
	if h.Quantile(0.5) != 0 || h.Quantile(1) != 1<<62 {
		t.Errorf("median %v, max %v", h.Quantile(0.5), h.Quantile(1))
	}
}
