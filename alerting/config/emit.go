package config

import (
	"bytes"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// emit writes a tree without aliases in YAML's flow style, each value in the line that it has in the file: so what Alertmanager's own
// decoder says of a line is true of the file, whatever was cut out of the tree.
func emit(n *yaml.Node) string {
	e := emitter{line: 1, simple: regexp.MustCompile(`^[-+.]?[A-Za-z0-9_~][-+.A-Za-z0-9_~]*$`)}
	e.node(n)
	e.b.WriteByte('\n')
	return e.b.String()
}

type emitter struct {
	b      bytes.Buffer
	line   int
	simple *regexp.Regexp
}

func (e *emitter) node(n *yaml.Node) {
	for ; e.line < n.Line; e.line++ {
		e.b.WriteByte('\n')
	}
	switch n.Kind {
	case yaml.MappingNode:
		e.b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				e.b.WriteString(", ")
			}
			e.node(n.Content[i])
			e.b.WriteString(": ")
			e.node(n.Content[i+1])
		}
		e.b.WriteByte('}')
	case yaml.SequenceNode:
		e.b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				e.b.WriteString(", ")
			}
			e.node(c)
		}
		e.b.WriteByte(']')
	default:
		e.scalar(n)
	}
}

func (e *emitter) scalar(n *yaml.Node) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	switch {
	case n.Style&quoted == 0 && n.Value == "":
		e.b.WriteString("null")
	case n.Style&quoted == 0 && e.simple.MatchString(n.Value):
		e.b.WriteString(n.Value) // whoever reads it decides whether it is a number, a boolean or a text
	default:
		writeQuoted(&e.b, n.Value)
	}
}

// writeQuoted writes a text in double quotes, in one line of ASCII.
func writeQuoted(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04X`, r)
		default:
			fmt.Fprintf(b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
}
