package config

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of what a person may write.
const (
	maxYAML         = 1 << 20
	maxNodes        = 200_000 // of the YAML with its aliases written out
	maxDepth        = 60      // of mappings and lists in each other, with routes
	maxRouteDepth   = 20
	maxRoutes       = 1000
	maxReceivers    = 500
	maxReceiverName = 200 // bytes
	maxIntegrations = 500 // of all receivers
	maxOfReceiver   = 50
	maxInhibitRules = 500
	maxIntervals    = 500
	maxTemplates    = 100
	maxTemplateText = 256 << 10 // of all templates
	maxTemplateName = 200
)

// parse reads the YAML as it was written: one document with a mapping in it. The nodes have the lines of the text.
func parse(text string) (*yaml.Node, error) {
	switch {
	case len(text) > maxYAML:
		return nil, Problems{{Text: fmt.Sprintf("the YAML has %d bytes: at most %d are taken", len(text), maxYAML)}}
	case !utf8.ValidString(text):
		return nil, Problems{{Text: "the YAML is not UTF-8: save it as UTF-8"}}
	case strings.ContainsRune(text, 0):
		return nil, Problems{{Text: "the YAML holds a NUL character: remove it"}}
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	if err := d.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, Problems{{Text: "the YAML is empty: it needs a route and receivers"}}
		}
		return nil, plainError(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, Problems{{Text: "the YAML holds more than one document: keep what is before the line ---"}}
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, Problems{{Line: 1, Text: "the YAML is no mapping: it needs the keys route and receivers"}}
	}
	return &document, nil
}

// expander writes out aliases and merged mappings.
type expander struct {
	nodes    int
	problems Problems
}

// expand returns a copy of the tree without aliases, anchors and merge keys. It refuses what only costs, and keys that are there twice.
func expand(document *yaml.Node) (*yaml.Node, error) {
	e := &expander{}
	root := e.node(document.Content[0], 0)
	return root, e.problems.err()
}

// full reports that no more is to be looked at.
func (e *expander) full() bool { return e.nodes > maxNodes || len(e.problems) >= maxProblems }

func (e *expander) node(n *yaml.Node, depth int) *yaml.Node {
	out := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	if e.nodes++; e.nodes == maxNodes+1 {
		e.problems.add(n, "the YAML has more than %d values: do its aliases repeat each other?", maxNodes)
	}
	if depth > maxDepth {
		e.problems.add(n, "mappings and lists stand more than %d deep in each other", maxDepth)
		return out
	}
	if e.full() {
		return out
	}
	switch n.Kind {
	case yaml.AliasNode:
		return e.node(n.Alias, depth+1)
	case yaml.ScalarNode:
		if strings.ContainsRune(n.Value, 0) { // written as \0: no name or label may have one in the database
			e.problems.add(n, "the value holds a NUL character: remove it")
		}
		if n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
			e.problems.add(n, "tags such as %s are not known here: write the value alone", n.Tag)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			out.Content = append(out.Content, e.node(c, depth+1))
		}
	case yaml.MappingNode:
		e.mapping(n, out, depth)
	default: // a document holds no other
	}
	return out
}

func (e *expander) mapping(n, out *yaml.Node, depth int) {
	lines := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && !e.full(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			e.problems.add(key, "a key must be a plain text")
			continue
		}
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if before, twice := lines[key.Value]; twice {
			e.problems.add(key, "the key %q is there twice: it is in line %d already", key.Value, before)
			continue
		}
		lines[key.Value] = key.Line
		out.Content = append(out.Content, e.node(key, depth+1), e.node(value, depth+1))
	}
	for _, m := range merged {
		e.merge(m, out, lines, depth+1)
	}
}

// merge adds what a merge key (<<) brings and the mapping does not have.
func (e *expander) merge(m, out *yaml.Node, lines map[string]int, depth int) {
	if m.Kind == yaml.AliasNode {
		m = m.Alias
	}
	if m.Kind == yaml.SequenceNode && depth <= maxDepth {
		for _, one := range m.Content {
			e.merge(one, out, lines, depth+1)
		}
		return
	}
	if m.Kind != yaml.MappingNode {
		e.problems.add(m, "<< takes an alias of a mapping, or a list of them")
		return
	}
	from := e.node(m, depth)
	for i := 0; i+1 < len(from.Content); i += 2 {
		if key := from.Content[i]; lines[key.Value] == 0 {
			lines[key.Value] = key.Line
			out.Content = append(out.Content, key, from.Content[i+1])
		}
	}
}

// field is the value of a mapping's key; nil where there is none.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// items are the elements of a mapping's list; none where there is no list.
func items(n *yaml.Node, key string) []*yaml.Node {
	if list := field(n, key); list != nil && list.Kind == yaml.SequenceNode {
		return list.Content
	}
	return nil
}

// text is the scalar of a mapping's key; "" where there is none.
func text(n *yaml.Node, key string) string {
	if v := field(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// without is a copy of a mapping without the keys. What is in it is shared.
func without(n *yaml.Node, keys ...string) *yaml.Node {
	out := *n
	out.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !slices.Contains(keys, n.Content[i].Value) {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return &out
}
