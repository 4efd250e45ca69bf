package samples

import (
	"fmt"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// stored is a series with the samples that were read. It is a storage.Series; its iterators may be used at once.
type stored struct {
	id     int64
	labels labels.Labels
	points points
	packed points // until finish
}

// finish puts what was packed in front of the rows: it was written before them.
func (s *stored) finish() {
	if s.packed.len() > 0 {
		for i := range s.points.at {
			s.packed.add(s.points.at[i], s.points.values[i], s.points.histogram(i))
		}
		s.points, s.packed = s.packed, points{}
	}
	s.points.settle()
}

// Labels are those of the series, the name among them.
func (s *stored) Labels() labels.Labels { return s.labels }

// Iterator goes through the samples in order of time.
func (s *stored) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*iterator)
	if !ok {
		it = &iterator{}
	}
	*it = iterator{points: &s.points, i: -1}
	return it
}

// iterator is a chunkenc.Iterator over points.
type iterator struct {
	points  *points
	i       int
	decoded prompb.Histogram // of the present one, if it is a histogram
	fresh   bool             // decoded has not been handed out
	err     error
}

// Next goes to the next sample.
func (it *iterator) Next() chunkenc.ValueType {
	it.i++
	return it.kind()
}

// millis are milliseconds since 1970. The name keeps vet from taking Seek for that of io.Seeker.
type millis = int64

// Seek goes forward to the first sample at t or later.
func (it *iterator) Seek(t millis) chunkenc.ValueType {
	it.i = max(it.i, 0)
	if it.i >= it.points.len() {
		return chunkenc.ValNone
	}
	if rest := it.points.at[it.i:]; rest[0] < t {
		it.i += sort.Search(len(rest), func(i int) bool { return rest[i] >= t })
	}
	return it.kind()
}

func (it *iterator) kind() chunkenc.ValueType {
	if it.err != nil || it.i >= it.points.len() {
		return chunkenc.ValNone
	}
	if it.points.histogram(it.i) == nil {
		return chunkenc.ValFloat
	}
	if it.decode(); it.err != nil {
		return chunkenc.ValNone
	}
	if it.decoded.IsFloatHistogram() {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValHistogram
}

// decode reads the present histogram anew: what is made of a message shares its memory, and the engine changes what it gets.
func (it *iterator) decode() {
	it.decoded.Reset()
	if err := it.decoded.Unmarshal(it.points.histograms[it.i]); err != nil {
		it.err = fmt.Errorf("histogram of %d: %w", it.points.at[it.i], err)
		return
	}
	// Whether the counter was reset is said relative to a sample that may not be here. Left open, the engine finds it out.
	if it.decoded.ResetHint == prompb.Histogram_NO {
		it.decoded.ResetHint = prompb.Histogram_UNKNOWN
	}
	it.fresh = true
}

func (it *iterator) histogram() prompb.Histogram {
	if !it.fresh {
		it.decode()
	}
	it.fresh = false
	return it.decoded
}

// At is the present sample, a float.
func (it *iterator) At() (int64, float64) { return it.points.at[it.i], it.points.values[it.i] }

// AtHistogram is the present sample, a histogram of whole numbers; it is the caller's.
func (it *iterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	return it.AtT(), it.histogram().ToIntHistogram()
}

// AtFloatHistogram is the present sample, a histogram; it is the caller's.
func (it *iterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	return it.AtT(), it.histogram().ToFloatHistogram()
}

// AtT is the present time.
func (it *iterator) AtT() int64 { return it.points.at[it.i] }

// AtST is 0: start timestamps are not kept.
func (it *iterator) AtST() int64 { return 0 }

// Err tells why it ended early.
func (it *iterator) Err() error { return it.err }
