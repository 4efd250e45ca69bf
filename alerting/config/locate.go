package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"
)

// decode gives the tree to Alertmanager. The error is Problems, with the lines of the file.
func decode(root *yaml.Node) (*config.Config, error) {
	c, err := loadTheirs(emit(root))
	if err == nil {
		return c, nil
	}
	found := locate(root)
	if len(found) == 0 { // nothing is wrong by itself, but something with the whole
		found = plainError(err)
		for i := range found {
			if found[i].Line == 0 {
				found[i].Line = root.Line
			}
		}
	}
	return nil, found
}

// loadTheirs is Alertmanager's Load, which panics at some of what it should refuse.
func loadTheirs(text string) (c *config.Config, err error) {
	defer func() {
		if recover() != nil {
			c, err = nil, errTheirs
		}
	}()
	return config.Load(text)
}

// locate finds what Alertmanager does not like, by giving it one part after the other: it says one thing at a time, and mostly not where.
func locate(root *yaml.Node) (p Problems) {
	route := field(root, "route")
	if isNull(route) || route.Kind != yaml.MappingNode {
		p.add(root, "there is no route: write one with a receiver, as `route: {receiver: team}`")
		route = &yaml.Node{Kind: yaml.MappingNode}
	}
	if v := field(route, "continue"); v != nil && v.Value == "true" {
		p.add(v, "cannot have continue in root route")
	}
	l := locator{global: field(root, "global"), spent: new(int)}
	p = append(p, l.try(root, mapping("route", l.route()))...)
	if len(p) > 0 && l.global != nil { // that is the fault of global: go on without it
		for i := range p {
			p[i].Line = max(p[i].Line, l.global.Line)
		}
		l.global = nil
	}
	p = append(p, l.topLevel(root)...)
	p = append(p, l.receivers(root)...)
	p = append(p, l.routes(route, true)...)
	for _, key := range []string{"time_intervals", "mute_time_intervals", "inhibit_rules"} {
		for _, one := range items(root, key) {
			p = append(p, l.try(one, mapping("route", l.route(), key, list(one)))...)
		}
	}
	return append(p, crossed(root, route)...)
}

// locator makes small configurations that are right but for the part that is looked at.
type locator struct {
	global *yaml.Node
	spent  *int // bytes that were decoded: who makes everything wrong is not told of everything
}

// maxLocating bounds them.
const maxLocating = 8 << 20

func (l locator) route() *yaml.Node { return mapping("receiver", scalar("r")) }

// try loads a configuration of that root. What is wrong with it gets the line of the part, unless the decoder knows better.
func (l locator) try(part, root *yaml.Node) Problems {
	if field(root, "receivers") == nil {
		root.Content = append(root.Content, scalar("receivers"), list(mapping("name", scalar("r"))))
	}
	if l.global != nil {
		root.Content = append(root.Content, scalar("global"), l.global)
	}
	if *l.spent > maxLocating {
		return nil
	}
	text := emit(sorted(root)) // in the order of the lines, as emit wants it: what is ours has none
	*l.spent += len(text)
	_, err := loadTheirs(text)
	if err == nil {
		return nil
	}
	p := plainError(err)
	for i := range p {
		if p[i].Line < part.Line {
			p[i].Line = lineOf(part, p[i].Text)
		}
	}
	return p
}

// topLevel looks at keys and kinds of values.
func (l locator) topLevel(root *yaml.Node) (p Problems) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		lists := slices.Contains([]string{"receivers", "inhibit_rules", "templates", "time_intervals", "mute_time_intervals"}, key.Value)
		switch {
		case key.Value == "route":
		case key.Value == "global":
			if !isNull(value) && value.Kind != yaml.MappingNode {
				p.add(key, "global must be a mapping")
			}
		case lists:
			if !isNull(value) && value.Kind != yaml.SequenceNode {
				p.add(key, "%s must be a list", key.Value)
			}
		default:
			p.add(key, "unknown key %q: Alertmanager has none of that name here", key.Value)
		}
	}
	return p
}

