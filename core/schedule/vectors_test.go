package schedule

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the vectors hold on machines without zone data too

	"github.com/google/go-cmp/cmp"
)

// script calls f for every line of a file of vectors, cut at its arrow.
func script(t *testing.T, path string, f func(t *testing.T, left, right string)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		left, right, ok := strings.Cut(line, "→")
		if !ok {
			t.Fatalf("%s:%d: no arrow in %q", path, i+1, line)
		}
		ran++
		t.Run(strings.Join(strings.Fields(left), " "), func(t *testing.T) {
			f(t, strings.TrimSpace(left), strings.TrimSpace(right))
		})
	}
	if ran == 0 {
		t.Fatalf("%s: no vectors", path)
	}
}

// TestNext runs testdata/next/*.txt: cron | zone | from → due moments.
func TestNext(t *testing.T) {
	files, err := filepath.Glob("testdata/next/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var compiler Compiler
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script(t, path, func(t *testing.T, left, right string) {
				part := strings.Split(left, "|")
				if len(part) != 3 {
					t.Fatalf("want cron | zone | from, got %q", left)
				}
				s, err := compiler.Compile(Spec{Cron: strings.TrimSpace(part[0]), Timezone: strings.TrimSpace(part[1])})
				if err != nil {
					t.Fatal(err)
				}
				from := instant(t, strings.TrimSpace(part[2]), s.cron.zone)
				tokens := strings.Fields(right)
				n := len(tokens)
				var want []string
				for _, token := range tokens {
					if token == "never" {
						break
					}
					want = append(want, stamp(instant(t, token, s.cron.zone), s))
				}
				var got []string
				for _, due := range NextN(s, from, n) {
					if due.Location() != time.UTC {
						t.Errorf("%s is not in UTC", due)
					}
					got = append(got, stamp(due, s))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", stamp(from, s), diff)
				}
			})
		})
	}
}

func stamp(t time.Time, s Schedule) string {
	return t.In(s.cron.zone).Format("Mon 2006-01-02T15:04:05Z07:00")
}

// instant reads a time of a vector: with an offset, or in the line's zone, or a date.
func instant(t *testing.T, text string, zone *time.Location) time.Time {
	t.Helper()
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02",
	} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at
		}
	}
	t.Fatalf("cannot read the time %q", text)
	return time.Time{}
}

// TestRefused runs testdata/refused.txt: cron → error.
func TestRefused(t *testing.T) {
	script(t, "testdata/refused.txt", func(t *testing.T, left, right string) {
		s, err := Spec{Cron: left}.Compile()
		if err == nil {
			t.Fatalf("%q compiled to %s", left, s)
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Fatalf("%T is not an *Error", err)
		}
		if diff := cmp.Diff(right, err.Error()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", left, diff)
		}
	})
}
