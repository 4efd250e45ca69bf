package forward

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
)

func TestEveryStatusHasItsMeaning(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for status := 200; status < 600; status++ {
		refused, err := judge(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}}, "text", now)
		want := "never"
		switch {
		case status < 300:
			want = "taken"
		case status >= 500, status == 429, status == 408:
			want = "later"
		}
		got := "never"
		if away, ok := errors.AsType[*awayError](err); ok && away.after == 7*time.Second {
			got = "later"
		} else if refused == "" && err == nil {
			got = "taken"
		}
		if got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "99999999999999999999": 0, "1000000": time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestBackoffGrowsToItsMost(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		d := backoff(time.Second, failures, time.Minute)
		want := min(time.Second<<min(failures-1, 10), time.Minute)
		if d > want || d < want*4/5-1 {
			t.Errorf("after %d: %v, want a little under %v", failures, d, want)
		}
	}
}

func TestReasonsHaveNoURL(t *testing.T) {
	err := &url.Error{Op: "Post", URL: "https://example.com/?secret=1", Err: fmt.Errorf("dial tcp: refused")}
	if got := reason(fmt.Errorf("x: %w", err)); got != "dial tcp: refused" {
		t.Errorf("%q", got)
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("out of order\nsample\x00\xff")
	f.Add(strings.Repeat("ü", 400))
	f.Fuzz(func(t *testing.T, s string) {
		got := plain(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\r\t\x1b") || len(got) > 310 {
			t.Errorf("%q", got)
		}
	})
}

// TestRemoteWriteKeepsWhatItIsGiven: histograms whole, markers bit for bit, labels sorted, external ones only where there are none.
func TestRemoteWriteKeepsWhatItIsGiven(t *testing.T) {
	h := prompb.Histogram{
		Count: &prompb.Histogram_CountInt{CountInt: 3}, Sum: 4.5, Schema: 3, ZeroThreshold: 1e-38,
		PositiveSpans: []prompb.BucketSpan{{Offset: 2, Length: 1}}, PositiveDeltas: []int64{3}, Timestamp: 2000,
	}
	data, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r := newRemoteWrite(&forward.Config{Metrics: []string{"keep*"}, ExternalLabels: map[string]string{"a": "external", "zone": "x"}})
	r.begin(time.UnixMilli(1000), time.UnixMilli(3000))
	const stale = 0x7ff0000000000002
	err = r.add([]series.Series{
		{Labels: []series.Label{{Name: "__name__", Value: "drop"}}, Floats: []series.Float{{At: 2000, Value: 1}}},
		{Labels: []series.Label{{Name: "__name__", Value: "keep_old"}}, Floats: []series.Float{{At: 1000, Value: 1}}},
		{Labels: []series.Label{{Name: "__name__", Value: "keep"}, {Name: "a", Value: "own"}}, Floats: []series.Float{{At: 2000, Value: 1}, {At: 3000, Value: math.Float64frombits(stale)}}},
		{Labels: []series.Label{{Name: "__name__", Value: "keep_h"}}, Histograms: []series.Histogram{{At: 2000, Data: data}}},
	}, func() error { t.Error("three samples are not many"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	body, n, err := r.take()
	if err != nil || n != 3 {
		t.Fatalf("%d samples, %v", n, err)
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var got prompb.WriteRequest
	if err := got.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	want := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		{
			Labels:  []prompb.Label{{Name: "__name__", Value: "keep"}, {Name: "a", Value: "own"}, {Name: "zone", Value: "x"}},
			Samples: []prompb.Sample{{Timestamp: 2000, Value: 1}, {Timestamp: 3000, Value: math.Float64frombits(stale)}},
		},
		{
			Labels:     []prompb.Label{{Name: "__name__", Value: "keep_h"}, {Name: "a", Value: "external"}, {Name: "zone", Value: "x"}},
			Histograms: []prompb.Histogram{h},
		},
	}}
	wanted, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(wanted) != string(plain) {
		t.Errorf("got %v, want %v", got, want)
	}
	if body, n, err := r.take(); body != nil || n != 0 || err != nil {
		t.Error("it is sent twice")
	}
}
