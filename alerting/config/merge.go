package config

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Merge returns the new Source with the secrets of the old one where the new one says <secret>: those that stand at the same place. A
// receiver is found by its name; an entry of it by all that is not secret, else by its place in the list, else by being the only one
// that is left. The error is Problems: what stands there now cannot be told, or it would be sent to somebody else than before.
func Merge(fresh, old Source, kinds []Kind) (Source, error) {
	o := Options{Kinds: kinds}
	document, err := parse(fresh.YAML)
	if err != nil {
		return Source{}, err
	}
	if _, err := expand(document); err != nil {
		return Source{}, err
	}
	var asked []place
	for _, p := range o.secrets(document) {
		if p.node.Value == secretToken {
			asked = append(asked, p)
		}
	}
	if len(asked) == 0 {
		return fresh, nil
	}
	before, err := parse(old.YAML)
	if err == nil {
		_, err = expand(before)
	}
	if err != nil {
		return Source{}, Problems{{Line: asked[0].node.Line, Text: "<secret> stands for what is stored, and that cannot be read: write the value"}}
	}
	m := &merger{fresh: o.survey(document), old: o.survey(before), matched: map[string]map[int]int{}}
	m.known = m.old.known(slices.Collect(maps.Keys(m.old.hosts))...)
	edits := map[*yaml.Node]edit{}
	var p Problems
	for _, a := range asked {
		value, why := m.find(a)
		if why != "" {
			p.add(a.node, "%s: %s", a.path[len(a.path)-1], why)
			continue
		}
		edits[a.node] = edit{a.node, value, quoted(value)}
	}
	if err := p.err(); err != nil {
		return Source{}, err
	}
	text, err := rewritten(fresh.YAML, document, edits, nil)
	return Source{YAML: text, Templates: fresh.Templates}, err
}

// survey is what Merge must know of a configuration.
type survey struct {
	secrets map[string]string   // by place
	entries map[string][]entry  // by receiver and list
	hosts   map[string][]string // who is called, by receiver, list and number; "" for all that is not an entry's
}

// entry is one integration of a receiver.
type entry struct {
	number  string
	redact  string // all of it, without secrets
	secrets []string
}

const nothingStored = "<secret> stands for what is stored, and there is nothing stored here: write the value"

func (o Options) survey(document *yaml.Node) survey {
	s := survey{secrets: map[string]string{}, entries: map[string][]entry{}, hosts: map[string][]string{}}
	hidden := map[*yaml.Node]bool{}
	for _, p := range o.secrets(document) {
		s.secrets[p.key()] = p.node.Value
		hidden[p.node] = true
	}
	root := document.Content[0]
	schema{value: func(n *yaml.Node, t reflect.Type, path []string) {
		if isAddress(t, path[len(path)-1]) && n.Value != "" {
			s.hosts[entryOf(path)] = append(s.hosts[entryOf(path)], host(n.Value))
		}
	}}.document(root)
	o.entriesOfOurs(root, func(_ Kind, e *yaml.Node, path []string) {
		leaves(e, path, func(n *yaml.Node, _ []string) {
			if strings.Contains(n.Value, "://") {
				s.hosts[entryOf(path)] = append(s.hosts[entryOf(path)], host(n.Value))
			}
		})
	})
	s.list(root, hidden)
	return s
}

// list surveys the entries of all receivers.
func (s survey) list(root *yaml.Node, hidden map[*yaml.Node]bool) {
	pairs(root, func(key, receivers *yaml.Node) {
		if key.Value != "receivers" {
			return
		}
		for _, r := range receivers.Content {
			r = resolved(r)
			name := ""
			pairs(r, func(key, value *yaml.Node) {
				if key.Value == "name" {
					name = value.Value
				}
			})
			pairs(r, func(key, list *yaml.Node) {
				if list.Kind != yaml.SequenceNode {
					return
				}
				at := []string{"receivers", name, key.Value}
				for i, n := range list.Content {
					e := entry{number: strconv.Itoa(i)}
					var b strings.Builder
					leaves(n, nil, func(n *yaml.Node, path []string) {
						value := n.Value
						if hidden[n] {
							value = secretToken
							e.secrets = append(e.secrets, strings.Join(path, "\x00"))
						}
						b.WriteString(strings.Join(path, "\x00") + "\x01" + value + "\x02")
					})
					e.redact = b.String()
					of := strings.Join(at, "\x00")
					s.entries[of] = append(s.entries[of], e)
				}
			})
		}
	})
}

