package promapi

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
)

func TestTheGridGrowsWithTheStep(t *testing.T) {
	for _, c := range []struct{ step, rng, want string }{
		{"0s", "0s", "15s"},
		{"1m", "0s", "15s"},
		{"5m", "0s", "15s"},
		{"5m1s", "0s", "15s"}, // a twentieth is no full 30 s
		{"10m", "0s", "30s"},
		{"20m", "0s", "1m"},
		{"24h", "0s", "1m"}, // the lookback is 5 min
		{"0s", "720h", "15s"},
		{"10m", "5m", "30s"},
		{"1h", "1m", "15s"}, // ten samples would be 6 s apart
		{"1h", "5m", "30s"},
		{"1h", "1h", "2m"},
		{"24h", "24h", "1h"},
		{"24h", "1h", "5m"},
		{"240h", "240h", "1h"},
	} {
		h := &storage.SelectHints{Step: duration(c.step).Milliseconds(), Range: duration(c.rng).Milliseconds()}
		if got := time.Duration(grid(h)) * time.Millisecond; got != duration(c.want) {
			t.Errorf("step %s, range %s: %s, want %s", c.step, c.rng, got, c.want)
		}
	}
	if got := grid(nil); got != 15000 {
		t.Errorf("without hints: %d", got)
	}
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestRoundingToTheGrid(t *testing.T) {
	for _, c := range []struct{ t, up, down int64 }{{0, 0, 0}, {1, 15, 0}, {14, 15, 0}, {15, 15, 15}, {-1, 0, -15}, {-15, -15, -15}, {-16, -15, -30}} {
		if up, down := ceil(c.t, 15), floor(c.t, 15); up != c.up || down != c.down {
			t.Errorf("%d: up %d, down %d, want %d, %d", c.t, up, down, c.up, c.down)
		}
	}
	if got := ceilTime(time.UnixMilli(15_000).Add(time.Microsecond), 15_000); got != 30_000 {
		t.Errorf("a microsecond behind the instant is of the next: %d", got)
	}
}

// shown is a sample, or the staleness marker.
type shown struct {
	T     int64
	V     float64
	Stale bool
}

func readAll(it chunkenc.Iterator) []shown {
	var out []shown
	for k := it.Next(); k != chunkenc.ValNone; k = it.Next() {
		out = append(out, read(it, k))
	}
	return out
}

func read(it chunkenc.Iterator, k chunkenc.ValueType) shown {
	if k == chunkenc.ValHistogram {
		t, h := it.AtHistogram(nil)
		if value.IsStaleNaN(h.Sum) {
			return shown{T: t, Stale: true}
		}
		return shown{T: t, V: float64(h.Count)}
	}
	t, v := it.At()
	if value.IsStaleNaN(v) {
		return shown{T: t, Stale: true}
	}
	return shown{T: t, V: v}
}

// change is what a series is worth from an instant on; NaN: no sample.
type change struct {
	at int64
	v  float64
}

func seriesOf(w window, asHistogram bool, end int64, list ...change) *computed {
	s := &computed{pieces: pieces{window: w, native: asHistogram}}
	points := make([]metric.Point, len(list))
	for i, c := range list {
		points[i] = metric.Point{At: time.UnixMilli(c.at), ZScore: c.v}
	}
	var gone time.Time
	if end > 0 {
		gone = time.UnixMilli(end)
	}
	ms, stop := moments(nil, w, points, gone)
	for _, m := range ms {
		switch v := m.point.ZScore; {
		case asHistogram:
			s.addHistogram(m.from, &monitor.Histogram{Count: int64(v)})
		case math.IsNaN(v):
			s.addLine(m.from, metric.Line{}, false)
		case v < 0: // moves: v is where it began
			s.addLine(m.from, metric.Line{At: m.point.At, Num: v, NumRate: 1, Den: 1}, true)
		default:
			s.addLine(m.from, metric.Line{Num: v}, true)
		}
	}
	s.ended(stop)
	return s
}

// naive says the same without pieces: it asks at every instant.
func naive(w window, asHistogram bool, end int64, list ...change) []shown {
	at := func(t int64) (float64, bool) {
		v, ok, from := 0.0, false, int64(0)
		for _, c := range list {
			if c.at <= t {
				v, ok, from = c.v, !math.IsNaN(c.v), c.at
			}
		}
		if end > 0 && t >= end {
			return 0, false
		}
		if ok && v < 0 && !asHistogram {
			v += float64(t-from) / 1000
		}
		return v, ok
	}
	var out []shown
	_, had := at(w.before())
	for t := w.first; t <= w.last; t += w.step {
		v, ok := at(t)
		if ok {
			out = append(out, shown{T: t, V: v})
		} else if had {
			out = append(out, shown{T: t, Stale: true})
		}
		had = ok
	}
	return out
}

func TestSamplesAreWhatTheInstantsAreWorth(t *testing.T) {
	nan := math.NaN()
	w := window{first: 30, last: 120, step: 15}
	for _, c := range []struct {
		name string
		end  int64
		list []change
		want []shown
	}{
		{name: "constant", list: []change{{0, 1}}, want: []shown{{T: 30, V: 1}, {T: 45, V: 1}, {T: 60, V: 1}, {T: 75, V: 1}, {T: 90, V: 1}, {T: 105, V: 1}, {T: 120, V: 1}}},
		{name: "born late", list: []change{{91, 1}}, want: []shown{{T: 105, V: 1}, {T: 120, V: 1}}},
		{name: "on the instant", list: []change{{0, nan}, {105, 2}}, want: []shown{{T: 105, V: 2}, {T: 120, V: 2}}},
		{name: "two between instants", list: []change{{0, nan}, {106, 2}, {110, 3}}, want: []shown{{T: 120, V: 3}}},
		{name: "stale, and back", list: []change{{0, nan}, {40, 2}, {50, nan}, {100, 3}}, want: []shown{{T: 45, V: 2}, {T: 60, Stale: true}, {T: 105, V: 3}, {T: 120, V: 3}}},
		{name: "back at once", list: []change{{89, 2}, {105, nan}, {120, 3}}, want: []shown{{T: 90, V: 2}, {T: 105, Stale: true}, {T: 120, V: 3}}},
		{name: "never seen", list: []change{{0, nan}, {46, 2}, {59, nan}}},
		{name: "gone before", list: []change{{0, 1}, {10, nan}}},
		{name: "gone at the first instant", list: []change{{0, 1}, {16, nan}}, want: []shown{{T: 30, Stale: true}}},
		{name: "deleted", end: 46, list: []change{{0, 1}}, want: []shown{{T: 30, V: 1}, {T: 45, V: 1}, {T: 60, Stale: true}}},
		{name: "deleted on the instant", end: 45, list: []change{{0, 1}, {45, 7}}, want: []shown{{T: 30, V: 1}, {T: 45, Stale: true}}},
		{name: "deleted long ago", end: 5, list: []change{{0, 1}}},
	} {
		s := seriesOf(w, false, c.end, c.list...)
		if d := cmp.Diff(c.want, readAll(s.Iterator(nil))); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
		if s.seen() != (len(c.want) > 0) {
			t.Errorf("%s: seen is %v", c.name, s.seen())
		}
		if d := cmp.Diff(c.want, naive(w, false, c.end, c.list...)); d != "" {
			t.Errorf("%s: the naive reading differs: (-want +got)\n%s", c.name, d)
		}
	}
}

func TestPiecesSayWhatTheNaiveReadingSays(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := window{first: 15 * (2 + r.Int64N(5)), step: 15}
		w.last = w.first + 15*r.Int64N(20)
		asHistogram := r.IntN(4) == 0
		var list []change
		at, count := r.Int64N(60), 0.0
		for range r.IntN(12) {
			c := change{at: at, v: float64(r.IntN(3))}
			switch {
			case asHistogram:
				count += float64(r.IntN(2))
				c.v = count
			case r.IntN(3) == 0:
				c.v = math.NaN()
			case r.IntN(4) == 0:
				c.v = -1 - float64(r.IntN(2))
			}
			list = append(list, c)
			at += r.Int64N(40)
		}
		var end int64
		if r.IntN(3) == 0 {
			end = max(1, at)
		}
		want := naive(w, asHistogram, end, list...)
		s := seriesOf(w, asHistogram, end, list...)
		if d := cmp.Diff(want, readAll(s.Iterator(nil))); d != "" {
			t.Fatalf("seed %d: %v end %d in %v: (-want +got)\n%s", seed, list, end, w, d)
		}
		seekLikeNaive(t, seed, r, s, want)
	}
}

