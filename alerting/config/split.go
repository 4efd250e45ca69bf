package config

import (
	"errors"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// split takes the receivers of ours out of the tree, and leaves what Alertmanager knows.
func (o Options) split(root *yaml.Node, check bool) (theirs *yaml.Node, ours []Entry, p Problems) {
	receivers := field(root, "receivers")
	if receivers == nil || receivers.Kind != yaml.SequenceNode {
		return root, nil, nil
	}
	list := *receivers
	list.Content = nil
	for _, receiver := range receivers.Content {
		kept := receiver
		if receiver.Kind == yaml.MappingNode {
			name := text(receiver, "name")
			for _, kind := range o.Kinds {
				entries := field(receiver, kind.Key)
				if entries == nil {
					continue
				}
				kept = without(kept, kind.Key)
				some, wrong := o.entries(kind, name, entries, check)
				ours, p = append(ours, some...), append(p, wrong...)
			}
		}
		list.Content = append(list.Content, kept)
	}
	theirs = &yaml.Node{Kind: root.Kind, Line: root.Line}
	for i := 0; i+1 < len(root.Content); i += 2 {
		value := root.Content[i+1]
		if value == receivers {
			value = &list
		}
		theirs.Content = append(theirs.Content, root.Content[i], value)
	}
	return theirs, ours, p
}

func (o Options) entries(kind Kind, receiver string, list *yaml.Node, check bool) (out []Entry, p Problems) {
	if isNull(list) {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		p.add(list, "%s must be a list", kind.Key)
		return nil, p
	}
	for i, n := range list.Content {
		if n.Kind != yaml.MappingNode {
			p.add(n, "an entry of %s must be a mapping", kind.Key)
			continue
		}
		e := Entry{Kind: kind.Name, Receiver: receiver, Index: i, SendResolved: true, Node: n}
		if v := field(n, "send_resolved"); v != nil {
			if err := v.Decode(&e.SendResolved); err != nil {
				p.add(v, "send_resolved must be true or false")
			}
		}
		if check && kind.Check != nil {
			p = append(p, checked(kind, n, o.AllowPrivate)...)
		}
		out = append(out, e)
	}
	return out, p
}

// checked asks the kind, and finds the line of each thing that it says.
func checked(kind Kind, entry *yaml.Node, allowPrivate bool) (p Problems) {
	err := kind.Check(entry, allowPrivate)
	if err == nil {
		return nil
	}
	all := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok { // of errors.Join
		all = several.Unwrap()
	}
	for _, one := range all {
		if many, ok := errors.AsType[*yaml.TypeError](one); ok {
			for _, plain := range plainError(many) {
				if plain.Line == 0 {
					plain.Line = entry.Line
				}
				plain.Text = kind.Key + ": " + plain.Text
				p = append(p, plain)
			}
			continue
		}
		p.addLine(lineOf(entry, one.Error()), "%s: %s", kind.Key, one)
	}
	return p
}

// lineOf is the line of the first key of the entry that the text names; the entry's where it names none.
func lineOf(entry *yaml.Node, text string) int {
	for _, word := range regexp.MustCompile(`[A-Za-z0-9_]+`).FindAllString(text, 8) {
		for i := 0; i+1 < len(entry.Content) && entry.Kind == yaml.MappingNode; i += 2 {
			if key := entry.Content[i]; key.Value == word && key.Line > 0 {
				return key.Line
			}
		}
	}
	return entry.Line
}

// empties names the elements of lists that are nothing: Alertmanager lets some of them pass, and fails when it uses them.
func empties(root *yaml.Node) (p Problems) {
	schema{empty: func(n *yaml.Node, place []string) {
		if place[len(place)-1] == "inhibit_rules" {
			return // Alertmanager takes it for a rule that inhibits nothing
		}
		p.add(n, "there is an empty entry in %s: write something, or remove it", place[len(place)-1])
	}}.document(root)
	return p
}

// bounds counts what there is.
func bounds(root *yaml.Node) (p Problems) {
	few := func(list []*yaml.Node, most int, what string) {
		if len(list) > most {
			p.add(list[most], "there are %d %s: at most %d are taken", len(list), what, most)
		}
	}
	few(items(root, "receivers"), maxReceivers, "receivers")
	few(items(root, "inhibit_rules"), maxInhibitRules, "inhibition rules")
	few(append(slices.Clone(items(root, "time_intervals")), items(root, "mute_time_intervals")...), maxIntervals, "time intervals")
	receiverBounds(root, &p)
	routes := 0
	var count func(n *yaml.Node, depth int)
	count = func(n *yaml.Node, depth int) {
		if routes++; routes == maxRoutes+1 {
			p.add(n, "there are more than %d routes: no more are taken", maxRoutes)
		}
		if depth > maxRouteDepth {
			p.add(n, "routes stand more than %d deep in each other", maxRouteDepth)
			return
		}
		for _, child := range items(n, "routes") {
			count(child, depth+1)
		}
	}
	if route := field(root, "route"); route != nil {
		count(route, 0)
	}
	return p
}

// receiverBounds counts the entries of receivers, each of which is a message of every group, and measures names.
func receiverBounds(root *yaml.Node, p *Problems) {
	all := 0
	for _, r := range items(root, "receivers") {
		if name := field(r, "name"); name != nil && len(name.Value) > maxReceiverName {
			p.add(name, "the name of a receiver has %d bytes: at most %d are taken", len(name.Value), maxReceiverName)
		}
		if r.Kind != yaml.MappingNode {
			continue
		}
		own := 0
		for i := 1; i < len(r.Content); i += 2 {
			list := r.Content[i]
			if list.Kind != yaml.SequenceNode {
				continue
			}
			n := len(list.Content)
			if over := maxOfReceiver - own; own <= maxOfReceiver && n > over {
				p.add(list.Content[over], "the receiver has more than %d entries: put the others into another receiver, and a route to it with continue: true before this one", maxOfReceiver)
			}
			if over := maxIntegrations - all; all <= maxIntegrations && n > over {
				p.add(list.Content[over], "the receivers have more than %d entries together: no more are taken", maxIntegrations)
			}
			own, all = own+n, all+n
		}
	}
}
