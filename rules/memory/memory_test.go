package memory_test

import (
	"errors"
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/rules/memory"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	m := memory.New()
	l := labels.FromStrings("__name__", "a")
	h := &histogram.FloatHistogram{Count: 1, Sum: 1, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []float64{1}}
	for _, err := range []error{
		m.Append(l, 1, 1, nil), m.Append(l, 1, 1, nil), m.Append(l, 2, math.NaN(), nil), m.Append(l, 2, math.NaN(), nil),
		m.Append(l, 3, 0, h), m.Append(l, 3, 0, h),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := m.Append(l, 3, 1, nil); !errors.Is(err, memory.ErrDuplicate) {
		t.Error(err)
	}
	if err := m.Append(l, 2, 1, nil); !errors.Is(err, memory.ErrOutOfOrder) {
		t.Error(err)
	}
	if err := m.Add(series.Series{Histograms: []series.Histogram{{Data: []byte("x")}}}); err == nil {
		t.Error("a broken histogram was taken")
	}
	q, err := m.Querier(2, 2)
	if err != nil {
		t.Fatal(err)
	}
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "a"))
	n := 0
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != 0 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d samples of one instant", n)
	}
	if _, _, err := q.LabelNames(t.Context(), nil); err == nil {
		t.Error("LabelNames is there")
	}
}

// values are what a selector finds, in order of series and time.
func values(t *testing.T, m *memory.Storage, mint, maxt int64, matchers ...*labels.Matcher) (out []float64) {
	t.Helper()
	q, err := m.Querier(mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, matchers...)
	for set.Next() {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			switch kind {
			case chunkenc.ValFloat:
				_, v := it.At()
				out = append(out, v)
			default:
				_, h := it.AtFloatHistogram(nil)
				out = append(out, h.Sum)
				h.Sum = -1 // as the engine does: what is stored stays
			}
		}
	}
	return out
}

func one(name string, at int64, v float64) series.Series {
	return series.Series{Labels: []series.Label{{Name: "__name__", Value: name}}, Floats: []series.Float{{At: at, Value: v}}}
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	m := memory.New()
	for i, name := range []string{"b", "a", "c"} {
		for at := range int64(5) {
			if err := m.Add(one(name, at*10, float64(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	named := func(kind labels.MatchType, v string) *labels.Matcher {
		return labels.MustNewMatcher(kind, "__name__", v)
	}
	for _, c := range []struct {
		mint, maxt int64
		by         *labels.Matcher
		want       []float64
	}{
		{0, 40, named(labels.MatchEqual, "a"), []float64{1, 1, 1, 1, 1}},
		{10, 20, named(labels.MatchEqual, "a"), []float64{1, 1}},
		{11, 19, named(labels.MatchEqual, "a"), nil},
		{40, 99, named(labels.MatchRegexp, "a|b"), []float64{1, 0}},
		{40, 99, named(labels.MatchNotEqual, "b"), []float64{1, 2}},
		{0, 99, named(labels.MatchEqual, "none"), nil},
	} {
		if got := values(t, m, c.mint, c.maxt, c.by); len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] || len(got) > 1 && got[1] != c.want[1] {
			t.Errorf("%s from %d to %d: %v, want %v", c.by, c.mint, c.maxt, got, c.want)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	m := memory.New()
	for _, s := range []series.Series{one("a", 1, 1), one("a", 2, 2), one("a", 2, 3)} {
		if err := m.Replace(s); err != nil {
			t.Error(err)
		}
	}
	if got := values(t, m, 0, 9); len(got) != 2 || got[1] != 3 {
		t.Errorf("%v", got)
	}
}

func TestHistogramsAreTheStorages(t *testing.T) {
	t.Parallel()
	m := memory.New()
	h := &histogram.FloatHistogram{Count: 1, Sum: 5, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []float64{1}}
	p := prompb.FromFloatHistogram(1, h)
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s := series.Series{Labels: []series.Label{{Name: "__name__", Value: "h"}}, Histograms: []series.Histogram{{At: 1, Data: data}}}
	if err := m.Replace(s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := values(t, m, 0, 9); len(got) != 1 || got[0] != 5 {
			t.Errorf("%v", got)
		}
	}
	// What comes after it goes on from it, or not.
	l := labels.FromStrings("__name__", "h")
	for at, count := range []float64{3, 2} {
		h.Count, h.PositiveBuckets = count, []float64{count}
		if err := m.Append(l, int64(at+2), 0, h); err != nil {
			t.Fatal(err)
		}
	}
	q, err := m.Querier(0, 9)
	if err != nil {
		t.Fatal(err)
	}
	set := q.Select(t.Context(), true, nil)
	set.Next()
	it := set.At().Iterator(nil)
	for _, want := range []histogram.CounterResetHint{histogram.UnknownCounterReset, histogram.NotCounterReset, histogram.CounterReset} {
		it.Next()
		if _, h := it.AtFloatHistogram(nil); h.CounterResetHint != want {
			t.Errorf("hint %d, want %d", h.CounterResetHint, want)
		}
	}
}
