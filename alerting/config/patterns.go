package config

import (
	"regexp/syntax"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxPatterns bounds the instructions of all regular expressions of a configuration together: a few bytes can make thousands of them,
// and they stay in memory.
const maxPatterns = 300_000

// classCost is what a class of Unicode (\pL) costs, in instructions: its table is written out at each place where it stands.
const classCost = 260

// patterns looks at the matchers before anything compiles them.
func patterns(root *yaml.Node) (p Problems) {
	total := 0
	var look func(n *yaml.Node)
	count := func(n *yaml.Node) {
		leaves(n, nil, func(n *yaml.Node, _ []string) {
			before := total
			if total = min(total+PatternCost(n.Value), 2*maxPatterns); before <= maxPatterns && total > maxPatterns {
				p.add(n, "the regular expressions up to here are too large together: repeat and list less in them")
			}
		})
	}
	look = func(n *yaml.Node) {
		pairs(n, func(key, value *yaml.Node) {
			switch key.Value {
			case "matchers", "match_re", "source_matchers", "target_matchers", "source_match_re", "target_match_re":
				count(value)
			case "route":
				if value.Kind == yaml.MappingNode {
					look(value)
				}
			case "routes", "inhibit_rules":
				for _, c := range value.Content {
					if c.Kind == yaml.MappingNode {
						look(c)
					}
				}
			}
		})
	}
	look(root)
	return p
}

// PatternCost is about how many instructions a regular expression has, or a matcher with one. The whole of it is taken for the
// expression: what stands around it adds little. An instruction takes about 20 bytes.
func PatternCost(text string) int {
	classes := classCost * (strings.Count(text, `\p`) + strings.Count(text, `\P`))
	if !strings.Contains(text, "{") {
		return classes + 2*len(text) // without repetitions it is no more than its letters
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return classes + 2*len(text) + 1000*strings.Count(text, "{")*strings.Count(text, "{")
	}
	return classes + syntaxCost(re)
}

func syntaxCost(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	if re.Op == syntax.OpCharClass {
		n = 2 + len(re.Rune)/64
	}
	for _, sub := range re.Sub {
		n += syntaxCost(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Max, re.Min, 1)
	}
	return min(n, 2*maxPatterns)
}
