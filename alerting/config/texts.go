package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/core/guarded"
)

// found is a text with a template in it.
type found struct {
	text         string // as it was written
	safe         string
	line         int
	field        string // where it stands: slack_configs.title
	html         bool   // it gives HTML
	sendResolved bool   // its receiver is told of alerts that are resolved
}

// texts makes the templates in a decoded configuration and in entries of ours safe to run, and says where they are.
type texts struct {
	guard    *guarded.Guard
	seen     map[string]string // by what was written
	found    []found
	problems Problems
}

func newTexts(g *guarded.Guard) *texts { return &texts{guard: g, seen: map[string]string{}} }

// safe rewrites one text. One that is no template stays: whoever runs it says so, as Alertmanager does.
func (t *texts) safe(f found) string {
	out, known := t.seen[f.text]
	if !known {
		var err error
		if out, err = t.guard.Rewrite("", f.text); err != nil {
			t.problems.addLine(f.line, "%s: %s", f.field, strings.TrimPrefix(plainTemplateError(err).Error(), "template: "))
			out = ""
		}
		t.seen[f.text] = out
	}
	f.safe = out
	t.found = append(t.found, f)
	return out
}

// config rewrites every text of the receivers and routes in place. root is what c was decoded of.
func (t *texts) config(c *config.Config, root *yaml.Node) {
	receivers := items(root, "receivers")
	for i := range c.Receivers {
		r := reflect.ValueOf(&c.Receivers[i]).Elem()
		for f := range fieldsOf(r.Type()) {
			key, _ := yamlName(f)
			list := r.FieldByIndex(f.Index)
			if list.Kind() != reflect.Slice {
				continue
			}
			for j := range list.Len() {
				var n *yaml.Node
				if entries := items(receivers[i], key); j < len(entries) {
					n = entries[j]
				}
				w := textWalk{texts: t, html: isHTML, sendResolved: sendsResolved(list.Index(j))}
				w.value(list.Index(j), n, lineOr(n, receivers[i].Line), key)
			}
		}
	}
	if c.Route != nil {
		t.route(c.Route, field(root, "route"))
	}
}

func (t *texts) route(r *config.Route, n *yaml.Node) {
	w := textWalk{texts: t, sendResolved: true}
	w.value(reflect.ValueOf(&r.Labels), field(n, "labels"), lineOr(n, 0), "labels")
	children := items(n, "routes")
	for i, child := range r.Routes {
		var c *yaml.Node
		if i < len(children) {
			c = children[i]
		}
		t.route(child, c)
	}
}

// entry returns the entry with its texts made safe.
func (t *texts) entry(e Entry, kind Kind) Entry {
	out := cloned(e.Node)
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch {
		case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "{{"):
			n.Value = t.safe(found{text: n.Value, line: n.Line, field: kind.Key + path, html: strings.HasSuffix(path, ".html"), sendResolved: e.SendResolved})
		case n.Kind == yaml.SequenceNode:
			for _, c := range n.Content {
				walk(c, path)
			}
		case n.Kind == yaml.MappingNode:
			pairs(n, func(key, value *yaml.Node) {
				if !kind.secret(strings.TrimPrefix(path+"."+key.Value, ".")) {
					walk(value, path+"."+key.Value)
				}
			})
		}
	}
	walk(out, "")
	e.Node = out
	return e
}

// secret reports whether what stands at the path of an entry is a secret.
func (k Kind) secret(path string) bool {
	for _, s := range k.Secrets {
		if path == s || strings.HasPrefix(path, s+".") {
			return true
		}
	}
	return false
}

func cloned(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = cloned(c)
	}
	return &out
}

func lineOr(n *yaml.Node, line int) int {
	if n != nil && n.Line > 0 {
		return n.Line
	}
	return line
}

func sendsResolved(v reflect.Value) bool {
	s, ok := reflect.TypeAssert[interface{ SendResolved() bool }](v)
	return !ok || v.IsNil() || s.SendResolved()
}

// isHTML reports whether a field of a configuration is rendered as HTML.
func isHTML(of reflect.Value, name string) bool {
	switch of.Type().Name() {
	case "EmailConfig":
		return name == "HTML"
	case "TelegramConfig":
		return name == "Message" && of.FieldByName("ParseMode").String() == "HTML"
	case "PushoverConfig":
		return name == "Message" && of.FieldByName("HTML").Bool()
	}
	return false
}

// textWalk walks the values of one entry.
type textWalk struct {
	*texts
	html         func(of reflect.Value, name string) bool
	sendResolved bool
}

// plain reports whether texts of the field are never rendered; a brace in a password is one.
func plain(of reflect.Type, name string) bool {
	switch name {
	case "HTTPConfig", "TLSConfig", "Sigv4":
		return true
	case "AuthPassword", "AuthSecret", "AuthUsername", "AuthIdentity":
		return of.Name() == "EmailConfig"
	}
	return false
}

func (w textWalk) value(v reflect.Value, n *yaml.Node, line int, path string) {
	line = lineOr(n, line)
	switch v.Kind() {
	case reflect.String:
		if strings.Contains(v.String(), "{{") {
			v.SetString(w.safe(found{text: v.String(), line: line, field: path, sendResolved: w.sendResolved}))
		}
	case reflect.Pointer:
		if !v.IsNil() && !isAddress(v.Type().Elem(), "") {
			w.value(v.Elem(), n, line, path)
		}
	case reflect.Interface:
		if !v.IsNil() {
			inner := reflect.New(v.Elem().Type()).Elem()
			inner.Set(v.Elem())
			w.value(inner, n, line, path)
			v.Set(inner)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			w.value(v.Index(i), nil, line, path)
		}
	case reflect.Map:
		w.mapping(v, n, line, path)
	case reflect.Struct:
		w.structure(v, n, line, path)
	default: // no text
	}
}

func (w textWalk) structure(v reflect.Value, n *yaml.Node, line int, path string) {
	if isAddress(v.Type(), "") {
		return
	}
	for f := range fieldsOf(v.Type()) {
		name, inline := yamlName(f)
		if plain(v.Type(), f.Name) {
			continue
		}
		one := v.FieldByIndex(f.Index)
		if one.Kind() == reflect.String && w.html != nil && w.html(v, f.Name) && strings.Contains(one.String(), "{{") {
			one.SetString(w.safe(found{
				text: one.String(), line: lineOr(field(n, name), line), field: path + "." + name, html: true, sendResolved: w.sendResolved,
			}))
			continue
		}
		if inline {
			w.value(one, n, line, path)
		} else {
			w.value(one, field(n, name), line, path+"."+name)
		}
	}
}

// mapping rewrites keys too: Alertmanager renders those of free forms.
func (w textWalk) mapping(v reflect.Value, n *yaml.Node, line int, path string) {
	if v.IsNil() {
		return
	}
	nodes := map[string]*yaml.Node{}
	if n != nil && n.Kind == yaml.MappingNode {
		pairs(n, func(key, value *yaml.Node) { nodes[key.Value] = value })
	}
	fresh := reflect.MakeMapWithSize(v.Type(), v.Len())
	for it := v.MapRange(); it.Next(); {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.Set(it.Key())
		value.Set(it.Value())
		name := fmt.Sprint(it.Key().Interface())
		w.value(key, nil, line, path)
		w.value(value, nodes[name], line, path+"."+name)
		fresh.SetMapIndex(key, value)
	}
	v.Set(fresh)
}
