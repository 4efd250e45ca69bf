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
	node  *yaml.Node
	value string // what is to stand there
	with  string // as YAML has it, in one line
}

var errSpan = errors.New("a value cannot be found in its text")

// splice replaces scalars in the text that they were read from; everything else stays as it is.
func splice(text string, edits []edit) (string, error) {
	slices.SortFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.node.Line, b.node.Line), cmp.Compare(a.node.Column, b.node.Column))
	})
	c := cursor{text: text, lines: lineStarts(text)}
	var out strings.Builder
	at := 0
	for _, e := range edits {
		from, to, err := c.span(e.node)
		if err != nil {
			return "", err
		}
		if from < at {
			return "", errSpan
		}
		out.WriteString(text[at:from])
		out.WriteString(e.with)
		at = to
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

// cursor finds nodes in a text, one behind the other: a text may be one long line.
type cursor struct {
	text         string
	lines        []int
	line, column int // where at is
	at           int
}

// find is where a node begins.
func (c *cursor) find(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(c.lines) || n.Kind != yaml.ScalarNode {
		return 0, errSpan
	}
	if n.Line != c.line || n.Column < c.column {
		c.line, c.column, c.at = n.Line, 1, c.lines[n.Line-1]
		if n.Line == 1 && strings.HasPrefix(c.text, "\uFEFF") {
			c.at += len("\uFEFF")
		}
	}
	for ; c.column < n.Column; c.column++ {
		_, size := utf8.DecodeRuneInString(c.text[c.at:])
		c.at += size
	}
	return c.at, nil
}

// span is where a scalar stands in the text, from its first byte to behind its last, without its anchor and tag.
func (c *cursor) span(n *yaml.Node) (from, to int, err error) {
	text := c.text
	if from, err = c.find(n); err != nil {
		return 0, 0, err
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
