// Package guarded makes templates that strangers wrote safe to run. The libraries that execute templates know no bounds: a loop may
// go on for ever, a text may double sixty times. So a template is rewritten before it is read: every loop, branch and template
// counts its steps, every value that is made and every text that goes out is weighed, and what is too much ends the execution with
// an error. What a well-behaved template gives stays the same, byte for byte, also in html/template.
//
// The count belongs to one execution. It is handed from template to template beside the data: `{{template "x" .}}` becomes
// `{{template "x" . | __pass $__f}}`, and what is called begins with `{{$__f := __frame .}}{{$__d := __data .}}`.
package guarded

import (
	"errors"
	"fmt"
	"maps"
	"text/template"
)

// Limits of one execution of a template, of everything that it calls too. All are required.
type Limits struct {
	Steps    int // elements of loops, branches and calls of templates
	Depth    int // of calls of templates within calls of templates
	Output   int // bytes that go out
	Value    int // bytes of one value on the way
	Made     int // bytes of all values that functions make on the way
	Matching int // work of regular expressions: instructions of their automata times bytes of text
}

// What an execution ends with, wrapped with the limit.
var (
	ErrSteps    = errors.New("it takes too many steps")
	ErrDepth    = errors.New("its templates call each other too deeply")
	ErrLong     = errors.New("it gives too much")
	ErrMade     = errors.New("it makes too much on its way")
	ErrMatching = errors.New("its regular expressions are too costly for so long a text")
	ErrFormat   = errors.New("printf: widths, precisions and argument numbers have three digits at most, and no *")
)

// ErrRefused is wrapped by what Rewrite says of a template that can be read, but must not be run.
var ErrRefused = errors.New("not allowed")

// prefix begins the names of everything that Rewrite puts in. Nobody else may use it.
const prefix = "__"

// The functions and variables that Rewrite puts in.
const (
	frameFunc = prefix + "frame"
	dataFunc  = prefix + "data"
	passFunc  = prefix + "pass"
	stepFunc  = prefix + "step"
	outFunc   = prefix + "out"
	madeFunc  = prefix + "made"
	shortFunc = prefix + "short"

	frameVar = "$" + prefix + "f"
	dataVar  = "$" + prefix + "d"
	stepVar  = "$" + prefix + "s"
)

// Guard rewrites templates, and gives the functions that what it wrote calls. Safe for concurrent use.
type Guard struct {
	limits  Limits
	charged template.FuncMap
}

// New makes a Guard. charged are functions by the names that templates call them by; each takes a *Frame before what the template gives.
// To print, printf, println and js they are added.
func New(limits Limits, charged template.FuncMap) *Guard {
	g := &Guard{limits: limits, charged: template.FuncMap{"print": Print, "printf": Printf, "println": Println, "js": JS}}
	maps.Copy(g.charged, charged)
	return g
}

// Check is told now and then what an execution has used since it was told last; its error ends the execution.
type Check func(steps, output int) error

// Functions are the functions that rewritten templates need, and bounded ones for html and urlquery. begin makes the Check of each
// execution.
func (g *Guard) Functions(begin func() Check) template.FuncMap {
	out := template.FuncMap{
		frameFunc: func(dot any) (*Frame, error) {
			if p, ok := dot.(*passed); ok {
				return p.frame, p.frame.b.step(0)
			}
			return &Frame{b: &budget{Limits: g.limits, check: begin()}}, nil
		},
		dataFunc: func(dot any) any {
			if p, ok := dot.(*passed); ok {
				return p.data
			}
			return dot
		},
		passFunc: func(f *Frame, data ...any) (*passed, error) {
			if f.depth >= g.limits.Depth {
				return nil, fmt.Errorf("%w: at most %d", ErrDepth, g.limits.Depth)
			}
			p := &passed{frame: &Frame{b: f.b, depth: f.depth + 1}}
			if len(data) > 0 {
				p.data = data[0]
			}
			return p, nil
		},
		stepFunc:  func(f *Frame, text int) (string, error) { return "", f.b.step(text) },
		outFunc:   func(f *Frame, v any) (any, error) { return v, f.b.out(v) },
		madeFunc:  func(f *Frame, v any) (any, error) { return v, f.made(v) },
		shortFunc: func(v any) (any, error) { return v, short(v) },
		// Under their own names: html/template knows them by these.
		"html":     func(a ...any) (string, error) { return g.escape(a, template.HTMLEscaper) },
		"urlquery": func(a ...any) (string, error) { return g.escape(a, template.URLQueryEscaper) },
	}
	for name, f := range g.charged {
		out[prefix+name] = f
	}
	return out
}

// passed is what a template is called with: the data, and whose execution it is.
type passed struct {
	frame *Frame
	data  any
}

// Frame is one call of a template.
type Frame struct {
	b     *budget
	depth int
}

// budget is what one execution has used. An execution is one goroutine's.
type budget struct {
	Limits
	check    Check
	steps    int
	bytes    int
	made     int
	matching int

	told struct{ steps, bytes int } // what check knows of
}

// How much may be used before check is told.
const (
	tellSteps  = 64
	tellOutput = 4 << 10
)

func (b *budget) tell() error {
	steps, bytes := b.steps-b.told.steps, b.bytes-b.told.bytes
	if steps < tellSteps && bytes < tellOutput && b.told.steps > 0 {
		return nil
	}
	b.told.steps, b.told.bytes = b.steps, b.bytes
	return b.check(steps, bytes)
}

// step counts a step, and the bytes of text that come with it.
func (b *budget) step(text int) error {
	b.steps++
	if b.steps > b.Steps {
		return fmt.Errorf("%w: more than %d", ErrSteps, b.Steps)
	}
	return b.write(text)
}

func (b *budget) write(n int) error {
	if b.bytes += n; b.bytes > b.Output {
		return fmt.Errorf("%w: more than %d bytes", ErrLong, b.Output)
	}
	return b.tell()
}

// out counts what is given out.
func (b *budget) out(v any) error {
	if s, ok := v.(string); ok {
		return b.write(len(s))
	}
	if n := sizeOf(v, b.Value); n > b.Value {
		return tooLong(b.Value)
	}
	return b.write(len(fmt.Sprint(v)))
}

// made counts a value that was made.
func (f *Frame) made(v any) error {
	n := heldSize(v)
	if n > f.b.Value {
		return tooLong(f.b.Value)
	}
	return f.charge(n)
}

func (f *Frame) charge(n int) error {
	if f.b.made += n; f.b.made > f.b.Made {
		return fmt.Errorf("%w: more than %d bytes", ErrMade, f.b.Made)
	}
	return nil
}

func tooLong(limit int) error { return fmt.Errorf("%w: a value of more than %d bytes", ErrLong, limit) }

// maxArgument is how long a text may be that is given to a method of a value: methods know no bounds.
const maxArgument = 4 << 10

func short(v any) error {
	if s, ok := v.(string); ok && len(s) > maxArgument {
		return fmt.Errorf("%w: a method takes a text of %d bytes at most", ErrLong, maxArgument)
	}
	return nil
}
