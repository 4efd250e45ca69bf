package config

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Load reads a configuration and checks everything about it that can be known without calling anybody. The error is Problems: all that
// was found, each with its line and without secrets.
func Load(s Source, o Options) (*Config, error) { return load(s, o, written) }

// trust is how much is known of a Source.
type trust int

const (
	written trust = iota // somebody hands it in: everything is checked
	stored               // it was found good before: what has become stricter since must not take the alerts away
	own                  // the operator's own file: files may be named
)

func load(s Source, o Options, t trust) (*Config, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	document, err := parse(s.YAML)
	if err != nil {
		return nil, err
	}
	root, err := expand(document)
	if err != nil {
		return nil, err
	}
	p := slices.Concat(bounds(root), patterns(root), empties(root))
	if len(p) > 0 {
		return nil, p.err()
	}
	if t != own {
		p = append(p, refuse(root)...)
	}
	if t == written || t == own {
		p = append(p, o.addresses(root)...)
	}
	if t == stored {
		fillAddresses(root)
	}
	installationSends(root)
	theirs, entries, wrong := o.split(root, t != stored)
	p = append(p, wrong...)
	names, wrong := s.templates(root, t)
	p = append(p, wrong...)
	c := &Config{Source: s, Entries: entries, Templates: map[string]string{}, defaults: o.Shared().shared, now: o.Now}
	if c.Alertmanager, err = decode(theirs); err != nil {
		if found, ok := err.(Problems); ok { //nolint:errorlint // decode gives nothing else
			p = append(p, found...)
		}
	} else if c.Shown, err = decode(theirs); err == nil && len(p) == 0 {
		p = c.prepare(o, theirs, names, t)
	}
	p.without(o.secretValues(document))
	if err := p.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// prepare makes the templates safe, and tries them.
func (c *Config) prepare(o Options, theirs *yaml.Node, names []string, t trust) (p Problems) {
	c.Alertmanager.Templates = names
	for _, name := range names {
		safe, err := c.defaults.guard.Rewrite(name, c.Source.Templates[name])
		if err != nil {
			p.addLine(0, "%s", plainTemplateError(err))
			continue
		}
		c.Templates[name] = safe
	}
	all := newTexts(c.defaults.guard)
	all.config(c.Alertmanager, theirs)
	for i, e := range c.Entries {
		for _, k := range o.Kinds {
			if k.Name == e.Kind {
				c.Entries[i] = all.entry(e, k)
			}
		}
	}
	if p = append(p, all.problems...); len(p) > 0 || t == stored {
		return p
	}
	return c.render(all.found)
}

// templates says which of the stored templates the YAML names, in order. It names each by its name, or several by a pattern.
func (s Source) templates(root *yaml.Node, t trust) (names []string, p Problems) {
	size := 0
	for name, text := range s.Templates {
		size += len(text)
		switch {
		case name == "" || len(name) > maxTemplateName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
			p.addLine(0, "a template's name has 1 to %d bytes, and no control characters: %.40q", maxTemplateName, name)
		case !utf8.ValidString(text):
			p.addLine(0, "the template %q is not UTF-8: save it as UTF-8", name)
		}
	}
	if size > maxTemplateText {
		p.addLine(0, "the templates have %d bytes together: at most %d are taken", size, maxTemplateText)
	}
	if len(s.Templates) > maxTemplates {
		p.addLine(0, "there are %d templates: at most %d are taken", len(s.Templates), maxTemplates)
	}
	used := map[string]bool{}
	for _, n := range items(root, "templates") {
		matched := false
		for _, name := range slices.Sorted(maps.Keys(s.Templates)) {
			if ok, err := path.Match(path.Clean(n.Value), name); name == n.Value || err == nil && ok {
				matched = true
				if !used[name] {
					used[name] = true
					names = append(names, name)
				}
			}
		}
		if !matched && n.Kind == yaml.ScalarNode && t != own {
			p.add(n, "there is no template %q: send it along under that name (%s)", n.Value, known(s.Templates))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Templates)) {
		if !used[name] {
			p.addLine(0, "the template %q is not used: add its name to `templates:`, or leave it out", name)
		}
	}
	return names, p
}

func known(templates map[string]string) string {
	if len(templates) == 0 {
		return "none was sent"
	}
	return fmt.Sprintf("these were sent: %s", strings.Join(slices.Sorted(maps.Keys(templates)), ", "))
}

// Read reads a configuration that was found good before, perhaps with <secret> for its secrets: what only matters when messages are
// sent is not looked at.
func Read(s Source, o Options) (*Config, error) { return load(s, o, stored) }

// fillAddresses puts an address where there was one with a password, which Alertmanager must be able to read.
func fillAddresses(root *yaml.Node) {
	schema{value: func(n *yaml.Node, t reflect.Type, _ []string) {
		if n.Value == secretToken && t.Name() == "URL" {
			n.Value = "https://secret.invalid"
		}
	}}.document(root)
}