// seekLikeNaive mixes Seek and Next.
func seekLikeNaive(t *testing.T, seed uint64, r *rand.Rand, s *computed, want []shown) {
	t.Helper()
	it, at := s.Iterator(&iterator{series: s, t: 99, kind: absent, started: true}), -1
	for {
		var k chunkenc.ValueType
		if r.IntN(2) == 0 {
			k = it.Next()
			at++
		} else {
			to := s.window.first - 20 + r.Int64N(s.window.last-s.window.first+60)
			k = it.Seek(to)
			for at = max(at, 0); at < len(want) && want[at].T < to; at++ {
			}
		}
		if at >= len(want) {
			if k != chunkenc.ValNone || it.Next() != chunkenc.ValNone || it.Seek(0) != chunkenc.ValNone {
				t.Fatalf("seed %d: there is more behind the end", seed)
			}
			return
		}
		if d := cmp.Diff(want[at], read(it, k)); d != "" || it.AtT() != want[at].T {
			t.Fatalf("seed %d: (-want +got)\n%s", seed, d)
		}
	}
}

func TestEqualPiecesAreOne(t *testing.T) {
	w := window{first: 0, last: 1500, step: 15}
	var list []change
	for i := range int64(100) {
		list = append(list, change{at: i * 15, v: float64(i / 50)})
	}
	if s := seriesOf(w, false, 0, list...); len(s.list) != 2 {
		t.Errorf("%d pieces, want 2", len(s.list))
	}
}

