package wrap

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTail(t *testing.T) {
	t.Parallel()
	f := func(limit int, writes []string, want string) {
		t.Helper()
		tl := &tail{limit: limit}
		for _, w := range writes {
			if n, err := tl.Write([]byte(w)); n != len(w) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := string(tl.bytes()); got != want {
			t.Errorf("limit %d, %q: got %q, want %q", limit, writes, got, want)
		}
	}
	f(10, nil, "")
	f(10, []string{"hello"}, "hello")
	f(5, []string{"hello"}, "hello")
	f(5, []string{"one\ntwo\n"}, "two\n")
	f(4, []string{"one\n", "two\n"}, "two\n")
	f(3, []string{"abcdef"}, "def")
	f(4, []string{"äöü"}, "öü")
	f(3, []string{"äöü"}, "ü")
	f(0, []string{"hello"}, "")
	f(2, []string{strings.Repeat("x", 5000), "\nend"}, "nd")
	f(8, []string{"aaaa\n", "bbbb\n", "cccc\n", "dd\n"}, "cccc\ndd\n")
	f(4, []string{"\n\n\n\n\n\n"}, "\n\n\n\n")
	f(1, []string{"\n"}, "\n")
	f(2, []string{"\x80\x80\x80\x80\x80"}, "")
}

func TestTailTakesALargerLimitLater(t *testing.T) {
	t.Parallel()
	tl := &tail{limit: 2}
	_, _ = tl.Write([]byte("abc"))
	tl.setLimit(6)
	_, _ = tl.Write([]byte("def"))
	if got := string(tl.bytes()); got != "abcdef" {
		t.Errorf("got %q: nothing had been dropped yet", got)
	}
	tl.setLimit(-1)
	if got := tl.bytes(); len(got) != 0 {
		t.Errorf("got %q of a limit below 0", got)
	}
}

func TestTailHoldsLittleMemory(t *testing.T) {
	t.Parallel()
	tl := &tail{limit: 1000}
	chunk := []byte(strings.Repeat("0123456789", 400))
	for range 1000 {
		_, _ = tl.Write(chunk)
	}
	if c := cap(tl.kept); c > 20_000 {
		t.Errorf("%d bytes are held for a limit of 1000", c)
	}
	if got := tl.bytes(); len(got) > 1000 {
		t.Errorf("%d bytes", len(got))
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), 5, 3)
	f.Add([]byte("äöüß€"), 4, 1)
	f.Fuzz(func(t *testing.T, out []byte, limit, step int) {
		limit = max(0, min(limit, 1<<16))
		step = max(1, min(step, 1<<12))
		tl := &tail{limit: limit}
		for rest := out; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			_, _ = tl.Write(rest[:min(step, len(rest))])
		}
		got := tl.bytes()
		if len(got) > limit || !bytes.HasSuffix(out, got) {
			t.Fatalf("%q is no tail of %q within %d", got, out, limit)
		}
		if utf8.Valid(out) && !utf8.Valid(got) {
			t.Fatalf("%q was cut within a character", got)
		}
	})
}
