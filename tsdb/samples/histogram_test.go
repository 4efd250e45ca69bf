package samples_test

import (
	"math"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// histograms are one of each kind.
func histograms() map[string]prompb.Histogram {
	whole := &histogram.Histogram{
		Count: 9, Sum: 18.4, Schema: 1, ZeroThreshold: 0.001, ZeroCount: 2,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 1, Length: 1}}, PositiveBuckets: []int64{1, 1, -1},
		NegativeSpans: []histogram.Span{{Offset: 2, Length: 1}}, NegativeBuckets: []int64{3},
	}
	custom := &histogram.Histogram{
		Count: 5, Sum: 7, Schema: histogram.CustomBucketsSchema, CustomValues: []float64{0.1, 1, 10},
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []int64{1, 1, 0},
	}
	gauge := whole.ToFloat(nil)
	gauge.CounterResetHint = histogram.GaugeType
	gauge.Sum = math.Float64frombits(stale)
	reset := whole.Copy()
	reset.CounterResetHint = histogram.CounterReset
	same := whole.Copy()
	same.CounterResetHint = histogram.NotCounterReset
	return map[string]prompb.Histogram{
		"whole": prompb.FromIntHistogram(int64(step(0)), whole), "custom": prompb.FromIntHistogram(int64(step(0)), custom),
		"custom_float": prompb.FromFloatHistogram(int64(step(0)), custom.ToFloat(nil)), "gauge": prompb.FromFloatHistogram(int64(step(0)), gauge),
		"reset": prompb.FromIntHistogram(int64(step(0)), reset), "same": prompb.FromIntHistogram(int64(step(0)), same),
	}
}

func TestSelectHistograms(t *testing.T) {
	t.Parallel()
	l := newTopic()
	for name, h := range histograms() {
		data, err := h.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		l.samples(org(1), series.Series{
			Labels: labelled("__name__", name), Floats: floats(step(15), 1, step(45), 3),
			Histograms: []series.Histogram{{At: int64(step(0)), Data: data}, {At: int64(step(30)), Data: data}, {At: int64(step(45)), Data: []byte("second")}},
		})
	}
	eachLayout(t, l, func(t *testing.T, pool *pgxpool.Pool) {
		q, err := samples.NewStore(pool, samples.Options{}).Queryable(org(1)).Querier(int64(step(0)), int64(step(60)))
		if err != nil {
			t.Fatal(err)
		}
		for name, h := range histograms() {
			set := q.Select(ctxFor(t), false, nil, is("__name__", name))
			if !set.Next() {
				t.Fatal(name, set.Err())
			}
			checkHistogram(t, name, h, set.At().Iterator(nil))
		}
	})
}

func checkHistogram(t *testing.T, name string, h prompb.Histogram, it chunkenc.Iterator) {
	t.Helper()
	want := h.ToFloatHistogram()
	if want.CounterResetHint == histogram.NotCounterReset {
		want.CounterResetHint = histogram.UnknownCounterReset
	}
	kind := chunkenc.ValHistogram
	if h.IsFloatHistogram() {
		kind = chunkenc.ValFloatHistogram
	}
	for _, at := range []float64{0, 30} {
		if got := it.Seek(int64(step(at))); got != kind {
			t.Fatalf("%s at %v: a %v, want a %v: %v", name, at, got, kind, it.Err())
		}
		for range 2 { // what is handed out is the caller's to change
			_, got := it.AtFloatHistogram(nil)
			if !got.Equals(want) || got.CounterResetHint != want.CounterResetHint {
				t.Errorf("%s at %v: got %v, want %v", name, at, got, want)
			}
			clear(got.PositiveBuckets)
			got.PositiveSpans[0].Length = 99
			if kind == chunkenc.ValHistogram {
				_, got := it.AtHistogram(nil)
				if wantInt := h.ToIntHistogram(); !got.Equals(wantInt) {
					t.Errorf("%s at %v: got %v, want %v", name, at, got, wantInt)
				}
				clear(got.PositiveBuckets)
			}
		}
		if got := it.Next(); got != chunkenc.ValFloat {
			t.Fatalf("%s behind %v: a %v, want a float", name, at, got)
		}
	}
	if at, v := it.At(); at != int64(step(45)) || v != 3 || it.AtST() != 0 {
		t.Errorf("%s: %v at %d", name, v, at)
	}
	if got := it.Next(); got != chunkenc.ValNone || it.Err() != nil {
		t.Errorf("%s: a %v at the end, %v", name, got, it.Err())
	}
	if got := it.Seek(0); got != chunkenc.ValNone {
		t.Errorf("%s: a %v behind the end", name, got)
	}
}

func TestBrokenHistogramIsAnError(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), series.Series{Labels: labelled("__name__", "h"), Histograms: []series.Histogram{{At: int64(step(0)), Data: []byte("\xff\xff")}}})
	feed(t, newWriter(pool), l)
	q, err := samples.NewStore(pool, samples.Options{}).Queryable(org(1)).Querier(int64(step(0)), int64(step(60)))
	if err != nil {
		t.Fatal(err)
	}
	set := q.Select(ctxFor(t), false, nil, is("__name__", "h"))
	if !set.Next() {
		t.Fatal(set.Err())
	}
	if it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone || it.Err() == nil {
		t.Errorf("error %v", it.Err())
	}
}
