package remotewrite

import "github.com/tokiflow/tokiflow/core/series"

// readV1 reads a message prometheus.WriteRequest. An error is about the whole; what is wrong with a series is in b.refused.
func (b *batch) readV1(body string) error {
	w := wire{s: body}
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		switch field {
		case 1:
			if w.is(kind, kindBytes) {
				if err := b.seriesV1(w.bytes()); err != nil {
					return err
				}
			}
		case 3:
			if w.is(kind, kindBytes) {
				if err := b.metadataV1(w.bytes()); err != nil {
					return err
				}
			}
		default:
			w.skip(kind)
		}
	}
	if w.bad {
		return errWire
	}
	return nil
}

// seriesV1 reads a message TimeSeries.
func (b *batch) seriesV1(s string) error {
	if err := b.begin(); err != nil {
		return err
	}
	w := wire{s: s}
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		if field > 4 {
			w.skip(kind)
			continue
		}
		if !w.is(kind, kindBytes) {
			break
		}
		var err error
		switch message := w.bytes(); field {
		case 1:
			err = b.labelV1(message)
		case 2:
			err = b.sample(message)
		case 3:
			b.exemplars++
		case 4:
			err = b.nativeHistogram(message)
		}
		if err != nil {
			return err
		}
	}
	if w.bad {
		return errWire
	}
	b.end()
	return nil
}

func (b *batch) labelV1(s string) error {
	w := wire{s: s}
	var name, value string
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		switch field {
		case 1:
			if w.is(kind, kindBytes) {
				name = w.bytes()
			}
		case 2:
			if w.is(kind, kindBytes) {
				value = w.bytes()
			}
		default:
			w.skip(kind)
		}
	}
	if w.bad {
		return errWire
	}
	b.label(name, value)
	return nil
}

func (b *batch) metadataV1(s string) error {
	if len(b.metadata) >= maxSeries {
		return tooMuchError{"descriptions of metrics", maxSeries}
	}
	w := wire{s: s}
	var m series.Metadata
	for field, kind, ok := w.next(); ok; field, kind, ok = w.next() {
		switch field {
		case 1:
			if w.is(kind, kindVarint) {
				m.Type = typeOf(w.varint())
			}
		case 2, 4, 5:
			if !w.is(kind, kindBytes) {
				break
			}
			switch text := w.bytes(); field {
			case 2:
				m.Name = text
			case 4:
				m.Help = text
			case 5:
				m.Unit = text
			}
		default:
			w.skip(kind)
		}
	}
	if w.bad {
		return errWire
	}
	if b.rules.Metadata(&m) {
		b.metadata = append(b.metadata, m)
	}
	return nil
}
