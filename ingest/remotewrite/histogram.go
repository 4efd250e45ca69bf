package remotewrite

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/prompb"
)

// Bounds of one native histogram.
const (
	maxBuckets       = 10_000
	maxHistogramSize = 64 << 10 // bytes; one of 160 buckets has some 500
)

// Histogram brings a message Histogram, of either version, into the form in which it is stored: a message prometheus.Histogram
// of remote write 1.0. The two are the same, field by field, but for a time of creation, which is left out. The error says what
// is wrong with the histogram.
func Histogram(message []byte) ([]byte, error) {
	if len(message) > maxHistogramSize {
		return nil, fmt.Errorf("it has %d bytes, %d are allowed", len(message), maxHistogramSize)
	}
	var h prompb.Histogram
	if err := h.Unmarshal(message); err != nil {
		return nil, errors.New("its message cannot be read")
	}
	h.XXX_unrecognized = nil
	positive, negative := len(h.PositiveDeltas)+len(h.PositiveCounts), len(h.NegativeDeltas)+len(h.NegativeCounts)
	if positive+negative > maxBuckets || len(h.PositiveSpans)+len(h.NegativeSpans) > maxBuckets || len(h.CustomValues) > maxBuckets {
		return nil, fmt.Errorf("it has more than %d buckets", maxBuckets)
	}
	var err error
	if h.IsFloatHistogram() {
		if len(h.PositiveDeltas)+len(h.NegativeDeltas) > 0 {
			return nil, errors.New("it has integer buckets, but a count that is none")
		}
		err = h.ToFloatHistogram().Validate()
	} else {
		if len(h.PositiveCounts)+len(h.NegativeCounts) > 0 {
			return nil, errors.New("it has float buckets, but an integer count")
		}
		err = h.ToIntHistogram().Validate()
	}
	if err != nil {
		return nil, err
	}
	return h.Marshal()
}
