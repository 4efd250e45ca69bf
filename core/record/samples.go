package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Samples is what was written by remote write, pushed, or recorded by a rule: samples of series of one organisation.
type Samples struct {
	At       time.Time // time of receipt: the header's
	Org      tenant.OrgID
	Series   []series.Series
	Metadata []series.Metadata
}

// The payload of a record of samples is the organisation's id (16 bytes), the form of what follows (formSnappy), and a
// Snappy block that holds, each number a varint:
//
//	symbols: their number; for each its length and bytes
//	totals: numbers of series, labels, floats, histograms, metadata
//	for each series: numbers of labels, floats and histograms; for each label two references to symbols, for each float its
//	time and 8 bytes (little endian), for each histogram its time, length and bytes
//	for each metadata: four references to symbols, of name, type, help and unit
//
// A time is the milliseconds since the time before it in the record, whichever series had that; the first is since 1970. What
// is scraped together has one time, so nearly every one is a zero.
const formSnappy = 1

// MaxSamplesSize is the greatest Size of what a record may hold: more is refused when it is read.
const MaxSamplesSize = 16 << 20

// A copy of a Snappy block makes 64 bytes of 3: a block that claims to hold more than this ratio has been made up.
const snappyRatio = 22

// SamplesEncoder makes records of samples, one after the other; its memory is used again. The zero value is ready. Not safe
// for concurrent use.
type SamplesEncoder struct {
	refs                               map[string]uint64
	symbols, body, metadata, raw       []byte
	series, labels, floats, histograms int
	described                          int
	at                                 int64 // the last time written
}

// Reset drops what was added.
func (e *SamplesEncoder) Reset() {
	clear(e.refs)
	*e = SamplesEncoder{refs: e.refs, symbols: e.symbols[:0], body: e.body[:0], metadata: e.metadata[:0], raw: e.raw[:0]}
}

// Size is how many bytes the record will have, about, before it is compressed.
func (e *SamplesEncoder) Size() int { return len(e.symbols) + len(e.body) + len(e.metadata) }

// Empty reports whether nothing was added.
func (e *SamplesEncoder) Empty() bool { return e.series == 0 && e.described == 0 }

// Add adds a series with its samples. The strings of its labels are held until Reset.
func (e *SamplesEncoder) Add(s *series.Series) {
	e.series++
	e.labels += len(s.Labels)
	e.floats += len(s.Floats)
	e.histograms += len(s.Histograms)
	b := binary.AppendUvarint(e.body, uint64(len(s.Labels)))
	b = binary.AppendUvarint(b, uint64(len(s.Floats)))
	b = binary.AppendUvarint(b, uint64(len(s.Histograms)))
	for i := range s.Labels {
		b = binary.AppendUvarint(b, e.ref(s.Labels[i].Name))
		b = binary.AppendUvarint(b, e.ref(s.Labels[i].Value))
	}
	for _, f := range s.Floats {
		b = appendVarint(b, f.At-e.at)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f.Value))
		e.at = f.At
	}
	for i := range s.Histograms {
		b = appendVarint(b, s.Histograms[i].At-e.at)
		b = appendBytes(b, s.Histograms[i].Data)
		e.at = s.Histograms[i].At
	}
	e.body = b
}

// AddMetadata adds the description of a metric. Its strings are held until Reset.
func (e *SamplesEncoder) AddMetadata(m *series.Metadata) {
	e.described++
	for _, s := range [...]string{m.Name, m.Type, m.Help, m.Unit} {
		e.metadata = binary.AppendUvarint(e.metadata, e.ref(s))
	}
}

// ref is the number of a symbol.
func (e *SamplesEncoder) ref(s string) uint64 {
	n, ok := e.refs[s]
	if !ok {
		if e.refs == nil {
			e.refs = map[string]uint64{}
		}
		n = uint64(len(e.refs))
		e.refs[s] = n
		e.symbols = appendString(e.symbols, s)
	}
	return n
}

// AppendRecord appends what was added as an unstamped record.
func (e *SamplesEncoder) AppendRecord(dst []byte, org tenant.OrgID) []byte {
	raw := binary.AppendUvarint(e.raw[:0], uint64(len(e.refs)))
	raw = append(raw, e.symbols...)
	for _, n := range [...]int{e.series, e.labels, e.floats, e.histograms, e.described} {
		raw = binary.AppendUvarint(raw, uint64(n))
	}
	raw = append(raw, e.body...)
	raw = append(raw, e.metadata...)
	e.raw = raw
	dst = appendHeader(dst, TypeSamples)
	dst = append(dst, org.UUID[:]...)
	dst = append(dst, formSnappy)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(raw)))
	return dst[:len(dst)+len(s2.EncodeSnappy(dst[len(dst):cap(dst)], raw))]
}

// AppendSamples appends an unstamped record of the organisation's samples and metadata. Who makes many uses a SamplesEncoder.
func AppendSamples(dst []byte, org tenant.OrgID, s []series.Series, m []series.Metadata) []byte {
	var e SamplesEncoder
	for i := range s {
		e.Add(&s[i])
	}
	for i := range m {
		e.AddMetadata(&m[i])
	}
	return e.AppendRecord(dst, org)
}

