package rules

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/util/strutil"
)

// Bounds of one template. What they are held by is put into the template when it is read (see guarded): the library that expands it
// knows neither a context nor a bound.
const (
	maxOutput = 64 << 10 // bytes; also of any text on the way
	maxSteps  = 10_000   // elements of loops and calls of templates: a recursion takes some kilobytes of stack for each
	maxArgs   = 1000     // values that `args` holds, through all its levels
)

var (
	errTooLong = fmt.Errorf("it gives more than %d bytes", maxOutput)
	errTooMany = fmt.Errorf("it takes more than %d steps", maxSteps)
	errNesting = fmt.Errorf("args holds more than %d values", maxArgs)
	errVerbs   = errors.New("printf: widths, precisions and argument numbers have three digits at most, and no *")
)

// The functions that guarded puts into a template.
const (
	stepFunc = "__step"
	outFunc  = "__out"
)

// preamble defines the variables that templates of alerts may use.
const preamble = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// text is the template of one label's or annotation's value.
type text struct {
	name  string // of the label or annotation
	plain bool   // nothing is to be expanded
	text  string // with the preamble and the guards, unless plain
}

func newText(name, value, rule string) text {
	if !strings.Contains(value, "{{") {
		return text{name: name, plain: true, text: value}
	}
	return text{name: name, text: guarded("__alert_"+rule, preamble+value)}
}

// scene is what the templates of one rule's evaluation are expanded with.
type scene struct {
	rule        string
	at          time.Time
	query       template.QueryFunc
	externalURL *url.URL
}

// expand expands a template. An error is what the template gives, as with Prometheus.
func (s scene) expand(ctx context.Context, t text, data any) string {
	if t.plain {
		return bounded(t.text)
	}
	e := template.NewTemplateExpander(ctx, t.text, "__alert_"+s.rule, data, model.TimeFromUnixNano(s.at.UnixNano()), s.query, s.externalURL, nil)
	b := &budget{ctx: ctx}
	e.Funcs(b.functions())
	out, err := e.Expand()
	if err != nil {
		return bounded(fmt.Sprintf("<error expanding template: %s>", err))
	}
	return out
}

// bounded cuts a text to maxOutput, and makes it one that PostgreSQL keeps.
func bounded(s string) string {
	if len(s) > maxOutput {
		s = s[:maxOutput]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// guarded puts a step into every loop, branch and template of the text, and what counts the output behind every action. A text that
// cannot be read stays as it is: whoever expands it says so.
func guarded(name, value string) string {
	tree := parse.New(name)
	tree.Mode = parse.SkipFuncCheck
	set := map[string]*parse.Tree{}
	if _, err := tree.Parse(value, "", "", set); err != nil {
		return value
	}
	var out strings.Builder
	for n, t := range set {
		guardList(t.Root)
		if n != name {
			fmt.Fprintf(&out, "{{define %q}}%s{{end}}", n, t.Root)
		}
	}
	if main := set[name]; main != nil {
		out.WriteString(main.Root.String())
	}
	return out.String()
}

func guardList(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, call(outFunc))
			}
		case *parse.IfNode:
			guardBranch(&n.BranchNode)
		case *parse.WithNode:
			guardBranch(&n.BranchNode)
		case *parse.RangeNode:
			guardBranch(&n.BranchNode)
		}
	}
	step := &parse.ActionNode{NodeType: parse.NodeAction, Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{call(stepFunc)}}}
	// Text is bounded by what the template itself has, times the steps: each says how much it is.
	size := 0
	for _, n := range l.Nodes {
		if t, ok := n.(*parse.TextNode); ok {
			size += len(t.Text)
		}
	}
	step.Pipe.Cmds[0].Args = append(step.Pipe.Cmds[0].Args, &parse.NumberNode{
		NodeType: parse.NodeNumber, IsInt: true, Int64: int64(size), Text: fmt.Sprint(size),
	})
	l.Nodes = append([]parse.Node{step}, l.Nodes...)
}

func guardBranch(b *parse.BranchNode) {
	guardList(b.List)
	guardList(b.ElseList)
}

func call(name string) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{&parse.IdentifierNode{NodeType: parse.NodeIdentifier, Ident: name}}}
}

// budget is what one template has used.
type budget struct {
	ctx   context.Context // a template's functions get no argument of ours
	steps int
	bytes int
}

// functions are the guards, and those of the library that can give more than they get.
func (b *budget) functions() texttemplate.FuncMap {
	return texttemplate.FuncMap{
		stepFunc: b.step,
		outFunc:  b.out,
		"args":   args,
		"print":  func(a ...any) (string, error) { return within(a, func() string { return fmt.Sprint(a...) }) },
		"println": func(a ...any) (string, error) {
			return within(a, func() string { return fmt.Sprintln(a...) })
		},
		"printf": printf,
		"html": func(a ...any) (string, error) {
			return within(a, func() string { return texttemplate.HTMLEscaper(a...) })
		},
		"js": func(a ...any) (string, error) {
			return within(a, func() string { return texttemplate.JSEscaper(a...) })
		},
		"urlquery": func(a ...any) (string, error) {
			return within(a, func() string { return texttemplate.URLQueryEscaper(a...) })
		},
		"reReplaceAll":   reReplaceAll,
		"match":          match,
		"urlQueryEscape": bounds(url.QueryEscape),
		"graphLink":      bounds(strutil.GraphLinkForExpression),
		"tableLink":      bounds(strutil.TableLinkForExpression),
	}
}

// step counts a step, and the bytes of text that come with it. It gives nothing.
func (b *budget) step(text int) (string, error) {
	b.steps++
	if b.steps > maxSteps {
		return "", errTooMany
	}
	if b.steps%64 == 1 && b.ctx.Err() != nil {
		return "", context.Cause(b.ctx)
	}
	b.bytes += text
	if b.bytes > maxOutput {
		return "", errTooLong
	}
	return "", nil
}

// out counts what is given out, and gives it on.
func (b *budget) out(v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		var err error
		if s, err = within([]any{v}, func() string { return fmt.Sprint(v) }); err != nil {
			return nil, err
		}
	}
	b.bytes += len(s)
	if b.bytes > maxOutput {
		return nil, errTooLong
	}
	return v, b.ctx.Err()
}
