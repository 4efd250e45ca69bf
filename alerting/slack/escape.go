package slack

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// mrkdwn makes a customer's text safe within Slack's markup, at most most characters of it: nothing in it is a mention, a link or
// an entity, and nothing changes how the rest of the line reads.
func mrkdwn(s string, most int) string {
	return clip(s, most, func(r rune) string {
		switch r {
		case '&':
			return "&amp;"
		case '<':
			return "&lt;"
		case '>':
			return "&gt;"
		}
		return string(r)
	})
}

// plain does the same for texts that Slack shows as they are. Angle brackets look alike, in case it reads entities there.
func plain(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	return clip(s, most, func(r rune) string {
		switch r {
		case '<':
			return "‹"
		case '>':
			return "›"
		}
		return string(r)
	})
}

// code makes a text safe between backquotes, which it loses.
func code(s string, most int) string {
	return mrkdwn(strings.ReplaceAll(s, "`", "'"), most)
}

// clip writes s rune by rune until the most is reached, in UTF-16 units as Slack counts at worst; then an ellipsis.
func clip(s string, most int, spell func(rune) string) string {
	var b strings.Builder
	used := 0
	rest := s
	for rest != "" {
		r, size := utf8.DecodeRuneInString(rest)
		word := ""
		if !hidden(r) && (r != utf8.RuneError || size > 1) {
			word = spell(r)
		}
		if r == '@' && broadcasts(rest[size:]) {
			word += "\u2060" // a word joiner: it reads the same and calls nobody
		}
		length, last := units(word), len(rest) == size
		if used+length > most-1 && (!last || used+length > most) {
			b.WriteString("…")
			break
		}
		b.WriteString(word)
		used += length
		rest = rest[size:]
	}
	return b.String()
}

// hidden are characters that do not show, or turn around how others read. Line ends and tabs stay.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case unicode.IsControl(r), r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x200E, r == 0x200F, r == 0xFEFF:
		return true
	}
	return false
}

// broadcasts reports whether a text that stood behind an @ would call many.
func broadcasts(rest string) bool {
	for _, word := range []string{"channel", "here", "everyone", "group"} {
		if len(rest) >= len(word) && strings.EqualFold(rest[:len(word)], word) {
			return true
		}
	}
	return false
}

func units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// date shows an instant in the reader's zone.
func date(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s>", t.Unix(), t.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// span is a length of time in at most two units.
func span(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return two(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	case d < 24*time.Hour:
		return two(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	return two(int(d/(24*time.Hour)), "d", int(d%(24*time.Hour)/time.Hour), "h")
}

func two(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, smaller)
}
