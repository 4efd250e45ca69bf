package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/s2"

	"github.com/tokiflow/tokiflow/core/series"
)

// sameBits compares values as they are stored: a staleness marker is not just any NaN.
func sameBits() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}

func stale() float64 { return math.Float64frombits(0x7ff0000000000002) }

func someSamples() Samples {
	return Samples{
		At: at(), Org: org(),
		Series: []series.Series{
			{
				Labels: []series.Label{{Name: "__name__", Value: "up"}, {Name: "job", Value: "node"}},
				Floats: []series.Float{{At: 1763845200000, Value: 1}, {At: 1763845215000, Value: stale()}},
			},
			{
				Labels: []series.Label{{Name: "__name__", Value: "odd"}, {Name: "job", Value: ""}, {Name: "λ", Value: "node"}},
				Floats: []series.Float{
					{At: math.MaxInt64, Value: math.Inf(1)}, {At: math.MinInt64, Value: math.Copysign(0, -1)}, {At: -1, Value: math.NaN()},
				},
			},
			{
				Labels:     []series.Label{{Name: "__name__", Value: "took_seconds"}},
				Histograms: []series.Histogram{{At: 1763845200000, Data: []byte("abc")}, {At: 1763845200000}},
			},
			{Labels: []series.Label{{Name: "__name__", Value: "without_samples"}}},
		},
		Metadata: []series.Metadata{{Name: "up", Type: "gauge", Help: "Is it up?"}, {Name: "took_seconds", Type: "histogram", Unit: "seconds"}},
	}
}

func recordOf(s Samples) []byte { return stamped(AppendSamples(nil, s.Org, s.Series, s.Metadata)) }

