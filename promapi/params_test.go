package promapi

import (
	"io"
	"math"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Time
		bad  bool
	}{
		{in: "0", want: time.Unix(0, 0)},
		{in: "123.456", want: time.UnixMilli(123456)},
		{in: "-1.5", want: time.UnixMilli(-1500)},
		{in: "1.4357814e9", want: time.Unix(1435781400, 0)},
		{in: "2015-06-03T13:21:58.555Z", want: time.UnixMilli(1433337718555)},
		{in: "2015-06-03T14:21:58.555+01:00", want: time.UnixMilli(1433337718555)},
		{in: "1e300", want: time.Unix(farthest, 0)},
		{in: "-Inf", want: time.Unix(-farthest, 0)},
		{in: "9999-01-01T00:00:00Z", want: time.Unix(farthest, 0)},
		{in: "-292273086-05-16T16:47:06Z", want: time.Unix(-farthest, 0)},
		{in: "+292277025-08-18T07:12:54.999999999Z", want: time.Unix(farthest, 0)},
		{in: "NaN", bad: true},
		{in: "", bad: true},
		{in: "now", bad: true},
		{in: "30s", bad: true},
		{in: "2015-06-03", bad: true},
	} {
		got, err := parseTime(c.in)
		if (err != nil) != c.bad || !c.bad && !got.Equal(c.want) {
			t.Errorf("%q: %v %v, want %v", c.in, got, err, c.want)
		}
	}
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		bad  bool
	}{
		{in: "1", want: time.Second},
		{in: "0.05", want: 50 * time.Millisecond},
		{in: "-1", want: -time.Second},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "5ms", want: 5 * time.Millisecond},
		{in: "1y", want: 365 * 24 * time.Hour},
		{in: "9223372036.854775807", bad: true},
		{in: "1e300", bad: true},
		{in: "NaN", bad: true},
		{in: "", bad: true},
		{in: "1h 30m", bad: true},
		{in: "abc", bad: true},
	} {
		got, err := parseDuration(c.in)
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%q: %v %v, want %v", c.in, got, err, c.want)
		}
	}
}

func FuzzParameters(f *testing.F) {
	for _, s := range []string{"1", "-1.5e300", "5m", "2015-06-03T13:21:58.555Z", "NaN", "{a=\"b\"}", "U__a", "1795435200.123"} {
		f.Add(s)
	}
	a := &API{parser: parser.NewParser(parser.Options{})}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := parseTime(s); err == nil {
			// What comes out never overflows where it is counted in nanoseconds.
			if math.Abs(float64(at.Unix())) > farthest || at.UnixNano()/1e6 != at.UnixMilli() && at.UnixMilli() >= 0 {
				t.Errorf("%q is %v", s, at)
			}
		}
		_, _ = parseDuration(s)
		_, _ = limitOf(url.Values{"limit": {s}})
		if sets, err := a.matchersOf(url.Values{"match[]": {s}}); err == nil {
			for _, m := range sets {
				newCatalog().choose(m)
			}
		}
		if e, err := a.parser.ParseExpr(s); err == nil {
			j := jsonWriter{}
			if j.any(tree(e)); j.err != nil {
				t.Errorf("the tree of %q: %v", s, j.err)
			}
		}
	})
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `"plain"`, "": `""`, `a"b\c`: `"a\"b\\c"`, "\n\r\t\x01\x7f": `"\n\r\t\u0001` + "\x7f" + `"`, "ä\u2028€": "\"ä\u2028€\"", "a\xffb": "\"a\ufffdb\"",
		"\xc3": "\"\ufffd\"",
	} {
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestFloats(t *testing.T) {
	for in, want := range map[float64]string{
		0: "0", 1: "1", -1: "-1", math.Copysign(0, -1): "-0", 0.1: "0.1", 1e20: "100000000000000000000", 1e21: "1e+21", 1e-6: "0.000001", 9e-7: "9e-07",
		1 << 53: "9007199254740992", -(1<<53 - 1): "-9007199254740991", math.Inf(1): "+Inf", math.Inf(-1): "-Inf", 1795435200.5: "1795435200.5", 5e-324: "5e-324",
	} {
		if got := string(appendFloat(nil, in)); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	if got := string(appendFloat(nil, math.NaN())); got != "NaN" {
		t.Error(got)
	}
	for in, want := range map[int64]string{0: "0", 1: "0.001", 1100: "1.100", -1: "-0.001", 60_010: "60.010", 1795435200000: "1795435200"} {
		if got := string(appendMillis(nil, in)); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}

// The digits of instants are used again from one series to the next, which may have other instants.
func TestSeriesOfOtherInstants(t *testing.T) {
	j := jsonWriter{}
	for _, instants := range [][]int64{{1000, 2000}, {1000, 2000, 3500}, {2000, 3500}, {1000, 3500, 3500, 4000}} {
		for i, at := range instants {
			j.stamp(i, at)
			j.raw(" ")
		}
	}
	if got, want := string(j.b), "1 2 1 2 3.500 2 3.500 1 3.500 3.500 4 "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var list []promql.FPoint
	for i := range maxSteps + 5 {
		list = append(list, promql.FPoint{T: int64(i) * 1000, F: 1})
	}
	a, b := jsonWriter{w: io.Discard}, jsonWriter{w: io.Discard}
	a.points(list)
	b.points(list)
	b.b = b.b[:0]
	b.points(list)
	if d := cmp.Diff(string(a.b), string(b.b)); d != "" {
		t.Error(d)
	}
}

func TestWhoTakesGzip(t *testing.T) {
	got := map[string]bool{}
	for _, s := range []string{"", "gzip", "GZIP", "deflate", "br, gzip;q=0.8", "gzip;q=0", "gzip; q=0.0", "x-gzip", "identity,gzip"} {
		got[s] = takesGzip(s)
	}
	want := map[string]bool{"": false, "gzip": true, "GZIP": true, "deflate": false, "br, gzip;q=0.8": true, "gzip;q=0": false, "gzip; q=0.0": false, "x-gzip": false, "identity,gzip": true}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