// ParseSamples decodes a record of type TypeSamples. Nothing of it shares memory with rec. All its strings share one piece of
// memory: clone those that are kept for long.
func ParseSamples(rec []byte) (Samples, error) {
	h, err := ParseHeader(rec)
	if err != nil {
		return Samples{}, err
	}
	if h.Type != TypeSamples {
		return Samples{}, fmt.Errorf("%w: type %d is not of samples", ErrMalformed, h.Type)
	}
	r := reader{b: rec[HeaderLen:]}
	s := Samples{At: h.At}
	r.fill(s.Org.UUID[:])
	form := r.byte()
	if r.bad {
		return Samples{}, r.end()
	}
	if form != formSnappy {
		return Samples{}, fmt.Errorf("%w: samples in form %d", ErrMalformed, form)
	}
	n, err := s2.DecodedLen(r.b)
	if err != nil || n > MaxSamplesSize || n > snappyRatio*len(r.b) {
		return Samples{}, fmt.Errorf("%w: samples: %d bytes said to be of %d: %w", ErrMalformed, len(r.b), n, orNothing(err))
	}
	raw, err := s2.Decode(nil, r.b)
	if err != nil {
		return Samples{}, fmt.Errorf("%w: samples: %w", ErrMalformed, err)
	}
	p := samplesReader{reader: reader{b: raw}}
	p.read(&s)
	if err := p.end(); err != nil {
		return Samples{}, err
	}
	return s, nil
}

func orNothing(err error) error {
	if err == nil {
		return s2.ErrTooLarge
	}
	return err
}

// samplesReader takes the block apart. Slices are made once, of the size that the totals tell; a total is believed only as far
// as the bytes that are left could hold it.
type samplesReader struct {
	reader
	symbols    []string
	labels     []series.Label
	floats     []series.Float
	histograms []series.Histogram
	at         int64
}

func (r *samplesReader) read(s *Samples) {
	r.readSymbols()
	all := r.count(3)
	labels, floats, histograms, described := r.count(2), r.count(9), r.count(2), r.count(4)
	if r.bad {
		return
	}
	if all > 0 {
		s.Series = make([]series.Series, all)
	}
	r.labels = make([]series.Label, 0, labels)
	r.floats = make([]series.Float, 0, floats)
	r.histograms = make([]series.Histogram, 0, histograms)
	for i := range s.Series {
		r.readSeries(&s.Series[i])
		if r.bad {
			return
		}
	}
	if described > 0 {
		s.Metadata = make([]series.Metadata, described)
	}
	for i := range s.Metadata {
		s.Metadata[i] = series.Metadata{Name: r.symbol(), Type: r.symbol(), Help: r.symbol(), Unit: r.symbol()}
	}
	r.bad = r.bad || len(r.labels) != labels || len(r.floats) != floats || len(r.histograms) != histograms
}

// readSymbols makes one string of the bytes of all symbols and their lengths, and cuts it.
func (r *samplesReader) readSymbols() {
	n := r.count(1)
	if r.bad || n == 0 {
		return
	}
	all := r.b
	for range n {
		r.bytes()
		if r.bad {
			return
		}
	}
	text := string(all[:len(all)-len(r.b)])
	r.symbols = make([]string, n)
	for i := range r.symbols {
		size, used := binary.Uvarint(all)
		start := len(text) - (len(all) - len(r.b)) + used
		r.symbols[i] = text[start : start+int(size)]
		all = all[used+int(size):]
	}
}

func (r *samplesReader) readSeries(s *series.Series) {
	labels, floats, histograms := r.count(2), r.count(9), r.count(2)
	// Append never grows the slabs: what they have is the total, and it is an error to be above it.
	if r.bad || labels > cap(r.labels)-len(r.labels) || floats > cap(r.floats)-len(r.floats) || histograms > cap(r.histograms)-len(r.histograms) {
		r.bad = true
		return
	}
	l, f, h := len(r.labels), len(r.floats), len(r.histograms)
	for range labels {
		r.labels = append(r.labels, series.Label{Name: r.symbol(), Value: r.symbol()})
	}
	for range floats {
		at := r.time()
		b := r.take(8)
		if b == nil {
			return
		}
		r.floats = append(r.floats, series.Float{At: at, Value: math.Float64frombits(binary.LittleEndian.Uint64(b))})
	}
	for range histograms {
		at := r.time()
		r.histograms = append(r.histograms, series.Histogram{At: at, Data: r.bytes()})
	}
	s.Labels, s.Floats, s.Histograms = r.labels[l:len(r.labels):len(r.labels)], nil, nil
	if floats > 0 {
		s.Floats = r.floats[f:len(r.floats):len(r.floats)]
	}
	if histograms > 0 {
		s.Histograms = r.histograms[h:len(r.histograms):len(r.histograms)]
	}
}

// count reads a number of things that take at least size bytes each.
func (r *samplesReader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *samplesReader) symbol() string {
	n := r.uvarint()
	if n >= uint64(len(r.symbols)) {
		r.bad = true
		return ""
	}
	return r.symbols[n]
}

func (r *samplesReader) time() int64 {
	r.at += r.varint()
	return r.at
}

func (r *samplesReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}
