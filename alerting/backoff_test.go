package alerting

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/alert"
)

func TestRetryInDoublesToTheCap(t *testing.T) {
	const almost = 1 - 1e-9
	f := func(attempt int, refused bool, ceiling time.Duration) {
		t.Helper()
		answer := alert.Answer{Refused: refused}
		if got := retryIn(attempt, answer, 0); got != 0 {
			t.Errorf("attempt %d: at the least %v, want 0", attempt, got)
		}
		if got := retryIn(attempt, answer, 0.5); got != ceiling/2 {
			t.Errorf("attempt %d: in the middle %v, want %v", attempt, got, ceiling/2)
		}
		if got := retryIn(attempt, answer, almost); got > ceiling || got < ceiling-time.Millisecond {
			t.Errorf("attempt %d: at the most %v, want %v", attempt, got, ceiling)
		}
	}
	f(1, false, time.Second)
	f(2, false, 2*time.Second)
	f(3, false, 4*time.Second)
	f(8, false, 128*time.Second)
	f(9, false, 256*time.Second)
	f(10, false, 5*time.Minute)
	f(1_000_000_000, false, 5*time.Minute)
	f(0, false, time.Second)
	f(1, true, 5*time.Second)
	f(2, true, 10*time.Second)
	f(7, true, 5*time.Minute)
}

func TestRetryInHeedsWhatIsAsked(t *testing.T) {
	f := func(attempt int, asked time.Duration, r float64, want time.Duration) {
		t.Helper()
		if got := retryIn(attempt, alert.Answer{RetryAfter: asked}, r); got != want {
			t.Errorf("attempt %d, asked %v, r %v: %v, want %v", attempt, asked, r, got, want)
		}
	}
	f(1, 20*time.Second, 0, 20*time.Second)
	f(1, 20*time.Second, 0.5, 21*time.Second)
	f(10, 20*time.Second, 0.5, 150*time.Second) // the backoff is longer already
	f(1, 24*time.Hour, 0, time.Hour)            // no slip of a receiver silences it for long
}

func TestClean(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	f("answered 500", "answered 500")
	f("a\x00b\r\nc\x7f", "a b  c ")
	f("\xff\xfe", "\uFFFD\uFFFD")
	long := clean(strings.Repeat("é", 1000))
	if len(long) > 310 || !utf8.ValidString(long) {
		t.Errorf("%d bytes, valid %t", len(long), utf8.ValidString(long))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x00b")
	f.Add(strings.Repeat("€", 200))
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\r") || len(got) > 1000 {
			t.Errorf("%q became %q", s, got)
		}
	})
}