// entryOf is the part of a path that names an entry; "" where it is none's.
func entryOf(path []string) string {
	if len(path) >= 4 && path[0] == "receivers" {
		return strings.Join(path[:4], "\x00")
	}
	return ""
}

// host is who is called at the address; a template is compared as it is.
func host(address string) string {
	if !strings.Contains(address, "://") {
		address = "smtp://" + address
	}
	u, err := url.Parse(address)
	if err != nil || strings.Contains(address, "{{") {
		return address
	}
	return strings.ToLower(u.Host)
}

type merger struct {
	fresh, old survey
	matched    map[string]map[int]int // what unchanged gave, by receiver and list
	known      map[string]bool        // all hosts of the old configuration
}

// find is the stored secret for a place, or why there is none.
func (m *merger) find(a place) (value, why string) {
	of := entryOf(a.path)
	from, before := a.key(), ""
	if of != "" {
		number, why := m.entry(strings.Join(a.path[:3], "\x00"), a.path[3])
		if why != "" {
			return "", why
		}
		path := slices.Clone(a.path)
		path[3] = number
		from, before = strings.Join(path, "\x00"), entryOf(path)
	}
	value, ok := m.old.secrets[from]
	if !ok || value == secretToken {
		return "", nothingStored
	}
	if h := m.stranger(of, before); h != "" {
		return "", "it would be sent to " + h + ", which did not get it before: write the secret anew"
	}
	return value, ""
}

// stranger is an address that gets the secret and was not called with it in the old configuration, by the entry before. What some other
// entry calls is a stranger too: somebody may have added that entry to make its address known. "" where there is none.
func (m *merger) stranger(of, before string) string {
	look, known := []string{of, ""}, m.old.known(before, "") // what is global may be sent by each entry
	if of == "" {
		look, known = slices.Sorted(maps.Keys(m.fresh.hosts)), m.known
	}
	for _, at := range look {
		for _, h := range m.fresh.hosts[at] {
			if !known[h] {
				return h
			}
		}
	}
	return ""
}

// known are the hosts that are called by these entries; "" for what is no entry's.
func (s survey) known(entries ...string) map[string]bool {
	out := map[string]bool{"": true, secretToken: true, host(secretToken): true}
	for _, of := range entries {
		for _, h := range s.hosts[of] {
			out[h] = true
		}
	}
	return out
}

// entry is the number of the old entry that the new one was.
func (m *merger) entry(of, number string) (string, string) {
	now, before := m.fresh.entries[of], m.old.entries[of]
	i, err := strconv.Atoi(number)
	if err != nil || i >= len(now) || len(before) == 0 {
		return "", nothingStored
	}
	taken, done := m.matched[of]
	if !done {
		taken = unchanged(now, before)
		m.matched[of] = taken
	}
	if at, ok := taken[i]; ok {
		return before[at].number, ""
	}
	used := map[int]bool{}
	for _, j := range taken {
		used[j] = true
	}
	var left []int
	for j, e := range before {
		// It must have what is asked for.
		if !used[j] && !slices.ContainsFunc(now[i].secrets, func(s string) bool {
			return m.fresh.secrets[of+"\x00"+number+"\x00"+s] == secretToken && !slices.Contains(e.secrets, s)
		}) {
			left = append(left, j)
		}
	}
	switch {
	case slices.Contains(left, i) && len(now) == len(before):
		return before[i].number, ""
	case len(left) == 1:
		return before[left[0]].number, ""
	case len(left) == 0:
		return "", nothingStored
	}
	return "", "which of the stored entries this one was cannot be told: write the secret"
}

// unchanged are the new entries that are word for word an old one, but for secrets: the old one's index by the new one's.
func unchanged(now, before []entry) map[int]int {
	out, used := map[int]int{}, map[int]bool{}
	alike := map[string]int{}
	for _, e := range before {
		alike[e.redact]++
	}
	match := func(i, j int) {
		_, done := out[i]
		if done || used[j] || now[i].redact != before[j].redact || alike[now[i].redact] > 1 && len(now) != len(before) {
			return // of several alike one is gone: which, nobody can tell
		}
		out[i], used[j] = j, true
	}
	for i := range min(len(now), len(before)) {
		match(i, i)
	}
	places := map[string][]int{}
	for j, e := range before {
		if !used[j] {
			places[e.redact] = append(places[e.redact], j)
		}
	}
	for i, e := range now {
		for _, j := range places[e.redact] {
			match(i, j)
		}
	}
	return out
}
