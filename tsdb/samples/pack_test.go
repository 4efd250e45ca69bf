package samples

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bits are points as text, each value by its bits.
func bits(p *points) (s []string) {
	for i := range p.at {
		s = append(s, fmt.Sprintf("%d %x %q", p.at[i], math.Float64bits(p.values[i]), p.histogram(i)))
	}
	return s
}

func TestPackKeepsEveryBit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	special := []float64{
		0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff0000000000002), math.MaxFloat64,
		math.SmallestNonzeroFloat64, math.Float64frombits(0xfff8000000000001),
	}
	for n := range 300 {
		var p points
		at := int64(rng.IntN(1<<40)) - 1<<39
		for range 1 + rng.IntN(200) {
			at += 1 + rng.Int64N(1<<(1+rng.IntN(22)))
			v := math.Round(rng.NormFloat64()*1000) / 8
			if rng.IntN(4) == 0 {
				v = special[rng.IntN(len(special))]
			}
			var histogram []byte
			if n%2 == 1 {
				v, histogram = 0, make([]byte, rng.IntN(50))
				for i := range histogram {
					histogram[i] = byte(rng.IntN(4))
				}
			}
			p.add(at, v, histogram)
		}
		f, data, err := pack(&p, 0, p.len())
		if err != nil {
			t.Fatal(err)
		}
		var got points
		if err := unpack(f, data, math.MinInt64, math.MaxInt64, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(bits(&p), bits(&got)); d != "" {
			t.Fatal(d)
		}
		mint, maxt := p.at[p.len()/3], p.at[p.len()/2]
		var some points
		if err := unpack(f, data, mint, maxt, &some); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(bits(&p)[p.len()/3:p.len()/2+1], bits(&some)); d != "" {
			t.Fatal(d)
		}
	}
}

func TestSettleKeepsTheFirstOfAnInstant(t *testing.T) {
	f := func(want string, at ...int64) {
		t.Helper()
		var p, mixed points
		for i, x := range at {
			p.add(x, float64(i), nil)
			var h []byte
			if i%2 == 1 {
				h = fmt.Append(nil, i)
			}
			mixed.add(x, float64(i), h)
		}
		p.settle()
		mixed.settle()
		if got := fmt.Sprint(p.at, p.values); got != want {
			t.Errorf("%v: got %s, want %s", at, got, want)
		}
		for i := range mixed.at {
			if v := int(mixed.values[i]); (v%2 == 1) != (string(mixed.histogram(i)) == fmt.Sprint(v)) {
				t.Errorf("%v: sample %d has the histogram %q", at, v, mixed.histogram(i))
			}
		}
	}
	f("[] []")
	f("[1 2 3] [0 1 2]", 1, 2, 3)
	f("[1 2 3] [1 2 0]", 3, 1, 2)
	f("[1 2] [0 2]", 1, 1, 2)
	f("[1 2 3] [1 0 4]", 2, 1, 2, 1, 3, 2)
}

func TestUnpackRefuses(t *testing.T) {
	for _, c := range []struct {
		form form
		data string
	}{
		{0, ""},
		{9, "abc"},
		{formFloats, ""},
		{formFloats, "\x00"},
		{formFloats, "\x00\x05"},
		{formHistograms, ""},
		{formHistograms, "\xff\xff\xff\xff\xff\xff"},
		{formHistograms, "\x01\x00\x80"},     // a time that ends early
		{formHistograms, "\x01\x00\x02"},     // no length
		{formHistograms, "\x02\x04\x02\x09"}, // a length beyond the end
	} {
		var p points
		if err := unpack(c.form, []byte(c.data), math.MinInt64, math.MaxInt64, &p); !errors.Is(err, errPacked) {
			t.Errorf("form %d of %q: %v", c.form, c.data, err)
		}
	}
}

// What lies in the database may be torn; reading it must end in samples or an error.
func FuzzUnpack(f *testing.F) {
	var p, h points
	for i := range int64(50) {
		p.add(i*15_000+i%7, float64(i*i), nil)
		h.add(i*15_000, 0, []byte("histogram"))
	}
	for _, x := range []*points{&p, &h} {
		kind, data, err := pack(x, 0, x.len())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int16(kind), data)
	}
	f.Fuzz(func(t *testing.T, kind int16, data []byte) {
		var p points
		if err := unpack(form(kind), data, math.MinInt64, math.MaxInt64, &p); err != nil && !errors.Is(err, errPacked) {
			t.Error(err)
		}
		if p.len() > math.MaxUint16 && form(kind) == formFloats {
			t.Errorf("%d samples", p.len())
		}
	})
}
