package mail

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// width of a text, in characters: what fits a terminal, with room to be quoted.
const width = 72

// clean takes out what a terminal or a mail client would act upon: control characters, escape sequences with them, and marks that turn
// the direction of writing. Line breaks and tabs stay, as \n and spaces.
func clean(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", "    ").Replace(strings.ToValidUTF8(s, "�"))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0xfeff:
			return -1
		case r == 0x2028, r == 0x2029:
			return '\n'
		}
		return r
	}, s)
}

// oneLine is the text clean and on one line, of so many characters at most.
func oneLine(s string, most int) string {
	return cut(strings.Join(strings.Fields(clean(s)), " "), most)
}

// cut leaves so many characters.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// link is an address that can be opened, or nothing.
func link(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(s) > 2000 {
		return ""
	}
	return u.String()
}

// wrap breaks each line of the text at spaces, so that with the indent it keeps within the width. What has no spaces stays whole: a
// link that is broken cannot be opened.
func wrap(s, indent string) string {
	var out []string
	room := width - utf8.RuneCountInString(indent)
	for line := range strings.SplitSeq(s, "\n") {
		at := ""
		for word := range strings.FieldsSeq(line) {
			switch {
			case at == "":
				at = word
			case utf8.RuneCountInString(at)+1+utf8.RuneCountInString(word) <= room:
				at += " " + word
			default:
				out = append(out, indent+at)
				at = word
			}
		}
		if at != "" {
			at = indent + at
		}
		out = append(out, at)
	}
	return strings.Join(out, "\n")
}

// maxFolded is on how many lines of a text a line of a program's output goes on. Its HTML part has all of it.
const maxFolded = 10

// fold breaks a line of a program's output wherever the width ends: what went wrong is mostly said at the line's end.
func fold(s string) []string {
	rest, room := []rune(s), width-4
	var out []string
	for len(rest) > room && len(out) < maxFolded-1 {
		out, rest, room = append(out, string(rest[:room])), rest[room:], width-6
	}
	return append(out, cut(string(rest), room))
}

// text is the view as plain text: the facts first, links bare.
func (v view) text() string {
	var b strings.Builder
	line := func(parts ...string) { b.WriteString(strings.Join(parts, "") + "\n") }
	line(wrap(v.Title, ""))
	if v.Lead != "" {
		line("\n", wrap(v.Lead, ""))
	}
	for _, s := range v.Sections {
		if s.Heading != "" {
			line("\n", s.Heading, "\n", strings.Repeat("-", utf8.RuneCountInString(s.Heading)))
		}
		for _, i := range s.Items {
			i.text(line, s.Heading == "")
		}
		if len(s.Lines) > 0 {
			line()
		}
		for _, l := range s.Lines {
			line("* ", strings.TrimPrefix(wrap(l, "  "), "  "))
		}
		if s.More > 0 {
			line("\n", plural(s.More, "more"))
		}
	}
	if v.URL != "" {
		line("\n", v.URL)
	}
	line("\n-- ")
	line(wrap(v.why(), ""))
	if v.Unsubscribe != "" {
		line("No more mails like this:\n", v.Unsubscribe)
	}
	return b.String()
}

// text writes the item; alone: the title has said its headline.
func (i item) text(line func(...string), alone bool) {
	if !alone {
		line("\n", wrap(i.Headline, ""))
	}
	if len(i.Facts) > 0 {
		line()
	}
	for _, f := range i.Facts {
		label := "  " + f.Name + strings.Repeat(" ", max(1, 14-utf8.RuneCountInString(f.Name)))
		hang := strings.Repeat(" ", 16)
		line(label, strings.TrimPrefix(wrap(f.Value, hang), hang))
	}
	if i.Description != "" {
		line("\n", wrap(i.Description, ""))
	}
	if len(i.Output) > 0 {
		line()
		for _, l := range i.Output {
			for n, part := range fold(l) {
				line([2]string{"  | ", "  |   "}[min(n, 1)], part)
			}
		}
	}
	if i.URL != "" {
		line("\n", i.URL)
	}
}

// why says how the mail came about.
func (v view) why() string {
	if v.Receiver == "" {
		return "Tokiflow told this to " + v.Address + "."
	}
	s := "Tokiflow told this to " + v.Address + ", which is in the receiver " + v.Receiver
	if v.Group != "" {
		s += " (" + v.Group + ")"
	}
	return s + "."
}
