package mail

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/recipient"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ntext\r\n": "plain\ntext\n", "a\tb": "a    b", "\x1b[31mred\x1b[0m": "[31mred[0m", "a\x00b\x7fc\u0085d": "abcd", "\u202eevil\u2066x\u200f": "evilx",
		"bad\xff": "bad�", "a\rb": "a\nb", "a\u2028b": "a\nb", "Grüße 日本": "Grüße 日本",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := oneLine("  a\r\n\tb  c  ", 100); got != "a b c" {
		t.Errorf("got %q", got)
	}
	if got := oneLine(strings.Repeat("ü", 50), 10); got != strings.Repeat("ü", 9)+"…" {
		t.Errorf("got %q", got)
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("word ", 40) + "\n\nnext\n" + strings.Repeat("x", 100)
	got := wrap(long, "  ")
	for line := range strings.SplitSeq(got, "\n") {
		if utf8.RuneCountInString(line) > width && strings.Contains(strings.TrimSpace(line), " ") || line != "" && !strings.HasPrefix(line, "  ") {
			t.Errorf("a line %q", line)
		}
	}
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(long), " ") {
		t.Errorf("words were lost: %q", got)
	}
	if wrap("", "  ") != "" || wrap("a", "") != "a" {
		t.Error("short ones changed")
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"a b\nc", "\x1b[2J", "\u202e", strings.Repeat("a ", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range []string{clean(s), wrap(clean(s), " "), oneLine(s, 80)} {
			if !utf8.ValidString(out) || strings.ContainsFunc(out, func(r rune) bool { return unicode.IsControl(r) && r != '\n' || r >= 0x202a && r <= 0x202e }) {
				t.Errorf("%q gave %q", s, out)
			}
		}
		if one := oneLine(s, 80); strings.Contains(one, "\n") || utf8.RuneCountInString(one) > 80 {
			t.Errorf("%q gave %q", s, one)
		}
	})
}

func TestDuration(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 119 * time.Second: "1 min", 3 * time.Hour: "3 h",
		3*time.Hour + 5*time.Minute: "3 h 5 min", 24 * time.Hour: "1 d", 50 * time.Hour: "2 d 2 h", 1000 * 24 * time.Hour: "1000 d",
	} {
		if got := duration(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := clock{now: time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC), loc: berlin}
	for in, want := range map[string]string{
		"2026-11-23T01:00:00Z": "02:00 CET", "2026-11-22T23:30:00Z": "00:30 CET", "2026-11-22T22:30:00Z": "22 Nov 23:30 CET", "2025-07-01T00:00:00Z": "1 Jul 2025 02:00 CEST",
	} {
		at, err := time.Parse(time.RFC3339, in)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.at(at); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestHeadlines(t *testing.T) {
	c := clock{now: time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC), loc: time.UTC}
	for kind, want := range map[string]string{
		"missed": "[missed] backup — since 02:00 UTC|backup is missed since 02:00 UTC", "late": "[late] backup — since 02:00 UTC|backup is late since 02:00 UTC",
		"fail": "[fail] backup — since 02:00 UTC|backup failed at 02:00 UTC", "overrun": "[overrun] backup — since 02:00 UTC|backup runs for too long, since 02:00 UTC",
		"anomaly": "[anomaly] backup — since 02:00 UTC|backup took an unusual time, at 02:00 UTC", "": "[firing] backup — since 02:00 UTC|backup fires since 02:00 UTC",
		"new": "[firing] backup — since 02:00 UTC|backup fires since 02:00 UTC",
	} {
		a := recipient.Alert{Labels: map[string]string{"monitor": "backup"}, Annotations: map[string]string{"kind": kind}, StartsAt: c.now.Add(-5 * time.Minute)}
		if got := subject([]recipient.Alert{a}, nil, c) + "|" + headline(a, c); got != want {
			t.Errorf("%q: got %s", kind, got)
		}
	}
	if got := name(recipient.Alert{}); got != "alert" {
		t.Errorf("without labels: %q", got)
	}
}

// TestEvidence has every fact of every kind of incident.
func TestEvidence(t *testing.T) {
	c := clock{now: time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC), loc: time.UTC}
	a := recipient.Alert{
		Labels: map[string]string{"monitor": "backup"}, StartsAt: c.now, GeneratorURL: "ftp://example.com/x",
		Annotations: map[string]string{"kind": "overrun", "acknowledged_by": "ada", "evidence": `{"run_started_at":"2026-11-23T01:00:00Z","exit_code":0,"failures_in_a_row":3,
			"duration_seconds":3725,"max_runtime_seconds":1800,"mean_seconds":61.5,"output":"` + strings.Repeat(`line\n`, 30) + `last"}`},
	}
	i := show(a, c)
	var facts []string
	for _, f := range i.Facts {
		facts = append(facts, f.Name+"="+f.Value)
	}
	want := "Run started=01:00 UTC|Exit status=0|Failures=3 in a row|Took=1 h 2 min|Usually=1 min|At most=30 min|Acknowledged=by ada"
	if got := strings.Join(facts, "|"); got != want {
		t.Errorf("got %s", got)
	}
	if len(i.Output) != maxOutput+1 || i.Output[0] != "… 11 lines above" || i.Output[maxOutput] != "last" || i.URL != "" {
		t.Errorf("output %q, link %q", i.Output, i.URL)
	}
	a.Annotations["evidence"] = "no JSON"
	if i := show(a, c); len(i.Facts) != 1 {
		t.Errorf("got %+v", i)
	}
}

func TestHeadersThatCanBeSet(t *testing.T) {
	for _, good := range []string{"X-Team", "reply-to", "Importance", "List-Id", "Cc"} {
		if err := checkHeader(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "X Y", "X:Y", "X\r\nY", "bcc", "content-type", "Date", "MESSAGE-ID", "list-unsubscribe", "ü", strings.Repeat("x", 71)} {
		if checkHeader(bad) == nil {
			t.Errorf("%q can be set", bad)
		}
	}
}

func TestTheDefaultsAreMarked(t *testing.T) {
	if !regexp.MustCompile(`define "email.default.subject"`).MatchString(Templates()) || !strings.Contains(Templates(), ourHTML) {
		t.Errorf("got %s", Templates())
	}
	if got := fill("<div>"+ourHTML+"</div>", ourHTML, "x"); got != "<div>x</div>" {
		t.Errorf("got %s", got)
	}
}

// TestFold: a line of output is broken where the width ends, its end is not lost, and an endless one is cut.
func TestFold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 68) + strings.Repeat("b", 66) + "the end"
	for _, c := range []struct {
		line string
		want []string
	}{
		{"", []string{""}},
		{long[:2*68], []string{strings.Repeat("ü", 68)}},
		{long, []string{strings.Repeat("ü", 68), strings.Repeat("b", 66), "the end"}},
	} {
		if got := fold(c.line); !slices.Equal(got, c.want) {
			t.Errorf("%q is %q", c.line, got)
		}
	}
	if got := fold(strings.Repeat("x", 5000)); len(got) != maxFolded || !strings.HasSuffix(got[maxFolded-1], "x…") {
		t.Errorf("5000 characters are %d lines, the last is %q", len(got), got[len(got)-1])
	}
}
