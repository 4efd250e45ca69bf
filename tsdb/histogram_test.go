package tsdb

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sort"
	"testing"
)

// entry is what tokiflow_histogram_entry makes; the tests of stats hold the two together.
func entry(v float64, n uint32) []byte {
	b := 0
	if v > histogramUnit {
		b = int(min(math.Ceil(math.Log(v/histogramUnit)/math.Log(histogramGamma)), histogramBuckets-1))
	}
	return binary.BigEndian.AppendUint32(nil, uint32(b)<<entryCountBits|n)
}

func TestQuantileIsWithinItsError(t *testing.T) {
	t.Parallel()
	for range 300 {
		var h histogram
		values := make([]float64, 1+rand.IntN(500))
		spread := rand.Float64() * 8
		var all []byte
		for i := range values {
			values[i] = math.Exp(rand.NormFloat64() * spread)
			all = append(all, entry(values[i], 1)...)
		}
		h.addEntries(all)
		sort.Float64s(values)
		for _, q := range []float64{0, 0.01, 0.5, 0.95, 0.99, 1} {
			want := values[max(int(math.Ceil(q*float64(len(values)))), 1)-1]
			if want < 1e-5 || want > 1e14 {
				continue
			}
			if got := h.quantile(q); math.Abs(got-want) > 0.0245*want {
				t.Fatalf("quantile %v of %d values: %v, want %v", q, len(values), got, want)
			}
		}
	}
}

func TestHistogramAddsCountsOfAnyForm(t *testing.T) {
	t.Parallel()
	var h histogram
	h.addEntries(append(append(entry(5, 3), entry(0, 1)...), entry(5, 2_097_151)...))
	h.addEntries([]byte{1, 2, 3}) // less than an entry is nothing
	if h.total != 3+1+2_097_151 {
		t.Errorf("%d values", h.total)
	}
	if got := h.quantile(0); got != 0 {
		t.Errorf("least value %v, want 0", got)
	}
	h.reset()
	if h.total != 0 || h.quantile(0.5) != 0 || h != (histogram{}) {
		t.Error("something is left after reset")
	}
}

func FuzzHistogramEntries(f *testing.F) {
	f.Add([]byte{})
	f.Add(entry(1, 1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h histogram
		h.addEntries(b)
		for _, q := range []float64{0, 0.5, 1} {
			if v := h.quantile(q); !(v >= 0) || math.IsInf(v, 0) {
				t.Fatalf("quantile %v: %v", q, v)
			}
		}
		h.reset()
		if h != (histogram{}) {
			t.Fatal("something is left after reset")
		}
	})
}
