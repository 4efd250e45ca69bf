package exporter

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
)

// selection is what a scrape asks for. A nil field chooses everything.
type selection struct {
	families map[int]bool
	projects map[string]bool
	tags     map[string]bool
	names    map[string]bool
	ids      map[uuid.UUID]bool
	labels   map[[2]string]bool // name and value
}

// parameters are those that a scrape may have.
func parameters() []string { return []string{"name", "project", "tag", "monitor", "id", "label"} }

// ownNames are the names of what a scrape says of itself: it always does.
func ownNames() []string {
	return []string{seriesName, droppedName, ageName}
}

// selectionOf reads a scrape's parameters, each written with [] behind its name or without. The error is a fault of code
// invalid.
func (l *layout) selectionOf(query string) (*selection, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the parameters cannot be read: "+err.Error()+". Give them as name[]=tokiflow_monitor_up&project[]=shop.")
	}
	s := &selection{}
	for _, key := range slices.Sorted(maps.Keys(values)) { // so that the first fault is always the same
		for _, v := range values[key] {
			if err := s.add(l, key, v); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *selection) add(l *layout, key, v string) error {
	switch strings.TrimSuffix(key, "[]") {
	case "name":
		put(&s.families, -1) // so that a name of ownNames alone chooses no family
		if i, ok := l.names[v]; ok {
			put(&s.families, i)
		} else if !slices.Contains(ownNames(), v) {
			return fault.New(fault.Invalid, fmt.Sprintf("there is no metric %q. There are:\n%s", v, strings.Join(l.listed(), "\n")))
		}
	case "project":
		put(&s.projects, v)
	case "tag":
		put(&s.tags, v)
	case "monitor":
		put(&s.names, v)
	case "id":
		id, err := uuid.Parse(v)
		if err != nil {
			return fault.New(fault.Invalid, fmt.Sprintf("id[]=%q is not the id of a monitor: give a UUID", v))
		}
		put(&s.ids, id)
	case "label":
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return fault.New(fault.Invalid, fmt.Sprintf("label[]=%q has no =: give label[]=team=payments (in the URL: label[]=team%%3Dpayments)", v))
		}
		put(&s.labels, [2]string{name, value})
	default:
		return fault.New(fault.Invalid, fmt.Sprintf("there is no parameter %q. There are: %s[]", key, strings.Join(parameters(), "[], ")))
	}
	return nil
}

func put[K comparable](m *map[K]bool, k K) {
	if *m == nil {
		*m = map[K]bool{}
	}
	(*m)[k] = true
}

// listed is every name that name[] takes, in the order in which they are written.
func (l *layout) listed() []string {
	var all []string
	for _, f := range l.families {
		all = append(all, f.name)
	}
	return append(all, ownNames()...)
}

func (s *selection) family(i int) bool { return s.families == nil || s.families[i] }

// mask says which monitors of the block are chosen: those of the selection that are within the limit of series. cut are those
// that only the limit leaves out.
func (s *selection) mask(b *block, last *uuid.UUID) (chosen, cut uint64) {
	if s.projects != nil && !s.projects[b.project] {
		return 0, 0
	}
	every := s.tags == nil && s.names == nil && s.ids == nil && s.labels == nil
	if every && last == nil {
		return b.whole(), 0
	}
	for i, e := range b.entries {
		switch {
		case !every && !s.chooses(e):
		case last != nil && slices.Compare(e.id[:], last[:]) > 0:
			cut |= 1 << i
		default:
			chosen |= 1 << i
		}
	}
	return chosen, cut
}

// whole is the mask of all monitors of the block.
func (b *block) whole() uint64 { return 1<<len(b.entries) - 1 }

func (s *selection) chooses(e *entry) bool {
	return (s.names == nil || s.names[e.name]) &&
		(s.ids == nil || s.ids[e.id]) &&
		(s.tags == nil || slices.ContainsFunc(e.tags, func(t string) bool { return s.tags[t] })) &&
		(s.labels == nil || s.hasLabel(e))
}

func (s *selection) hasLabel(e *entry) bool {
	for l := range s.labels {
		if v, ok := e.own[l[0]]; ok && v == l[1] {
			return true
		}
	}
	return false
}
