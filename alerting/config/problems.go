package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	errLabels = errors.New("labels are given as name=value")
	errTheirs = errors.New("it is not what Alertmanager can read: is something empty that should not be?")
)

// Problem is one thing that is wrong with a configuration. It holds no secret.
type Problem struct {
	Line int    // of the YAML, from 1; 0: of a template, or of no line
	Text string // what is wrong, and what to do
}

// Error is the line and the text.
func (p Problem) Error() string {
	if p.Line > 0 {
		return fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return p.Text
}

// Problems are all that was found wrong, in the order of the lines.
type Problems []Problem

// maxProblems is how many are told at once.
const maxProblems = 20

// Error has a line for each problem.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives the problems one by one.
func (p Problems) Unwrap() []error {
	out := make([]error, len(p))
	for i, one := range p {
		out[i] = one
	}
	return out
}

func (p *Problems) add(at *yaml.Node, format string, args ...any) {
	line := 0
	if at != nil {
		line = at.Line
	}
	p.addLine(line, format, args...)
}

func (p *Problems) addLine(line int, format string, args ...any) {
	*p = append(*p, Problem{Line: line, Text: fmt.Sprintf(format, args...)})
}

// err is nil where there is no problem.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	p = slices.Compact(p)
	if more := len(p) - maxProblems; more > 0 {
		p = append(slices.Clone(p[:maxProblems]), Problem{Text: fmt.Sprintf("… and %d more", more)})
	}
	return p
}

// without takes secrets out of the texts.
func (p Problems) without(secrets []string) {
	if len(p) == 0 {
		return
	}
	hide := newHider(secrets)
	for i := range p {
		p[i].Text = hide.Replace(p[i].Text)
	}
}

// newHider makes what puts <secret> in the place of each of the values, of each line of them, and of them as Go quotes them. Those of
// three bytes or less could be anything.
func newHider(secrets []string) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		forms := append([]string{s, strings.Trim(strconv.Quote(s), `"`)}, strings.Split(s, "\n")...)
		for i, form := range forms {
			if form = strings.TrimSpace(form); len(form) > 3 && (i < 2 || len(form) > 5) && form != secretToken {
				pairs = append(pairs, form, secretToken)
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// plainError says an error of Alertmanager or of its YAML library without what only a programmer understands, and gives its lines.
func plainError(err error) Problems {
	var out Problems
	for text := range strings.SplitSeq(err.Error(), "\n") {
		if len(out) > 2*maxProblems {
			break
		}
		text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "yaml: "))
		if text == "" || text == "unmarshal errors:" {
			continue
		}
		line := 0
		if found := regexp.MustCompile(`^line (\d+): (?s:(.*))$`).FindStringSubmatch(text); found != nil {
			line, _ = strconv.Atoi(found[1]) // digits; too many are no line of ours
			text = found[2]
		}
		out = append(out, Problem{Line: line, Text: plainText(text)})
	}
	if len(out) == 0 {
		out = Problems{{Text: "it cannot be read"}}
	}
	return out
}

func plainText(text string) string {
	if found := regexp.MustCompile(`^field (\S+) not found in type `).FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("unknown key %q: Alertmanager has none of that name here", found[1])
	}
	// The value itself is left out: it may be a secret at the wrong place.
	if found := regexp.MustCompile("^cannot unmarshal (!!\\w+)(?: `(?s:.*)`)? into (\\S+)$").FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("%s cannot stand here: write %s", nounOfTag(found[1]), nounOfType(found[2]))
	}
	return text
}

func nounOfTag(tag string) string {
	switch tag {
	case "!!map":
		return "a mapping"
	case "!!seq":
		return "a list"
	case "!!null":
		return "nothing"
	}
	return "this value"
}

func nounOfType(t string) string {
	switch {
	case t == "string" || strings.HasSuffix(t, "Secret") || strings.HasSuffix(t, "URL"):
		return "a text"
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "int") || strings.HasPrefix(t, "uint") || strings.HasPrefix(t, "float"):
		return "a number"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "a mapping"
}
