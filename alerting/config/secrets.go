package config

import (
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// secretToken stands where a secret is: nobody reads one back.
const secretToken = "<secret>"

// place is a scalar of a configuration and where it stands: keys, the names of receivers, numbers of elements.
type place struct {
	node *yaml.Node
	path []string
}

func (p place) key() string { return strings.Join(p.path, "\x00") }

// secrets are the places of all secrets, also of those that are <secret>. The document must have been expanded without a problem.
func (o Options) secrets(document *yaml.Node) (out []place) {
	root := document.Content[0]
	schema{value: func(n *yaml.Node, t reflect.Type, path []string) {
		if n.Value != "" && (isSecret(t) || isAddress(t, path[len(path)-1]) && hasPassword(n.Value)) {
			out = append(out, place{n, slices.Clone(path)})
		}
	}}.document(root)
	o.entriesOfOurs(root, func(kind Kind, entry *yaml.Node, path []string) {
		leaves(entry, path, func(n *yaml.Node, at []string) {
			if n.Value != "" && (kind.secret(strings.Join(at[len(path):], ".")) || strings.Contains(n.Value, "://") && hasPassword(n.Value)) {
				out = append(out, place{n, at})
			}
		})
	})
	return out
}

// entriesOfOurs calls f for each entry of a list of ours.
func (o Options) entriesOfOurs(root *yaml.Node, f func(kind Kind, entry *yaml.Node, path []string)) {
	pairs(root, func(key, receivers *yaml.Node) {
		if key.Value != "receivers" || receivers.Kind != yaml.SequenceNode {
			return
		}
		for _, r := range receivers.Content {
			r = resolved(r)
			if r.Kind != yaml.MappingNode {
				continue
			}
			name := ""
			pairs(r, func(key, value *yaml.Node) {
				if key.Value == "name" {
					name = value.Value
				}
			})
			pairs(r, func(key, list *yaml.Node) {
				for _, kind := range o.Kinds {
					if kind.Key != key.Value || list.Kind != yaml.SequenceNode {
						continue
					}
					for i, entry := range list.Content {
						f(kind, resolved(entry), []string{"receivers", name, kind.Key, strconv.Itoa(i)})
					}
				}
			})
		}
	})
}

// leaves calls f for each scalar below a node, with its path.
func leaves(n *yaml.Node, path []string, f func(n *yaml.Node, path []string)) {
	n = resolved(n)
	switch n.Kind {
	case yaml.ScalarNode:
		if !isNull(n) {
			f(n, slices.Clone(path))
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			leaves(c, below(path, strconv.Itoa(i)), f)
		}
	case yaml.MappingNode:
		pairs(n, func(key, value *yaml.Node) { leaves(value, below(path, key.Value), f) })
	default: // a document holds no other
	}
}

// secretValues are the secrets themselves, the longest first.
func (o Options) secretValues(document *yaml.Node) (out []string) {
	for _, p := range o.secrets(document) {
		if p.node.Value != secretToken {
			out = append(out, p.node.Value)
			if u, err := url.Parse(p.node.Value); err == nil && u.User != nil {
				if password, ok := u.User.Password(); ok {
					out = append(out, password)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(out)
}

func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return err != nil && strings.Contains(address, "@") // it cannot be told: be careful
	}
	_, ok := u.User.Password()
	return ok
}
