package remotewrite

import (
	"fmt"
	"strings"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// readV2 reads a message io.prometheus.write.v2.Request. An error is about the whole; what is wrong with a series is in
// b.refused.
func (b *batch) readV2(body string) error {
	if err := b.readSymbols(body); err != nil {
		return err
	}
	w := wire{s: body}
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		if field != 5 {
			w.skip(kind)
			continue
		}
		if w.is(kind, kindBytes) {
			if err := b.seriesV2(w.bytes()); err != nil {
				return err
			}
		}
	}
	if w.bad {
		return errWire
	}
	return nil
}

// readSymbols reads the strings first, for nothing says that they stand before the series.
func (b *batch) readSymbols(body string) error {
	w := wire{s: body}
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		if field != 4 {
			w.skip(kind)
			continue
		}
		if len(b.symbols) >= maxSymbols {
			return tooMuchError{"symbols", maxSymbols}
		}
		if w.is(kind, kindBytes) {
			b.symbols = append(b.symbols, w.bytes())
		}
	}
	if w.bad {
		return errWire
	}
	return nil
}

// description is a series' message Metadata.
type description struct{ kind, help, unit uint64 }

// seriesV2 reads a message TimeSeries.
func (b *batch) seriesV2(s string) error {
	if err := b.begin(); err != nil {
		return err
	}
	var (
		w         = wire{s: s}
		refs      refs
		about     description
		exemplars int
		err       error
	)
	for field, kind, ok := w.next(); ok && err == nil; field, kind, ok = w.next() {
		if field == 1 && kind == kindVarint { // not packed
			b.ref(&refs, w.varint())
			continue
		}
		if field > 5 {
			w.skip(kind)
			continue
		}
		if !w.is(kind, kindBytes) {
			break
		}
		switch message := w.bytes(); field {
		case 1:
			packed := wire{s: message}
			for packed.s != "" {
				b.ref(&refs, packed.varint())
			}
			w.bad = w.bad || packed.bad
		case 2:
			err = b.sample(message)
		case 3:
			err = b.nativeHistogram(message)
		case 4:
			exemplars++
		case 5:
			about, err = metadataV2(message)
		}
	}
	if err != nil {
		return err
	}
	if w.bad {
		return errWire
	}
	b.exemplars += exemplars
	b.endV2(&refs, about, exemplars)
	return nil
}

// refs are the references of a series' labels while they are read.
type refs struct {
	name    string
	half    bool // name waits for its value
	unknown bool
	outside uint64
}

// ref takes the next reference: to a name, then to its value.
func (b *batch) ref(r *refs, n uint64) {
	if n >= uint64(len(b.symbols)) {
		r.unknown, r.outside = true, n
		return
	}
	if !r.half {
		r.name, r.half = b.symbols[n], true
		return
	}
	b.label(r.name, b.symbols[n])
	r.half = false
}

// endV2 keeps what may be kept of the series that was read.
func (b *batch) endV2(r *refs, about description, exemplars int) {
	at := b.begun
	samples := len(b.floats) - at.floats + len(b.histograms) - at.histograms
	symbols := uint64(len(b.symbols))
	var wrong string
	switch {
	case r.unknown:
		wrong = fmt.Sprintf("symbol %d of a label is not among the %d symbols", r.outside, symbols)
	case r.half:
		wrong = "an odd number of references in labels_refs"
	case about.help > 0 && about.help >= symbols || about.unit > 0 && about.unit >= symbols:
		wrong = fmt.Sprintf("help_ref %d or unit_ref %d of its metadata is not among the %d symbols", about.help, about.unit, symbols)
	case samples == 0 && exemplars == 0:
		wrong = "no sample, no histogram and no exemplar"
	}
	if wrong != "" {
		b.refused.add(admit.BadSeries, samples, "series "+admit.Name(b.labels[at.labels:])+": "+wrong)
		b.drop()
		return
	}
	if s := b.end(); s != nil && about != (description{}) {
		b.describe(s, about)
	}
}

func metadataV2(s string) (description, error) {
	w := wire{s: s}
	var d description
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		if field != 1 && field != 3 && field != 4 {
			w.skip(kind)
			continue
		}
		if !w.is(kind, kindVarint) {
			break
		}
		switch n := w.varint(); field {
		case 1:
			d.kind = n
		case 3:
			d.help = n
		case 4:
			d.unit = n
		}
	}
	if w.bad {
		return d, errWire
	}
	return d, nil
}

// describe notes the description of the series' metric, once in a request.
func (b *batch) describe(s *series.Series, d description) {
	m := series.Metadata{Type: typeOf(d.kind)}
	for i := range s.Labels {
		if s.Labels[i].Name == series.NameLabel {
			m.Name = family(s.Labels[i].Value, m.Type)
		}
	}
	if _, ok := b.described[m.Name]; ok {
		return
	}
	if d.help > 0 {
		m.Help = b.symbols[d.help]
	}
	if d.unit > 0 {
		m.Unit = b.symbols[d.unit]
	}
	if !b.rules.Metadata(&m) {
		return
	}
	if b.described == nil {
		b.described = map[string]struct{}{}
	}
	b.described[m.Name] = struct{}{}
	b.metadata = append(b.metadata, m)
}

// family is the name under which a series' metric is described: that of a classic histogram or summary has no suffix.
func family(name, kind string) string {
	var suffixes []string
	switch kind {
	case "histogram", "gaugehistogram":
		suffixes = []string{"_bucket", "_count", "_sum"}
	case "summary":
		suffixes = []string{"_count", "_sum"}
	}
	for _, s := range suffixes {
		if short, ok := strings.CutSuffix(name, s); ok && short != "" {
			return short
		}
	}
	return name
}
