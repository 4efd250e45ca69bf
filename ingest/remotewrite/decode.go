package remotewrite

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// Bounds of one request. Senders stay far below: Prometheus puts 2,000 samples into one.
const (
	maxSeries  = 100_000
	maxSamples = 1_000_000
	maxSymbols = 1_000_000
)

// tooMuchError says which bound of a request was passed.
type tooMuchError struct {
	what string
	most int
}

func (e tooMuchError) Error() string {
	return fmt.Sprintf("the request has more than %d %s: send less at a time", e.most, e.what)
}

// batch is what was read out of a request. Series' slices are cut out of the slabs; the strings are the body's. It is used
// again for another request.
type batch struct {
	rules *admit.Rules
	now   time.Time

	series     []series.Series
	labels     []series.Label
	floats     []series.Float
	histograms []series.Histogram
	metadata   []series.Metadata
	described  map[string]struct{} // of version 2: the metrics in metadata
	symbols    []string            // of version 2

	exemplars int // dropped
	created   int // timestamps of creation, ignored
	refused   refusals

	read  int                                      // series begun
	begun struct{ labels, floats, histograms int } // where the series that is being read begins in the slabs
	over  bool                                     // it has more labels than were kept
}

// reset makes the batch ready for another request, and lets go of the memory of this one.
func (b *batch) reset() {
	// All of it, for what was dropped stands behind the ends.
	clear(b.series[:cap(b.series)])
	clear(b.labels[:cap(b.labels)])
	clear(b.histograms[:cap(b.histograms)])
	clear(b.metadata[:cap(b.metadata)])
	clear(b.symbols[:cap(b.symbols)])
	clear(b.described)
	*b = batch{
		series: b.series[:0], labels: b.labels[:0], floats: b.floats[:0], histograms: b.histograms[:0],
		metadata: b.metadata[:0], symbols: b.symbols[:0], described: b.described,
	}
}

// count is how much was kept: floats, and histograms.
func (b *batch) count() (samples, histograms int) {
	for i := range b.series {
		samples += len(b.series[i].Floats)
		histograms += len(b.series[i].Histograms)
	}
	return samples, histograms
}

// begin starts a series.
func (b *batch) begin() error {
	if b.read++; b.read > maxSeries {
		return tooMuchError{"series", maxSeries}
	}
	b.begun.labels, b.begun.floats, b.begun.histograms = len(b.labels), len(b.floats), len(b.histograms)
	b.over = false
	return nil
}

// label adds a label to the series that is being read; no more than can be of use.
func (b *batch) label(name, value string) {
	if len(b.labels)-b.begun.labels > 2*b.rules.MaxLabels {
		b.over = true
		return
	}
	b.labels = append(b.labels, series.Label{Name: name, Value: value})
}

func (b *batch) float(at int64, v float64) error {
	if len(b.floats)+len(b.histograms) >= maxSamples {
		return tooMuchError{"samples", maxSamples}
	}
	b.floats = append(b.floats, series.Float{At: at, Value: v})
	return nil
}

func (b *batch) histogram(at int64, message string) error {
	if len(b.floats)+len(b.histograms) >= maxSamples {
		return tooMuchError{"samples", maxSamples}
	}
	// What is kept for now is the message as it came; finish looks at it.
	b.histograms = append(b.histograms, series.Histogram{At: at, Data: []byte(message)})
	return nil
}

// end holds the series that was read to the rules, and keeps what may be kept of it.
func (b *batch) end() *series.Series {
	at := b.begun
	read := b.labels[at.labels:]
	samples := len(b.floats) - at.floats + len(b.histograms) - at.histograms
	if b.over {
		b.refused.add(admit.BadLabels, samples, fmt.Sprintf("series %s: too many labels, %d are allowed", admit.Name(read), b.rules.MaxLabels))
		return b.drop()
	}
	kept, err := b.rules.Labels(read)
	if err != nil {
		b.refused.add(admit.BadLabels, samples, err.Error())
		return b.drop()
	}
	b.labels = b.labels[:at.labels+len(kept)]
	s := series.Series{Labels: slices.Clip(kept)}
	b.keepFloats(kept)
	b.keepHistograms(kept)
	if n := len(b.floats); n > at.floats {
		s.Floats = b.floats[at.floats:n:n]
	}
	if n := len(b.histograms); n > at.histograms {
		s.Histograms = b.histograms[at.histograms:n:n]
	}
	if s.Floats == nil && s.Histograms == nil {
		return b.drop()
	}
	b.series = append(b.series, s)
	return &b.series[len(b.series)-1]
}

// drop forgets the series that was read.
func (b *batch) drop() *series.Series {
	b.labels, b.floats, b.histograms = b.labels[:b.begun.labels], b.floats[:b.begun.floats], b.histograms[:b.begun.histograms]
	return nil
}

func (b *batch) keepFloats(labels []series.Label) {
	kept := b.floats[:b.begun.floats]
	for _, f := range b.floats[b.begun.floats:] {
		if text := b.rules.Time(f.At, b.now); text != "" {
			b.refused.add(admit.BadTime, 1, "series "+admit.Name(labels)+": "+text)
			continue
		}
		kept = append(kept, f)
	}
	b.floats = kept
}

func (b *batch) keepHistograms(labels []series.Label) {
	kept := b.histograms[:b.begun.histograms]
	for _, h := range b.histograms[b.begun.histograms:] {
		if text := b.rules.Time(h.At, b.now); text != "" {
			b.refused.add(admit.BadTime, 1, "series "+admit.Name(labels)+": "+text)
			continue
		}
		data, err := Histogram(h.Data)
		if err != nil {
			b.refused.add(admit.BadHistogram, 1, "series "+admit.Name(labels)+": histogram: "+err.Error())
			continue
		}
		kept = append(kept, series.Histogram{At: h.At, Data: data})
	}
	b.histograms = kept
}

// sample reads a message Sample, which is the same in both versions but for the time of creation.
func (b *batch) sample(s string) error {
	w := wire{s: s}
	var (
		at int64
		v  float64
	)
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		switch field {
		case 1:
			if w.is(kind, kindFixed64) {
				v = w.double()
			}
		case 2:
			if w.is(kind, kindVarint) {
				at = int64(w.varint())
			}
		case 3:
			if w.is(kind, kindVarint) && w.varint() != 0 {
				b.created++
			}
		default:
			w.skip(kind)
		}
	}
	if w.bad {
		return errWire
	}
	return b.float(at, v)
}

// nativeHistogram reads the time out of a message Histogram.
func (b *batch) nativeHistogram(s string) error {
	w := wire{s: s}
	var at int64
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		switch field {
		case 15:
			if w.is(kind, kindVarint) {
				at = int64(w.varint())
			}
		case 17:
			if w.is(kind, kindVarint) && w.varint() != 0 {
				b.created++
			}
		default:
			w.skip(kind)
		}
	}
	if w.bad {
		return errWire
	}
	return b.histogram(at, s)
}

// typeOf is the name of a metric's type, whose numbers are the same in both versions.
func typeOf(n uint64) string {
	names := [...]string{"", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"}
	if n < uint64(len(names)) {
		return names[n]
	}
	return ""
}
