package guarded

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// maxNesting is how deeply loops and branches may stand in each other.
const maxNesting = 50

// Rewrite returns the template with the guards in it. The error says why it cannot be read, or what of it is not allowed; it names the
// template and the line.
func (g *Guard) Rewrite(name, text string) (string, error) {
	main, set, err := parseSet(name, text)
	if err != nil {
		return "", err
	}
	want := map[string]string{}
	for n, t := range set {
		if blank(t.Root) {
			want[n] = texts(t.Root)
			continue
		}
		r := rewriter{tree: t, charged: g.charged}
		if err := r.template(); err != nil {
			return "", err
		}
		want[n] = written(t.Root)
	}
	var out strings.Builder
	for _, n := range slices.Sorted(maps.Keys(want)) {
		if set[n] != main {
			fmt.Fprintf(&out, "{{define %q}}%s{{end}}", n, want[n])
		}
	}
	if set[name] == main {
		out.WriteString(want[name])
	}
	// What was written must be read as what was meant: else somebody could hide an action where it is not guarded.
	if _, again, err := parseSet(name, out.String()); err != nil || !means(again, want) {
		return "", fmt.Errorf("%w: template: %s: it cannot be made safe to run: write it more plainly", ErrRefused, name)
	}
	return out.String(), nil
}

func parseSet(name, text string) (main *parse.Tree, set map[string]*parse.Tree, err error) {
	main = parse.New(name)
	main.Mode = parse.SkipFuncCheck
	set = map[string]*parse.Tree{}
	_, err = main.Parse(text, "", "", set)
	return main, set, err
}

// means reports whether the templates are those that were to be written.
func means(set map[string]*parse.Tree, want map[string]string) bool {
	for n, t := range set {
		text := written(t.Root)
		if blank(t.Root) {
			text = texts(t.Root)
		}
		if want[n] != text {
			return false
		}
	}
	return len(set) == len(want)
}

// rewriter puts guards into one tree.
type rewriter struct {
	tree    *parse.Tree
	charged map[string]any
	nesting int
	inner   bool // the dot is that of a loop or a with
}

func (r *rewriter) wrong(n parse.Node, format string, args ...any) error {
	location, _ := r.tree.ErrorContext(n)
	return fmt.Errorf("%w: template: %s: %s", ErrRefused, location, fmt.Sprintf(format, args...))
}

func (r *rewriter) template() error {
	if err := r.list(r.tree.Root); err != nil {
		return err
	}
	dot := &parse.DotNode{NodeType: parse.NodeDot}
	r.tree.Root.Nodes = append([]parse.Node{
		declare(frameVar, call(frameFunc, dot)), declare(dataVar, call(dataFunc, dot)),
	}, r.tree.Root.Nodes...)
	return nil
}

// list guards the nodes of a list and puts a step before them: it says how much text they are.
func (r *rewriter) list(l *parse.ListNode) error {
	if l == nil {
		return nil
	}
	size := 0
	for _, n := range l.Nodes {
		if t, ok := n.(*parse.TextNode); ok {
			size += len(t.Text)
		}
		if err := r.node(n); err != nil {
			return err
		}
	}
	number := &parse.NumberNode{NodeType: parse.NodeNumber, IsInt: true, Int64: int64(size), Text: fmt.Sprint(size)}
	l.Nodes = append([]parse.Node{declare(stepVar, call(stepFunc, frame(), number))}, l.Nodes...)
	return nil
}

func (r *rewriter) node(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ActionNode:
		return r.pipe(n.Pipe, place{out: len(n.Pipe.Decl) == 0})
	case *parse.IfNode:
		return r.branch(&n.BranchNode, true)
	case *parse.RangeNode:
		return r.branch(&n.BranchNode, true)
	case *parse.WithNode:
		return r.branch(&n.BranchNode, false)
	case *parse.TemplateNode:
		if n.Pipe == nil {
			n.Pipe = pipe(call(passFunc, frame()))
			return nil
		}
		if len(n.Pipe.Decl) > 0 {
			return r.wrong(n, "a variable is declared in what a template is called with: declare it before")
		}
		if err := r.pipe(n.Pipe, place{}); err != nil {
			return err
		}
		n.Pipe.Cmds = append(n.Pipe.Cmds, call(passFunc, frame()))
	}
	return nil
}

