package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redact returns the Source with <secret> in the place of every secret. All else stays as it was written, comments too, but for
// secrets in comments. The error says why the YAML cannot be read.
func Redact(s Source, kinds []Kind) (Source, error) {
	o := Options{Kinds: kinds}
	document, err := parse(s.YAML)
	if err != nil {
		return Source{}, err
	}
	if _, err := expand(document); err != nil {
		return Source{}, err
	}
	values := o.secretValues(document)
	edits := map[*yaml.Node]edit{}
	for _, p := range o.secrets(document) {
		if p.node.Value != secretToken {
			edits[p.node] = edit{p.node, secretToken, secretToken}
		}
	}
	text, err := rewritten(s.YAML, document, edits, values)
	if err != nil {
		return Source{}, err
	}
	return Source{YAML: text, Templates: s.Templates}, nil
}

// rewritten makes the edits in the text. Where that cannot be done for sure, it writes the whole document anew. hidden is taken out of
// the comments.
func rewritten(text string, document *yaml.Node, edits map[*yaml.Node]edit, hidden []string) (string, error) {
	list := make([]edit, 0, len(edits))
	for _, e := range edits {
		list = append(list, e)
	}
	out, err := splice(text, list)
	hide := newHider(hidden)
	out = hideInComments(out, hide)
	for n, e := range edits { // now the nodes say what is to be
		n.Value, n.Tag, n.Style = e.value, "!!str", 0
		if e.value != e.with {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	if err == nil {
		if again, err := parse(out); err == nil && equal(document, again) && !hidesIn(again, hide) {
			return out, nil
		}
	}
	clean(document, hide)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(document); err != nil {
		return "", err
	}
	return b.String(), e.Close()
}

// equal reports whether two trees say the same.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor || a.ShortTag() != b.ShortTag() || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// hideInComments replaces the values where a comment may be. A brace in a text can look like one: the caller compares what came out.
func hideInComments(text string, hide *strings.Replacer) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if from := strings.IndexByte(line, '#'); from >= 0 {
			lines[i] = line[:from] + hide.Replace(line[from:])
		}
	}
	return strings.Join(lines, "")
}

// hidesIn reports whether a comment still tells one of the values.
func hidesIn(n *yaml.Node, hide *strings.Replacer) bool {
	for _, c := range []string{n.HeadComment, n.LineComment, n.FootComment} {
		if c != "" && hide.Replace(c) != c {
			return true
		}
	}
	for _, c := range n.Content {
		if hidesIn(c, hide) {
			return true
		}
	}
	return false
}

func clean(n *yaml.Node, hide *strings.Replacer) {
	n.HeadComment, n.LineComment, n.FootComment = hide.Replace(n.HeadComment), hide.Replace(n.LineComment), hide.Replace(n.FootComment)
	for _, c := range n.Content {
		clean(c, hide)
	}
}
