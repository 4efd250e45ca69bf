package guarded

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template/parse"
)

func ident(name string) *parse.IdentifierNode {
	return &parse.IdentifierNode{NodeType: parse.NodeIdentifier, Ident: name}
}

func frame() parse.Node {
	return &parse.VariableNode{NodeType: parse.NodeVariable, Ident: []string{frameVar}}
}

func call(name string, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Args: append([]parse.Node{ident(name)}, args...)}
}

// operand is a value as a command of its own.
func operand(n parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{n}}
}

func pipe(cmds ...*parse.CommandNode) *parse.PipeNode {
	return &parse.PipeNode{NodeType: parse.NodePipe, Cmds: cmds}
}

// declare is an action that gives nothing: html/template takes it for no interpolation.
func declare(variable string, c *parse.CommandNode) *parse.ActionNode {
	p := pipe(c)
	p.Decl = []*parse.VariableNode{{NodeType: parse.NodeVariable, Ident: []string{variable}}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pipe: p}
}

// fields are the names behind the first of a chain.
func fields(n parse.Node) []string {
	switch n := n.(type) {
	case *parse.FieldNode:
		return n.Ident
	case *parse.VariableNode:
		return n.Ident[1:]
	case *parse.ChainNode:
		return n.Field
	}
	return nil
}

func isChain(n parse.Node) bool { return len(fields(n)) > 0 }

// copies reports whether a chain may call a method that makes something as large as what it is called on.
func copies(n parse.Node) bool {
	return slices.ContainsFunc(fields(n), func(name string) bool {
		switch name {
		case "Firing", "Resolved", "SortedPairs", "Names", "Values", "Remove", "Join", "String", "Format":
			return true
		}
		return false
	})
}

// literal reports whether a value stands there that is not text: what takes a number must get it as it is written.
func literal(n parse.Node) bool {
	switch n.(type) {
	case *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return true
	}
	return false
}

// written is the list as a template's text. Unlike ListNode.String it parts texts that would run into what follows them.
func written(l *parse.ListNode) string {
	var b bytes.Buffer
	writeList(&b, l)
	return b.String()
}

func writeList(b *bytes.Buffer, l *parse.ListNode) {
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			part(b)
			b.Write(n.Text)
		case *parse.CommentNode:
		case *parse.IfNode:
			writeBranch(b, "if", &n.BranchNode)
		case *parse.RangeNode:
			writeBranch(b, "range", &n.BranchNode)
		case *parse.WithNode:
			writeBranch(b, "with", &n.BranchNode)
		default:
			part(b)
			b.WriteString(n.String())
		}
	}
	part(b)
}

func writeBranch(b *bytes.Buffer, word string, n *parse.BranchNode) {
	part(b)
	fmt.Fprintf(b, "{{%s %s}}", word, n.Pipe)
	writeList(b, n.List)
	if n.ElseList != nil {
		b.WriteString("{{else}}")
		writeList(b, n.ElseList)
	}
	b.WriteString("{{end}}")
}

// part keeps a brace at the end of what was written from joining one that comes: the mark trims the blank before it.
func part(b *bytes.Buffer) {
	if bytes.HasSuffix(b.Bytes(), []byte("{")) {
		b.WriteString(" {{- /**/}}")
	}
}

// blank reports whether the list gives nothing but white space: the libraries let such a template replace no other.
func blank(l *parse.ListNode) bool { return l == nil || parse.IsEmptyTree(l) }

// texts are the texts of a list.
func texts(l *parse.ListNode) string {
	var b strings.Builder
	if l != nil {
		for _, n := range l.Nodes {
			if t, ok := n.(*parse.TextNode); ok {
				b.Write(t.Text)
			}
		}
	}
	return b.String()
}
