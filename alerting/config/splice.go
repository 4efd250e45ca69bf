package config

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// edit replaces a scalar of a text.
type edit struct {
	node *yaml.Node
	with string // as YAML has it, in one line
}

var errSpan = errors.New("a value cannot be found in its text")

var errLabels = errors.New("labels are given as name=value")

// splice replaces scalars in the text that they were read from; everything else stays as it is.
func splice(text string, edits []edit) (string, error) {
	lines := lineStarts(text)
	type cut struct {
		from, to int
		with     string
	}
	cuts := make([]cut, 0, len(edits))
	for _, e := range edits {
		from, to, err := span(text, lines, e.node)
		if err != nil {
			return "", err
		}
		cuts = append(cuts, cut{from, to, e.with})
	}
	slices.SortFunc(cuts, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	at := 0
	for _, c := range cuts {
		if c.from < at {
			return "", errSpan
		}
		out.WriteString(text[at:c.from])
		out.WriteString(c.with)
		at = c.to
	}
	out.WriteString(text[at:])
	return out.String(), nil
}

// lineStarts are the places where lines begin, by what YAML takes for the end of one.
func lineStarts(text string) []int {
	starts := []int{0}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case r == '\r' && i < len(text) && text[i] == '\n':
		case r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			starts = append(starts, i)
		}
	}
	return starts
}

// span is where a scalar stands in the text, from its first byte to behind its last, without its anchor and tag.
func span(text string, lines []int, n *yaml.Node) (from, to int, err error) {
	if n.Line < 1 || n.Line > len(lines) || n.Kind != yaml.ScalarNode {
		return 0, 0, errSpan
	}
	from = lines[n.Line-1]
	if n.Line == 1 && strings.HasPrefix(text, "\uFEFF") {
		from += len("\uFEFF")
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	for from < len(text) && (text[from] == '&' || text[from] == '!') { // an anchor, a tag
		for from < len(text) && !isBlank(text[from]) {
			from++
		}
		for from < len(text) && isBlank(text[from]) {
			from++
		}
	}
	if from >= len(text) {
		return 0, 0, errSpan
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		to = quotedEnd(text, from, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		to = quotedEnd(text, from, '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		to = blockEnd(text, from)
	default:
		to = plainEnd(text, from, n.Value)
	}
	if to <= from {
		return 0, 0, errSpan
	}
	return from, to, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func quotedEnd(text string, from int, quote byte) int {
	if text[from] != quote {
		return -1
	}
	for i := from + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote && quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return -1
}

// blockEnd is where the lines of a literal or folded text end: before the first that is indented less.
func blockEnd(text string, from int) int {
	if text[from] != '|' && text[from] != '>' {
		return -1
	}
	end := lineEnd(text, from)
	indent := -1
	if digits := strings.Trim(text[from+1:min(from+3, len(text))], "+- \n\r"); digits != "" && unicode.IsDigit(rune(digits[0])) {
		return -1 // an indentation by number counts from the parent's: the caller has another way
	}
	for at := end; at < len(text); {
		start := at + 1
		stop := lineEnd(text, start)
		line := text[min(start, len(text)):stop]
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		blank := strings.Trim(line, " \r") == ""
		switch {
		case blank:
		case indent < 0:
			indent = spaces
			end = stop
		case spaces < indent:
			return end
		default:
			end = stop
		}
		if indent == 0 {
			return -1
		}
		at = stop
	}
	return end
}

func lineEnd(text string, from int) int {
	if i := strings.IndexByte(text[min(from, len(text)):], '\n'); i >= 0 {
		return from + i
	}
	return len(text)
}

// plainEnd follows a plain text, which may go over several lines.
func plainEnd(text string, from int, value string) int {
	i := from
	for _, r := range value {
		if r == ' ' || r == '\n' {
			for i < len(text) && isBlank(text[i]) {
				i++
			}
			continue
		}
		at, size := utf8.DecodeRuneInString(text[min(i, len(text)):])
		if at != r {
			return -1
		}
		i += size
	}
	return i
}

// quoted is a text as a YAML scalar in one line.
func quoted(s string) string {
	var b bytes.Buffer
	writeQuoted(&b, s)
	return b.String()
}
