package slack

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/inventory"
)

// maxCandidates is how many monitors are named where several are meant.
const maxCandidates = 10

// pick finds the one monitor that a person means: by id, by slug, by the whole name, by how the name begins, by a part of it, or by
// all its words in any order; upper case, dashes and spaces make no difference. The first of these that fits any must fit one only.
// The error names what it could be, and is safe to show once it is escaped.
func pick(monitors []inventory.Monitor, name string) (inventory.Monitor, error) {
	wanted := fold(name)
	words := strings.Fields(wanted)
	for _, fits := range []func(m inventory.Monitor) bool{
		func(m inventory.Monitor) bool { return strings.EqualFold(m.ID.String(), name) },
		func(m inventory.Monitor) bool { return m.Config.Name == name },
		func(m inventory.Monitor) bool { return m.Config.Slug != "" && m.Config.Slug == strings.ToLower(name) },
		func(m inventory.Monitor) bool { return wanted != "" && fold(m.Config.Name) == wanted },
		func(m inventory.Monitor) bool { return wanted != "" && strings.HasPrefix(fold(m.Config.Name), wanted) },
		func(m inventory.Monitor) bool { return wanted != "" && strings.Contains(fold(m.Config.Name), wanted) },
		func(m inventory.Monitor) bool {
			has := fold(m.Config.Name + " " + m.Config.Slug)
			return len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(has, w) })
		},
	} {
		var found []inventory.Monitor
		for _, m := range monitors {
			if fits(m) {
				found = append(found, m)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return inventory.Monitor{}, severalFault(name, found)
		}
	}
	return inventory.Monitor{}, fault.New(fault.NotFound, fmt.Sprintf("No monitor is called “%s”. /pulse list shows them.", plain(name, 80)))
}

func severalFault(name string, found []inventory.Monitor) error {
	var text strings.Builder
	fmt.Fprintf(&text, "“%s” could be %d monitors:", plain(name, 80), len(found))
	names := map[string]int{}
	for _, m := range found {
		names[m.Config.Name]++
	}
	for i, m := range found {
		if i == maxCandidates {
			fmt.Fprintf(&text, "\n… and %d more", len(found)-maxCandidates)
			break
		}
		text.WriteString("\n• " + plain(m.Config.Name, 100))
		if names[m.Config.Name] > 1 {
			text.WriteString(" (" + m.ID.String() + ")")
		}
	}
	return fault.New(fault.Ambiguous, text.String())
}

// fold makes names that read alike the same.
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r == '/' || unicode.IsSpace(r) {
			return ' '
		}
		return unicode.ToLower(r)
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
