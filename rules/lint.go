package rules

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/core/rule"
)

// Lint finds what is valid in each of several rule files and yet wrong with all of them: groups of one name, and rules that give the
// same series or alerts.
type Lint struct {
	groups map[string]string // where each name was seen first
	rules  map[string]string // where each kind, name and labels were
}

// NewLint returns a Lint that has seen nothing yet.
func NewLint() *Lint { return &Lint{groups: map[string]string{}, rules: map[string]string{}} }

// places are the nodes of a rule file that a finding speaks of.
type places struct {
	Groups []struct {
		Name  yaml.Node   `yaml:"name"`
		Rules []yaml.Node `yaml:"rules"`
	} `yaml:"groups"`
}

// Add looks at a valid file with these groups, and returns what it finds with those before it: with file, line and column.
func (l *Lint) Add(file string, content []byte, groups []rule.Group) []error {
	var p places
	var errs []error
	if err := yaml.Unmarshal(content, &p); err != nil {
		return []error{fmt.Errorf("%s: %w", file, err)}
	}
	if _, err := oneDocument(content); err != nil {
		errs = append(errs, fmt.Errorf("%s:%w", file, err))
	}
	for i, g := range groups {
		at := file
		if i < len(p.Groups) {
			at = place(file, p.Groups[i].Name)
		}
		if first, seen := l.groups[g.Name]; seen {
			errs = append(errs, fmt.Errorf("%s: a group of the name %q is at %s already", at, g.Name, first))
		} else {
			l.groups[g.Name] = at
		}
		errs = append(errs, Fit(g)...)
		for j, d := range g.Rules {
			at := file
			if i < len(p.Groups) && j < len(p.Groups[i].Rules) {
				at = place(file, p.Groups[i].Rules[j])
			}
			key := string(d.Kind()) + "\xff" + d.Name() + "\xff" + rule.Key(g.LabelsOf(d))
			if first, seen := l.rules[key]; seen {
				errs = append(errs, fmt.Errorf("%s: %q is a duplicate of the rule at %s: both have the same name and labels", at, d.Name(), first))
			} else {
				l.rules[key] = at
			}
		}
	}
	return errs
}

func place(file string, n yaml.Node) string { return fmt.Sprintf("%s:%d:%d", file, n.Line, n.Column) }
