package record

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

func at() time.Time { return time.Date(2026, 11, 22, 20, 51, 7, 123456000, time.UTC) }

func monitor() uuid.UUID { return uuid.MustParse("0192f1c4-7e1a-7c3b-8f2d-0123456789ab") }

func org() tenant.OrgID {
	return tenant.OrgID{UUID: uuid.MustParse("11111111-2222-3333-4444-555555555555")}
}

// stamped gives an unstamped record the header that the tests expect.
func stamped(rec []byte) []byte {
	Stamp(rec, 7, 42, at())
	return rec
}

func fullPing() Ping {
	return Ping{
		ID: uuid.MustParse("0192f1c4-7e1a-7c3b-8f2d-aaaaaaaaaaaa"), Org: org(), Monitor: monitor(), At: at(),
		Kind: Fail, RID: uuid.MustParse("fedcba98-7654-3210-fedc-ba9876543210"),
		ExitCode: 255, Duration: 90*time.Second + 5*time.Microsecond,
		RemoteAddr: "2001:db8::1", UserAgent: "curl/8", Method: "POST", BodySize: 10 << 20, Body: []byte("disk full\x00\xff"),
	}
}

func TestPingRoundTrip(t *testing.T) {
	bare := Ping{Org: org(), Monitor: monitor(), At: at(), Kind: Success, ExitCode: NoExitCode, Duration: NoDuration}
	zero := bare
	zero.ExitCode, zero.Duration, zero.Kind = 0, 0, Start
	long := fullPing()
	long.Body, long.Kind, long.Duration = make([]byte, 100000), Log, time.Duration(maxMicros)*time.Microsecond
	for name, want := range map[string]Ping{"full": fullPing(), "bare": bare, "zero": zero, "long": long} {
		got, err := ParsePing(stamped(AppendPing(nil, &want)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestPingDuration: microseconds are kept, and every negative duration is none.
func TestPingDuration(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		1999 * time.Nanosecond: time.Microsecond, 0: 0, -1: NoDuration, -time.Hour: NoDuration, math.MinInt64: NoDuration,
	} {
		p := fullPing()
		p.Duration = d
		got, err := ParsePing(stamped(AppendPing(nil, &p)))
		if err != nil || got.Duration != want {
			t.Errorf("%d ns became %d, %v, want %d", d, got.Duration, err, want)
		}
	}
}

func TestMarkerRoundTrip(t *testing.T) {
	for _, want := range []Marker{
		{At: at(), Since: at().Add(-time.Second)},
		{At: at(), Since: at(), Closing: true},
		{At: at(), Since: time.Unix(0, 0).UTC(), Exclusive: true},
		{At: at(), Since: time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC), Closing: true, Exclusive: true},
	} {
		got, err := ParseMarker(stamped(AppendMarker(nil, want)))
		if err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

func TestControlRoundTrip(t *testing.T) {
	for action := Configure; action <= ResolveIncident; action++ {
		want := Control{At: at(), Org: org(), Monitor: monitor(), Action: action, Version: math.MaxInt64 - int64(action), Config: []byte(`{"name":"a"}`)}
		got, err := ParseControl(stamped(AppendControl(nil, &want)))
		if err != nil {
			t.Errorf("action %d: %v", action, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("action %d (-want +got):\n%s", action, diff)
		}
	}
}

func TestStampAndHeader(t *testing.T) {
	p := fullPing()
	for name, c := range map[string]struct {
		rec  []byte
		kind Type
	}{
		"ping":    {AppendPing(nil, &p), TypePing},
		"marker":  {AppendMarker(nil, Marker{}), TypeMarker},
		"control": {AppendControl(nil, &Control{Action: Pause}), TypeControl},
	} {
		Stamp(c.rec, math.MaxUint64, 1, at().Add(999*time.Nanosecond).In(time.FixedZone("", 3600)))
		h, err := ParseHeader(c.rec)
		if want := (Header{Type: c.kind, Appender: math.MaxUint64, Seq: 1, At: at()}); err != nil || h != want {
			t.Errorf("%s: %+v, %v, want %+v", name, h, err, want)
		}
	}
	h, err := ParseHeader(AppendMarker(nil, Marker{}))
	if want := (Header{Type: TypeMarker, At: time.Unix(0, 0).UTC()}); err != nil || h != want {
		t.Errorf("unstamped: %+v, %v", h, err)
	}
}

// TestAppendKeepsWhatWasThere: batches are built one record behind the other in one buffer.
func TestAppendKeepsWhatWasThere(t *testing.T) {
	p, c := fullPing(), Control{Action: Delete, Org: org(), Monitor: monitor()}
	prefix := []byte("prefix")
	for name, f := range map[string]func([]byte) []byte{
		"ping":    func(b []byte) []byte { return AppendPing(b, &p) },
		"marker":  func(b []byte) []byte { return AppendMarker(b, Marker{Since: at()}) },
		"control": func(b []byte) []byte { return AppendControl(b, &c) },
	} {
		if got, want := f(append([]byte(nil), prefix...)), append(append([]byte(nil), prefix...), f(nil)...); !cmp.Equal(got, want) {
			t.Errorf("%s: appended %q, want %q", name, got, want)
		}
	}
}

// TestEveryTruncationIsMalformed: a record cut anywhere, or with bytes behind it, is refused and never panics.
func TestEveryTruncationIsMalformed(t *testing.T) {
	p, c := fullPing(), Control{Action: Configure, Org: org(), Monitor: monitor(), Version: 300, Config: []byte("{}")}
	for name, whole := range map[string][]byte{
		"ping": stamped(AppendPing(nil, &p)), "marker": stamped(AppendMarker(nil, Marker{Since: at()})), "control": stamped(AppendControl(nil, &c)),
	} {
		if err := parseAny(whole); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range whole {
			if err := parseAny(whole[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(whole), err)
			}
		}
		if err := parseAny(append(slices.Clip(whole), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte behind it: %v", name, err)
		}
	}
}

// parseAny parses by the header's type.
func parseAny(rec []byte) error {
	h, err := ParseHeader(rec)
	if err != nil {
		return err
	}
	switch h.Type {
	case TypePing:
		_, err = ParsePing(rec)
	case TypeMarker:
		_, err = ParseMarker(rec)
	case TypeControl:
		_, err = ParseControl(rec)
	}
	return err
}

func TestMalformed(t *testing.T) {
	p := fullPing()
	ping := func(change func(*Ping)) []byte {
		q := p
		change(&q)
		return stamped(AppendPing(nil, &q))
	}
	edit := func(i int, b byte) []byte {
		rec := stamped(AppendPing(nil, &p))
		rec[i] = b
		return rec
	}
	const kindAt = HeaderLen + 3*16
	huge := append(stamped(AppendControl(nil, &Control{Action: Pause}))[:HeaderLen+33], 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)
	endless := append(stamped(AppendMarker(nil, Marker{}))[:HeaderLen], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0)
	for name, rec := range map[string][]byte{
		"nothing":               nil,
		"another version":       edit(0, 2),
		"version 0":             edit(0, 0),
		"type 0":                edit(1, 0),
		"an unknown type":       edit(1, 5),
		"kind 0":                edit(kindAt, 0),
		"an unknown kind":       edit(kindAt, 5),
		"exit status 256":       ping(func(p *Ping) { p.ExitCode = 256 }),
		"exit status -2":        ping(func(p *Ping) { p.ExitCode = -2 }),
		"a negative body size":  ping(func(p *Ping) { p.BodySize = -1 }),
		"action 0":              stamped(AppendControl(nil, &Control{})),
		"an unknown action":     stamped(AppendControl(nil, &Control{Action: ResolveIncident + 1})),
		"a length past the end": huge,
		"an endless number":     endless,
	} {
		if err := parseAny(rec); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWrongType: each parser refuses the others' records.
func TestWrongType(t *testing.T) {
	p := fullPing()
	ping, marker := stamped(AppendPing(nil, &p)), stamped(AppendMarker(nil, Marker{}))
	if _, err := ParsePing(marker); !errors.Is(err, ErrMalformed) {
		t.Errorf("a marker as ping: %v", err)
	}
	if _, err := ParseMarker(ping); !errors.Is(err, ErrMalformed) {
		t.Errorf("a ping as marker: %v", err)
	}
	if _, err := ParseControl(ping); !errors.Is(err, ErrMalformed) {
		t.Errorf("a ping as control record: %v", err)
	}
}

func TestPingKinds(t *testing.T) {
	for kind, name := range map[PingKind]string{Success: "success", Start: "start", Fail: "fail", Log: "log"} {
		if kind.String() != name {
			t.Errorf("%d is %q, want %q", kind, kind, name)
		}
		if got, ok := ParsePingKind(name); got != kind || !ok {
			t.Errorf("%q is %d, %t, want %d", name, got, ok, kind)
		}
	}
	for _, name := range []string{"", "Success", "PingKind(5)"} {
		if got, ok := ParsePingKind(name); ok {
			t.Errorf("%q is %s", name, got)
		}
	}
	if got := PingKind(9).String(); got != "PingKind(9)" {
		t.Errorf("an unknown kind is %q", got)
	}
}

// TestHashNeverChanges: monitors' partitions on disk and in Kafka rest on it.
func TestHashNeverChanges(t *testing.T) {
	for id, want := range map[string]uint32{
		"00000000-0000-0000-0000-000000000000": 0x69691905,
		"ffffffff-ffff-ffff-ffff-ffffffffffff": 0x360779f5,
		"0192f1c4-7e1a-7c3b-8f2d-0123456789ab": 0x760c0c52, // of 0xf60c0c52: the highest bit is dropped
	} {
		if got := Hash(uuid.MustParse(id)); got != want {
			t.Errorf("%s: %#x, want %#x", id, got, want)
		}
	}
}

func TestPartitionsAreFilledEvenly(t *testing.T) {
	const n, monitors = 12, 60000
	var count [n]int
	for range monitors {
		count[Partition(uuid.Must(uuid.NewV7()), n)]++
	}
	for p, got := range count {
		if got < monitors/n*9/10 || got > monitors/n*11/10 {
			t.Errorf("partition %d of %d has %d of %d monitors", p, n, got, monitors)
		}
	}
}
