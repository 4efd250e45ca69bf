package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"
)

// schema walks the nodes of a configuration beside the types that Alertmanager decodes them into: what a value is, is known by its type.
// The tree may have aliases, but must have been expanded without a problem before: it has no end otherwise.
type schema struct {
	// key is called for each key of a structure, with the structure's type.
	key func(key, value *yaml.Node, of reflect.Type)
	// value is called for each scalar, and for what stands where a scalar should, with the type it is decoded into and the place: the
	// receiver's name, keys and numbers of elements.
	value func(n *yaml.Node, t reflect.Type, place []string)
	// empty is called for each element of a list that is nothing and should be something.
	empty func(n *yaml.Node, place []string)
}

func (s schema) document(root *yaml.Node) { s.walk(root, reflect.TypeFor[config.Config](), nil) }

func (s schema) walk(n *yaml.Node, t reflect.Type, place []string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.ScalarNode || isSecret(t):
		s.scalar(n, t, place)
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		s.structure(n, t, place)
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		pairs(n, func(key, value *yaml.Node) { s.walk(value, t.Elem(), below(place, key.Value)) })
	case n.Kind == yaml.SequenceNode && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for i, c := range n.Content {
			if of := t.Elem().Kind(); s.empty != nil && isNull(resolved(c)) && (of == reflect.Pointer || of == reflect.Struct) {
				s.empty(c, place)
				continue
			}
			at := strconv.Itoa(i)
			if t.Elem() == reflect.TypeFor[config.Receiver]() {
				at = text(resolved(c), "name") // a receiver is told by its name, wherever it stands
			}
			s.walk(c, t.Elem(), below(place, at))
		}
	}
}

func (s schema) scalar(n *yaml.Node, t reflect.Type, place []string) {
	if n.Kind == yaml.ScalarNode {
		if s.value != nil && !isNull(n) {
			s.value(n, t, place)
		}
		return
	}
	for i, c := range n.Content {
		s.walk(c, t, below(place, strconv.Itoa(i)))
	}
}

func (s schema) structure(n *yaml.Node, t reflect.Type, place []string) {
	pairs(n, func(key, value *yaml.Node) {
		of := fieldType(t, key.Value)
		if of == nil {
			return
		}
		if s.key != nil {
			s.key(key, value, t)
		}
		s.walk(value, of, below(place, key.Value))
	})
}

// fieldType is the type of what a structure has under the key; nil where it has nothing.
func fieldType(t reflect.Type, key string) reflect.Type {
	var rest reflect.Type // of an inlined map: all keys that nothing else has
	for f := range fieldsOf(t) {
		name, inline := yamlName(f)
		of := f.Type
		for inline && of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch {
		case inline && of.Kind() == reflect.Struct:
			if found := fieldType(of, key); found != nil {
				return found
			}
		case inline && of.Kind() == reflect.Map:
			rest = of.Elem()
		case name == key:
			return f.Type
		}
	}
	return rest
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for f := range t.Fields() {
			if f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func yamlName(f reflect.StructField) (name string, inline bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "" {
		name = strings.ToLower(f.Name)
	}
	return name, strings.Contains(options, "inline")
}

// pairs calls f for each key of a mapping with its value, and for those that a merge key brings.
func pairs(n *yaml.Node, f func(key, value *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolved(n.Content[i]), resolved(n.Content[i+1])
		if key.Tag != "!!merge" {
			f(key, value)
			continue
		}
		from := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			from = value.Content
		}
		for _, m := range from {
			if m = resolved(m); m.Kind == yaml.MappingNode {
				pairs(m, f)
			}
		}
	}
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func below(place []string, name string) []string {
	return append(slices.Clip(place), name)
}

// isSecret reports whether Alertmanager shows values of the type to nobody.
func isSecret(t reflect.Type) bool { return strings.HasPrefix(t.Name(), "Secret") }

// isAddress reports whether values of the type, or of a text with that key, are connected to.
func isAddress(t reflect.Type, key string) bool {
	if t.Kind() == reflect.String && !isSecret(t) {
		return key == "token_url" || key == "api_url"
	}
	return t.Name() == "URL" || t.Name() == "SecretURL" || t.Name() == "SecretTemplateURL" || t.Name() == "HostPort"
}