func TestNativeHistograms(t *testing.T) {
	var m monitor.Histogram
	for _, d := range []time.Duration{0, time.Second, time.Second, 1100 * time.Millisecond, 64 * time.Second, time.Microsecond, 24 * time.Hour} {
		m.Add(d, 1)
	}
	h := nativeHistogram(&m)
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	buckets := map[float64]uint64{}
	for it := h.PositiveBucketIterator(); it.Next(); {
		if b := it.At(); b.Count > 0 {
			buckets[b.Upper] = b.Count
		}
	}
	want := map[float64]uint64{}
	for _, b := range m.Buckets {
		want[monitor.BucketBound(b.Index)] = uint64(b.Count)
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Abs(a) })
	if d := cmp.Diff(want, buckets, cmp.Options{near}); d != "" && len(want) != len(buckets) {
		t.Errorf("buckets (-want +got)\n%s", d)
	}
	for u, n := range want {
		found := false
		for v, k := range buckets {
			found = found || math.Abs(u-v) <= 1e-12*u && n == k
		}
		if !found {
			t.Errorf("no bucket up to %v with %d", u, n)
		}
	}
	if h.ZeroCount != 1 || h.Count != 7 || h.Sum != m.Sum.Seconds() {
		t.Errorf("zero %d count %d sum %v", h.ZeroCount, h.Count, h.Sum)
	}
	if err := nativeHistogram(&monitor.Histogram{}).Validate(); err != nil {
		t.Errorf("an empty one: %v", err)
	}
}

func TestHistogramsAreCopiesWithTheRightHint(t *testing.T) {
	w := window{first: 0, last: 45, step: 15}
	s := seriesOf(w, true, 40, change{0, 1}, change{15, 1}, change{30, 2})
	it := s.Iterator(nil)
	var hints []histogram.CounterResetHint
	for it.Next() != chunkenc.ValNone {
		_, h := it.AtHistogram(nil)
		_, f := it.AtFloatHistogram(nil)
		if h.CounterResetHint != f.CounterResetHint {
			t.Error("the two forms differ in the hint")
		}
		hints = append(hints, h.CounterResetHint)
		h.Count, f.Count = 1000, 1000
		if _, again := it.AtHistogram(&histogram.Histogram{}); again.Count > 2 {
			t.Error("a change of what was handed out is seen by others")
		}
	}
	want := []histogram.CounterResetHint{histogram.UnknownCounterReset, histogram.NotCounterReset, histogram.NotCounterReset, histogram.UnknownCounterReset}
	if d := cmp.Diff(want, hints); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	s := seriesOf(window{first: 0, last: 15 * 5760, step: 15}, false, 0, change{0, 1}, change{600, -1}, change{9000, 3})
	it := s.Iterator(nil)
	if n := testing.AllocsPerRun(10, func() {
		it = s.Iterator(it)
		for it.Next() != chunkenc.ValNone {
			it.At()
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