// branch guards an if, a range or a with. passing: its value is gone once it was looked at.
func (r *rewriter) branch(b *parse.BranchNode, passing bool) error {
	if r.nesting++; r.nesting > maxNesting {
		return r.wrong(b, "loops and branches stand more than %d deep in each other", maxNesting)
	}
	defer func() { r.nesting-- }()
	if err := r.pipe(b.Pipe, place{passing: passing && (len(b.Pipe.Decl) == 0 || b.NodeType == parse.NodeRange)}); err != nil {
		return err
	}
	outer := r.inner
	if b.NodeType != parse.NodeIf {
		r.inner = true
	}
	err := r.list(b.List)
	r.inner = outer
	return errors.Join(err, r.list(b.ElseList))
}

// place is where a pipeline stands.
type place struct {
	out     bool // its value goes out
	passing bool // its value is not kept
}

func (r *rewriter) pipe(p *parse.PipeNode, at place) error {
	for _, v := range p.Decl {
		if strings.HasPrefix(v.Ident[0], "$"+prefix) {
			return r.wrong(p, "names that begin with %s are kept for the server", prefix)
		}
	}
	var cmds []*parse.CommandNode
	weigh := madeFunc
	if at.out {
		weigh = outFunc
	}
	escaped := false // by html or urlquery, which html/template wants to be the last
	for i, c := range p.Cmds {
		last := i == len(p.Cmds)-1
		name := ""
		if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
			name = id.Ident
		}
		if err := r.arguments(c); err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(name, prefix):
			return r.wrong(c, "names that begin with %s are kept for the server", prefix)
		case name == "html" || name == "urlquery":
			w := madeFunc
			if last {
				w, escaped = weigh, true
			}
			if i > 0 {
				cmds = append(cmds, call(w, frame()))
			}
			for j, a := range c.Args[1:] {
				c.Args[j+1] = pipe(operand(a), call(w, frame()))
			}
			cmds = append(cmds, c)
		case r.charged[name] != nil:
			c.Args = append([]parse.Node{ident(prefix + name), frame()}, c.Args[1:]...)
			cmds = append(cmds, c)
		case isChain(c.Args[0]):
			if i > 0 {
				cmds = append(cmds, call(shortFunc))
			}
			cmds = append(cmds, c)
			if copies(c.Args[0]) && (!at.passing || len(p.Cmds) != 1) {
				cmds = append(cmds, call(madeFunc, frame()))
			}
		default:
			cmds = append(cmds, c)
		}
	}
	if at.out && !escaped {
		cmds = append(cmds, call(outFunc, frame()))
	}
	p.Cmds = cmds
	return nil
}

// arguments guards what a command calls, and what it calls it with.
func (r *rewriter) arguments(c *parse.CommandNode) error {
	method := isChain(c.Args[0])
	length := false // what is measured is not kept
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
		length = id.Ident == "len"
	}
	for i, a := range c.Args {
		a, err := r.operand(a, i == 0 || length)
		if err != nil {
			return err
		}
		if method && i > 0 && !literal(a) {
			a = pipe(operand(a), call(shortFunc))
		}
		c.Args[i] = a
	}
	return nil
}

// operand guards one operand. kept: whoever calls sees to what it makes.
func (r *rewriter) operand(a parse.Node, kept bool) (parse.Node, error) {
	switch n := a.(type) {
	case *parse.PipeNode:
		return n, r.pipe(n, place{})
	case *parse.DotNode:
		if !r.inner {
			return &parse.VariableNode{NodeType: parse.NodeVariable, Ident: []string{dataVar}}, nil
		}
		return n, nil
	case *parse.FieldNode:
		a = n
		if !r.inner {
			a = &parse.VariableNode{NodeType: parse.NodeVariable, Ident: append([]string{dataVar}, n.Ident...)}
		}
	case *parse.VariableNode:
		switch {
		case n.Ident[0] == "$":
			n.Ident[0] = dataVar
		case strings.HasPrefix(n.Ident[0], "$"+prefix):
			return nil, r.wrong(n, "names that begin with %s are kept for the server", prefix)
		}
	case *parse.ChainNode:
		inner, err := r.operand(n.Node, true)
		if err != nil {
			return nil, err
		}
		n.Node = inner
	case *parse.IdentifierNode:
		if strings.HasPrefix(n.Ident, prefix) {
			return nil, r.wrong(n, "names that begin with %s are kept for the server", prefix)
		}
	}
	if !kept && copies(a) {
		return pipe(operand(a), call(madeFunc, frame())), nil
	}
	return a, nil
}
