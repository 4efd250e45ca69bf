package record

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The fuzz targets share their claim: nothing panics; what is refused is refused as ErrMalformed; what parses is written again to bytes that parse to
// the same and, written once more, are the same bytes. (The first bytes may differ: a number can be written longer than need be.)

func seeds(f *testing.F) {
	p, bare := fullPing(), Ping{Kind: Success, ExitCode: NoExitCode, Duration: NoDuration}
	for _, rec := range [][]byte{
		AppendPing(nil, &p), AppendPing(nil, &bare), AppendMarker(nil, Marker{Since: at(), Closing: true, Exclusive: true}),
		AppendControl(nil, &Control{Org: org(), Monitor: monitor(), Action: Configure, Version: 1, Config: []byte(`{}`)}),
	} {
		f.Add(stamped(rec))
		f.Add(rec[:HeaderLen])
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Add(append([]byte{Version, byte(TypePing)}, bytes.Repeat([]byte{0xff}, 200)...))
}

// rewrite holds one record to the claim.
func rewrite[T any](t *testing.T, rec []byte, parse func([]byte) (T, error), write func(T, Header) []byte) {
	t.Helper()
	before := bytes.Clone(rec)
	first, err := parse(rec)
	if !bytes.Equal(rec, before) {
		t.Fatalf("parsing changed %x to %x", before, rec)
	}
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Fatalf("%x: %v", rec, err)
		}
		return
	}
	h, err := ParseHeader(rec)
	if err != nil {
		t.Fatalf("%x parses, its header does not: %v", rec, err)
	}
	again := write(first, h)
	second, err := parse(again)
	if err != nil {
		t.Fatalf("%x was written as %x: %v", rec, again, err)
	}
	if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%x was written as %x (-first +second):\n%s", rec, again, diff)
	}
	if third := write(second, h); !bytes.Equal(again, third) {
		t.Fatalf("%x was written as %x, then as %x", rec, again, third)
	}
}

func restamp(rec []byte, h Header) []byte {
	Stamp(rec, h.Appender, h.Seq, h.At)
	return rec
}

func FuzzHeader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, rec []byte) {
		h, err := ParseHeader(rec)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || h != (Header{}) {
				t.Fatalf("%x: %+v, %v", rec, h, err)
			}
			return
		}
		if h.At.Location() != time.UTC || h.At.Nanosecond()%1000 != 0 {
			t.Fatalf("%x: time %s", rec, h.At)
		}
		if again := restamp(appendHeader(nil, h.Type), h); !bytes.Equal(again, rec[:HeaderLen]) {
			t.Fatalf("%x was written as %x", rec[:HeaderLen], again)
		}
		if err := parseAny(rec); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%x: %v", rec, err)
		}
	})
}

func FuzzPing(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, rec []byte) {
		rewrite(t, rec, ParsePing, func(p Ping, h Header) []byte { return restamp(AppendPing(nil, &p), h) })
		p, err := ParsePing(rec)
		if err != nil {
			return
		}
		if _, ok := ParsePingKind(p.Kind.String()); !ok || p.ExitCode < NoExitCode || p.ExitCode > 255 || p.BodySize < 0 || p.Duration < NoDuration {
			t.Fatalf("%x: %+v", rec, p)
		}
	})
}

func FuzzMarker(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, rec []byte) {
		rewrite(t, rec, ParseMarker, func(m Marker, h Header) []byte { return restamp(AppendMarker(nil, m), h) })
	})
}

func FuzzControl(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, rec []byte) {
		rewrite(t, rec, ParseControl, func(c Control, h Header) []byte { return restamp(AppendControl(nil, &c), h) })
		if c, err := ParseControl(rec); err == nil && (c.Action < Configure || c.Action > ResolveIncident) {
			t.Fatalf("%x: %+v", rec, c)
		}
	})
}
