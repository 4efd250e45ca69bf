package rules

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/util/strutil"

	"github.com/tokiflow/tokiflow/core/guarded"
)

// Bounds of one template. What they are held by is put into the template when it is read (see core/guarded): the library that expands it
// knows neither a context nor a bound.
const (
	maxOutput   = 64 << 10 // bytes; also of any text on the way
	maxSteps    = 10_000   // elements of loops and calls of templates
	maxDepth    = 1000     // of calls of templates in each other: each takes some kilobytes of stack
	maxMade     = 16 << 20 // bytes of all texts on the way
	maxMatching = 50 << 20 // instructions of all patterns' automata times bytes of the texts
	maxArgs     = 1000     // values that `args` holds, through all its levels
)

var errNesting = fmt.Errorf("args holds more than %d values", maxArgs)

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
	return text{name: name, text: guard().rewritten("__alert_"+rule, preamble+value)}
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
	e.Funcs(guard().functions(ctx))
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

// keeper guards the templates of rules.
type keeper struct{ *guarded.Guard }

// guard is made anew each time: it holds nothing but functions.
func guard() keeper {
	limits := guarded.Limits{Steps: maxSteps, Depth: maxDepth, Output: maxOutput, Value: maxOutput, Made: maxMade, Matching: maxMatching}
	return keeper{guarded.New(limits, texttemplate.FuncMap{
		"args":           func(_ *guarded.Frame, values ...any) (map[string]any, error) { return args(values...) },
		"reReplaceAll":   guarded.ReplaceAll,
		"match":          guarded.Match,
		"urlQueryEscape": guarded.Text(url.QueryEscape),
		"graphLink":      guarded.Text(strutil.GraphLinkForExpression),
		"tableLink":      guarded.Text(strutil.TableLinkForExpression),
	})}
}

// rewritten is the text with the guards in it. One that cannot be read stays as it is: whoever expands it says so.
func (k keeper) rewritten(name, value string) string {
	safe, err := k.Rewrite(name, value)
	if err == nil {
		return safe
	}
	if errors.Is(err, guarded.ErrRefused) {
		return refused(err)
	}
	return value
}

// refused is a template that fails with the error.
func refused(err error) string { return fmt.Sprintf("{{%s %q}}", refusedFunc, err.Error()) }

// refusedFunc fails with what it is given.
const refusedFunc = "__refused"

func (k keeper) functions(ctx context.Context) texttemplate.FuncMap {
	out := k.Functions(func() guarded.Check { return func(int, int) error { return context.Cause(ctx) } })
	out[refusedFunc] = func(why string) (string, error) { return "", errors.New(why) }
	return out
}