func (l locator) receivers(root *yaml.Node) (p Problems) {
	lines := map[string]int{}
	for _, r := range items(root, "receivers") {
		if r.Kind != yaml.MappingNode {
			p.add(r, "a receiver must be a mapping with a name")
			continue
		}
		name := text(r, "name")
		if before, twice := lines[name]; twice && name != "" {
			p.add(r, "the receiver %q is there twice: it is in line %d already; give one another name", name, before)
		}
		lines[name] = r.Line
		bare := &yaml.Node{Kind: yaml.MappingNode, Line: r.Line}
		for i := 0; i+1 < len(r.Content); i += 2 {
			key, value := r.Content[i], r.Content[i+1]
			if value.Kind != yaml.SequenceNode {
				bare.Content = append(bare.Content, key, value)
				continue
			}
			for _, entry := range value.Content {
				one := mapping("name", scalar("r"), key.Value, list(entry))
				p = append(p, l.try(entry, mapping("route", l.route(), "receivers", list(one)))...)
			}
		}
		alone := list(bare)
		route := l.route()
		if name != "" {
			route = mapping("receiver", scalar(name))
		}
		p = append(p, l.try(r, mapping("route", route, "receivers", alone))...)
	}
	return p
}

func (l locator) routes(route *yaml.Node, top bool) (p Problems) {
	if route.Kind != yaml.MappingNode {
		p.add(route, "a route must be a mapping")
		return p
	}
	// Names are looked at by crossed.
	alone := without(route, "routes", "receiver", "mute_time_intervals", "active_time_intervals", "continue")
	if top {
		alone = without(alone, "matchers", "match", "match_re")
		for _, key := range []string{"matchers", "match", "match_re", "mute_time_intervals", "active_time_intervals"} {
			if v := field(route, key); v != nil && len(v.Content) > 0 {
				p.add(v, "root route must not have any %s: it takes every alert", strings.ReplaceAll(key, "_", " "))
			}
		}
	}
	if v := field(route, "continue"); v != nil && v.Kind == yaml.ScalarNode && !top {
		alone.Content = append(alone.Content, scalar("continue"), v)
	}
	p = append(p, l.try(route, mapping("route", mapping("receiver", scalar("r"), "routes", list(sorted(alone)))))...)
	if children := field(route, "routes"); !isNull(children) && children.Kind != yaml.SequenceNode {
		p.add(children, "routes must be a list")
	}
	for _, child := range items(route, "routes") {
		p = append(p, l.routes(child, false)...)
	}
	return p
}

// crossed looks for names that nothing has.
func crossed(root, route *yaml.Node) (p Problems) {
	receivers, intervals := map[string]bool{}, map[string]int{}
	for _, r := range items(root, "receivers") {
		receivers[text(r, "name")] = true
	}
	for _, key := range []string{"mute_time_intervals", "time_intervals"} {
		for _, t := range items(root, key) {
			name := text(t, "name")
			if before, twice := intervals[name]; twice {
				p.add(t, "time interval %q is not unique: it is in line %d already", name, before)
			}
			intervals[name] = t.Line
		}
	}
	if len(route.Content) > 0 && text(route, "receiver") == "" {
		p.add(route, "root route must specify a default receiver")
	}
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		if r := field(n, "receiver"); r != nil && r.Kind == yaml.ScalarNode && r.Value != "" && !receivers[r.Value] {
			p.add(r, "undefined receiver %q used in route: add it to receivers, or correct the name", r.Value)
		}
		for _, key := range []string{"mute_time_intervals", "active_time_intervals"} {
			for _, t := range items(n, key) {
				if _, known := intervals[t.Value]; !known {
					p.add(t, "undefined time interval %q used in route: add it to time_intervals, or correct the name", t.Value)
				}
			}
		}
		for _, child := range items(n, "routes") {
			look(child)
		}
	}
	look(route)
	return p
}

func scalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

func list(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: items}
}

// mapping makes one of keys and values in turns.
func mapping(of ...any) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, one := range of {
		switch one := one.(type) {
		case string:
			out.Content = append(out.Content, scalar(one))
		case *yaml.Node:
			out.Content = append(out.Content, one)
		default:
			panic(fmt.Sprintf("config: %T in a mapping", one))
		}
	}
	return out
}

// sorted puts the keys of a mapping in the order in which their values stand in the file.
func sorted(n *yaml.Node) *yaml.Node {
	type pair struct {
		key, value *yaml.Node
		line       int
	}
	list := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, pair{n.Content[i], n.Content[i+1], lastLine(n.Content[i+1])})
	}
	slices.SortStableFunc(list, func(a, b pair) int { return cmp.Compare(a.line, b.line) })
	out := *n
	out.Content = nil
	for _, p := range list {
		out.Content = append(out.Content, p.key, p.value)
	}
	return &out
}

func lastLine(n *yaml.Node) int {
	line := n.Line
	for _, c := range n.Content {
		line = max(line, lastLine(c))
	}
	return line
}
