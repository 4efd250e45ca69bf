package monitor_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokiflow/tokiflow/core/monitor"
)

// TestBucketIndex: a boundary belongs to the bucket that it ends.
func TestBucketIndex(t *testing.T) {
	f := func(d time.Duration, want int32) {
		t.Helper()
		if got := monitor.BucketIndex(d); got != want {
			t.Errorf("BucketIndex(%v) = %d, want %d", d, got, want)
		}
	}
	f(time.Second, 0)
	f(time.Second+1, 1)
	f(time.Second-1, 0)
	f(2*time.Second, 8)
	f(2*time.Second+time.Microsecond, 9)
	f(62500*time.Microsecond, -32)
	f(62501*time.Microsecond, -31)
	f(65536*time.Second, 128)
	f(time.Microsecond, -159)
	f(math.MaxInt64, 265)
	for i := int32(-159); i <= 265; i++ {
		if low, high := monitor.BucketBound(i-1), monitor.BucketBound(i); low >= high {
			t.Fatalf("bucket %d is from %v to %v", i, low, high)
		}
		if i%8 == 0 && monitor.BucketBound(i) != math.Ldexp(1, int(i/8)) {
			t.Errorf("boundary %d is %v, not a power of two", i, monitor.BucketBound(i))
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		d := time.Duration(math.Exp(rnd.Float64()*math.Log(math.MaxInt64))) + 1
		if i := monitor.BucketIndex(d); d.Seconds() <= monitor.BucketBound(i-1) || d.Seconds() > monitor.BucketBound(i) {
			t.Fatalf("%v is not in bucket %d", d, i)
		}
	}
}

func TestHistogramCounts(t *testing.T) {
	var h monitor.Histogram
	if !h.IsZero() {
		t.Error("an empty one is not zero")
	}
	durations := []time.Duration{0, 0, 250 * time.Millisecond, time.Second, time.Second + 1, 2 * time.Second, time.Hour}
	for _, d := range durations {
		h.Add(d, 1)
	}
	want := monitor.Histogram{
		Count: 7, Sum: time.Hour + 4250*time.Millisecond + 1, Zero: 2,
		Buckets: []monitor.Bucket{{Index: -16, Count: 1}, {Index: 0, Count: 1}, {Index: 1, Count: 1}, {Index: 8, Count: 1}, {Index: 95, Count: 1}},
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for log2, want := range map[int]int64{-4: 2, -2: 3, -1: 3, 0: 4, 1: 6, 11: 6, 12: 7, 16: 7} {
		if got := h.AtMost(log2); got != want {
			t.Errorf("AtMost(%d) = %d, want %d", log2, got, want)
		}
	}
	for _, d := range durations {
		h.Add(d, -1)
	}
	if d := cmp.Diff(monitor.Histogram{}, h, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("taken back (-want +got)\n%s", d)
	}
}

func TestHistogramJSON(t *testing.T) {
	f := func(h monitor.Histogram, want string) {
		t.Helper()
		got, err := json.Marshal(h)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		var back monitor.Histogram
		if err := json.Unmarshal(got, &back); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(h, back); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	f(monitor.Histogram{}, `{"n":0,"sum_us":0}`)
	f(monitor.Histogram{Count: 2, Zero: 2}, `{"n":2,"sum_us":0,"zero":2}`)
	f(monitor.Histogram{Count: 6, Sum: 3 * time.Microsecond, Zero: 1, Buckets: []monitor.Bucket{{-159, 2}, {3, 3}}},
		`{"n":6,"sum_us":3,"zero":1,"b":"-159:2,3:3"}`)

	for _, bad := range []string{
		`[]`, `{"b":"1"}`, `{"b":"1:"}`, `{"b":":1"}`, `{"b":"a:1"}`, `{"b":"1:1,"}`, `{"b":"2:1,1:1"}`, `{"b":"1:1,1:1"}`, `{"b":"1:0"}`,
		`{"b":"2147483648:1"}`, `{"b":[[1,1]]}`,
	} {
		var h monitor.Histogram
		if err := json.Unmarshal([]byte(bad), &h); err == nil {
			t.Errorf("%s is taken for %+v", bad, h)
		}
	}
}

func FuzzHistogramJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"n":1,"sum_us":5,"b":"-3:1"}`, `{"b":"1:1,2:2"}`, `{"b":"x"}`, `null`, `{"n":-1,"zero":-1,"b":"-1:-1"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h, back monitor.Histogram
		if json.Unmarshal(data, &h) != nil {
			return
		}
		out, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%s is read, but not written: %v", data, err)
		}
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if d := cmp.Diff(h, back); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
	})
}
