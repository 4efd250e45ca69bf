package config

import (
	"bytes"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"strings"
	"sync"
	texttemplate "text/template"
	treeparse "text/template/parse"

	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/core/guarded"
)

// defaults are the templates that everybody has, Alertmanager's and ours: made safe to run and read when they are first needed, once
// for all configurations. Safe for concurrent use.
type defaults struct {
	guard *guarded.Guard
	trees func() (map[string]*treeparse.Tree, error) // by name; nobody may change them
}

func newDefaults(texts []string) *defaults {
	guard := newGuard()
	return &defaults{guard: guard, trees: sync.OnceValues(func() (map[string]*treeparse.Tree, error) { return defaultTrees(guard, texts) })}
}

// Shared returns the options with room for what is the same for every configuration: those that are loaded with what it returns read
// Alertmanager's templates and DefaultTemplates once together, which is most of what starting one organisation takes. DefaultTemplates
// must not be changed after it.
func (o Options) Shared() Options {
	if o.shared == nil {
		o.shared = newDefaults(o.DefaultTemplates)
	}
	return o
}

// defaultTrees reads the templates, the later over the earlier.
func defaultTrees(guard *guarded.Guard, texts []string) (map[string]*treeparse.Tree, error) {
	s := sets{functions: guard.Functions((&meter{}).begin)} // nothing is run
	t, err := template.FromGlobs(nil, s.take)
	if err != nil {
		return nil, err
	}
	if err := s.guardDefaults(guard); err != nil {
		return nil, fmt.Errorf("the templates of Alertmanager: %w", err)
	}
	for i, d := range texts {
		safe, err := guard.Rewrite(fmt.Sprintf("default %d", i), d)
		if err != nil {
			return nil, err
		}
		if err := t.Parse(strings.NewReader(safe)); err != nil {
			return nil, err
		}
	}
	trees := map[string]*treeparse.Tree{}
	for _, one := range s.text.Templates() {
		if one.Tree != nil {
			trees[one.Name()] = one.Tree
		}
	}
	return trees, nil
}

// sets are the two sets of templates within one of Alertmanager's.
type sets struct {
	functions texttemplate.FuncMap
	text      *texttemplate.Template
	html      *htmltemplate.Template
}

// take is a template.Option.
func (s *sets) take(text *texttemplate.Template, html *htmltemplate.Template) {
	s.text, s.html = text.Funcs(s.functions), html.Funcs(htmltemplate.FuncMap(s.functions))
}

// guardDefaults rewrites the templates that are there already.
func (s *sets) guardDefaults(guard *guarded.Guard) error {
	var all bytes.Buffer
	for _, t := range s.text.Templates() {
		if t.Tree != nil && t.Name() != "" {
			fmt.Fprintf(&all, "{{define %q}}%s{{end}}", t.Name(), t.Root)
		}
	}
	safe, err := guard.Rewrite("", all.String())
	if err != nil {
		return err
	}
	_, err = s.text.Parse(safe)
	_, htmlErr := s.html.Parse(safe)
	return errors.Join(err, htmlErr)
}

// template makes a template that has the trees, and functions of its own. The trees stay one for all: text/template only reads them, and
// of html/template, which changes what it escapes, Alertmanager copies the whole set before each execution.
func (d *defaults) template(functions texttemplate.FuncMap) (*template.Template, error) {
	trees, err := d.trees()
	if err != nil {
		return nil, err
	}
	s := sets{functions: functions}
	t, err := template.New(s.take)
	if err != nil {
		return nil, err
	}
	for name, tree := range trees {
		if _, err := s.text.AddParseTree(name, tree); err != nil {
			return nil, err
		}
		if _, err := s.html.AddParseTree(name, tree); err != nil {
			return nil, err
		}
	}
	return t, nil
}