func TestSamplesRoundTrip(t *testing.T) {
	full := someSamples()
	for name, want := range map[string]Samples{
		"full": full, "nothing": {At: at(), Org: org()}, "metadata": {At: at(), Org: org(), Metadata: full.Metadata},
		"one": {At: at(), Org: org(), Series: full.Series[:1]},
	} {
		got, err := ParseSamples(recordOf(want))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, sameBits(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSamplesEncoder: one encoder makes many records, each as if it were new.
func TestSamplesEncoder(t *testing.T) {
	var e SamplesEncoder
	s := someSamples()
	for i := range 3 {
		e.Reset()
		if !e.Empty() || e.Size() != 0 {
			t.Fatalf("round %d: %d bytes after Reset", i, e.Size())
		}
		e.Add(&s.Series[i])
		e.AddMetadata(&s.Metadata[0])
		got := e.AppendRecord([]byte("before"), org())
		want := append([]byte("before"), AppendSamples(nil, org(), s.Series[i:i+1], s.Metadata[:1])...)
		if !bytes.Equal(got, want) {
			t.Errorf("round %d: %x, want %x", i, got, want)
		}
	}
}

// TestSamplesAreSmall: names and values that are said again and again cost little, and so does the time of a scrape.
func TestSamplesAreSmall(t *testing.T) {
	s := scrape(2000)
	rec := recordOf(s)
	if perSample := float64(len(rec)) / 2000; perSample > 25 {
		t.Errorf("%.1f bytes a sample", perSample)
	}
}

// TestSamplesTruncated: cut or changed anywhere, nothing panics.
func TestSamplesTruncated(t *testing.T) {
	rec := recordOf(someSamples())
	for n := range rec {
		if _, err := ParseSamples(rec[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(rec), err)
		}
	}
	block := rec[HeaderLen+17:]
	raw, err := s2.Decode(nil, block)
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, err := ParseSamples(withBlock(raw[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("block cut to %d of %d bytes: %v", n, len(raw), err)
		}
	}
	if _, err := ParseSamples(withBlock(append(bytes.Clone(raw), 0))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte behind the block: %v", err)
	}
}

// withBlock is a record of that block.
func withBlock(raw []byte) []byte {
	rec := AppendSamples(nil, org(), nil, nil)[:HeaderLen+17]
	return append(rec, s2.EncodeSnappy(nil, raw)...)
}

func TestSamplesMalformed(t *testing.T) {
	numbers := func(n ...uint64) []byte {
		var b []byte
		for _, v := range n {
			b = binary.AppendUvarint(b, v)
		}
		return withBlock(b)
	}
	good := recordOf(someSamples())
	otherForm := bytes.Clone(good)
	otherForm[HeaderLen+16] = 9
	marker := stamped(AppendMarker(nil, Marker{}))
	for name, rec := range map[string][]byte{
		"nothing":                           nil,
		"a marker":                          marker,
		"another form":                      otherForm,
		"no block":                          good[:HeaderLen+17],
		"a bomb":                            append(bytes.Clone(good[:HeaderLen+17]), 0xff, 0xff, 0xff, 0xff, 0x0f, 0),
		"more symbols than bytes":           numbers(math.MaxUint64),
		"more series than bytes":            numbers(0, 1<<40, 0, 0, 0, 0),
		"a symbol that is not there":        numbers(1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1),
		"fewer labels than said":            numbers(1, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0),
		"more labels than said":             numbers(1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0),
		"more histograms than said":         numbers(1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0),
		"metadata of a symbol out of range": numbers(1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1),
	} {
		if _, err := ParseSamples(rec); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSamplesAllocateInProportion: what a small record can make us allocate is bounded.
func TestSamplesAllocateInProportion(t *testing.T) {
	zeros := bytes.Repeat([]byte{0}, 1<<20)
	series := append([]byte{0}, binary.AppendUvarint(nil, 300_000)...)
	for name, raw := range map[string][]byte{
		"zeros":  zeros,
		"series": append(append(series, 0, 0, 0, 0), zeros...),
	} {
		rec := withBlock(raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = ParseSamples(rec)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(32*len(raw)) {
			t.Errorf("%s: %d bytes of record, %d of block: %d bytes allocated", name, len(rec), len(raw), got)
		}
	}
}

func FuzzSamples(f *testing.F) {
	seeds(f)
	for _, s := range []Samples{someSamples(), scrape(20), {Org: org()}} {
		rec := recordOf(s)
		f.Add(rec)
		raw, err := s2.Decode(nil, rec[HeaderLen+17:])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, rec := range [][]byte{b, withBlock(b)} { // the second goes behind the compression
			first, err := ParseSamples(rec)
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("%x: %v", rec, err)
				}
				continue
			}
			again := AppendSamples(nil, first.Org, first.Series, first.Metadata)
			second, err := ParseSamples(again)
			first.At = second.At
			if err != nil {
				t.Fatalf("%x was written as %x: %v", rec, again, err)
			}
			if diff := cmp.Diff(first, second, sameBits(), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%x was written as %x (-first +second):\n%s", rec, again, diff)
			}
		}
	})
}

// scrape is n series with one sample each, as a node exporter has them.
func scrape(n int) Samples {
	s := Samples{At: at(), Org: org()}
	modes := []string{"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"}
	for i := range n {
		s.Series = append(s.Series, series.Series{
			Labels: []series.Label{
				{Name: "__name__", Value: "node_cpu_seconds_total"},
				{Name: "cluster", Value: "eu-west-1"},
				{Name: "cpu", Value: fmt.Sprint(i / 8 % 64)},
				{Name: "instance", Value: fmt.Sprintf("node-%03d.example.com:9100", i/512)},
				{Name: "job", Value: "node"},
				{Name: "mode", Value: modes[i%8]},
			},
			Floats: []series.Float{{At: 1763845200000, Value: float64(i) * 1.37}},
		})
	}
	return s
}

func BenchmarkSamples(b *testing.B) {
	s := scrape(2000)
	b.Run("append", func(b *testing.B) {
		var e SamplesEncoder
		var rec []byte
		for b.Loop() {
			e.Reset()
			for i := range s.Series {
				e.Add(&s.Series[i])
			}
			rec = e.AppendRecord(rec[:0], org())
		}
		b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		b.ReportMetric(float64(len(rec))/2000, "bytes/sample")
	})
	b.Run("parse", func(b *testing.B) {
		rec := recordOf(s)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseSamples(rec); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
	})
}

func TestSamplesStringsAreWhole(t *testing.T) {
	long := strings.Repeat("x", 300) // a length of two bytes
	s := Samples{At: at(), Org: org(), Series: []series.Series{{Labels: []series.Label{{Name: "__name__", Value: long}, {Name: "a", Value: "b"}}}}}
	got, err := ParseSamples(recordOf(s))
	if err != nil || cmp.Diff(s, got) != "" {
		t.Errorf("%v:\n%s", err, cmp.Diff(s, got))
	}
}
