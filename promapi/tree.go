package promapi

import (
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// node is a part of an expression's tree, as Prometheus' own page reads it.
type node map[string]any

// tree is an expression as nested nodes; nil for none.
func tree(e parser.Expr) any {
	switch e := e.(type) {
	case nil:
		return nil
	case *parser.AggregateExpr:
		return node{
			"type": "aggregation", "op": e.Op.String(), "expr": tree(e.Expr), "param": tree(e.Param),
			"grouping": names(e.Grouping), "without": e.Without,
		}
	case *parser.BinaryExpr:
		return node{
			"type": "binaryExpr", "op": e.Op.String(), "lhs": tree(e.LHS), "rhs": tree(e.RHS),
			"matching": matching(e.VectorMatching), "bool": e.ReturnBool,
		}
	case *parser.Call:
		args := make([]any, len(e.Args))
		for i, x := range e.Args {
			args[i] = tree(x)
		}
		return node{"type": "call", "args": args, "func": node{
			"name": e.Func.Name, "argTypes": e.Func.ArgTypes, "variadic": e.Func.Variadic, "returnType": e.Func.ReturnType,
		}}
	case *parser.MatrixSelector:
		n := node{"type": "matrixSelector", "range": e.Range.Milliseconds(), "rangeExpr": span(e.RangeExpr)}
		if v, ok := e.VectorSelector.(*parser.VectorSelector); ok {
			selector(n, v)
		}
		return n
	case *parser.SubqueryExpr:
		n := node{
			"type": "subquery", "expr": tree(e.Expr), "range": e.Range.Milliseconds(), "rangeExpr": span(e.RangeExpr),
			"step": e.Step.Milliseconds(), "stepExpr": span(e.StepExpr),
		}
		moved(n, e.OriginalOffset, e.OriginalOffsetExpr, e.Timestamp, e.StartOrEnd)
		return n
	case *parser.DurationExpr:
		return span(e)
	case *parser.NumberLiteral:
		return node{"type": "numberLiteral", "val": number(e.Val)}
	case *parser.ParenExpr:
		return node{"type": "parenExpr", "expr": tree(e.Expr)}
	case *parser.StringLiteral:
		return node{"type": "stringLiteral", "val": e.Val}
	case *parser.UnaryExpr:
		return node{"type": "unaryExpr", "op": e.Op.String(), "expr": tree(e.Expr)}
	case *parser.VectorSelector:
		n := node{"type": "vectorSelector"}
		selector(n, e)
		return n
	}
	return node{"type": "unknown", "val": e.String()}
}

func selector(n node, v *parser.VectorSelector) {
	n["name"], n["matchers"], n["anchored"], n["smoothed"] = v.Name, matchers(v.LabelMatchers), v.Anchored, v.Smoothed
	moved(n, v.OriginalOffset, v.OriginalOffsetExpr, v.Timestamp, v.StartOrEnd)
}

// moved adds the modifiers offset and @.
func moved(n node, offset time.Duration, expr *parser.DurationExpr, at *int64, edge parser.ItemType) {
	n["offset"], n["offsetExpr"], n["timestamp"], n["startOrEnd"] = offset.Milliseconds(), span(expr), at, nil
	if edge != 0 {
		n["startOrEnd"] = edge.String()
	}
}

// span is a duration that is computed; nil where it is a plain one.
func span(e parser.Expr) any {
	switch e := e.(type) {
	case nil:
		return nil
	case *parser.DurationExpr:
		if e == nil {
			return nil
		}
		return node{"type": "durationExpr", "op": e.Op.String(), "lhs": span(e.LHS), "rhs": span(e.RHS), "wrapped": e.Wrapped}
	case *parser.NumberLiteral:
		if e == nil {
			return nil
		}
		return node{"type": "numberLiteral", "val": number(e.Val), "duration": e.Duration}
	}
	return tree(e)
}

func matching(m *parser.VectorMatching) any {
	if m == nil {
		return nil
	}
	return node{
		"card": m.Card.String(), "labels": names(m.MatchingLabels), "on": m.On, "include": names(m.Include),
		"fillValues": node{"lhs": m.FillValues.LHS, "rhs": m.FillValues.RHS},
	}
}

func matchers(list []*labels.Matcher) []node {
	out := make([]node, len(list))
	for i, m := range list {
		out[i] = node{"name": m.Name, "value": m.Value, "type": m.Type.String()}
	}
	return out
}

func names(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
