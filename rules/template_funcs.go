package rules

import "fmt"

// args is the library's function of that name, for values whose number is bounded: it is the only one by which something can be put
// into itself again and again.
func args(values ...any) (map[string]any, error) {
	out := make(map[string]any, len(values))
	n := 0
	for i, v := range values {
		if n += count(v, 0); n > maxArgs {
			return nil, errNesting
		}
		out[fmt.Sprintf("arg%d", i)] = v
	}
	return out, nil
}

func count(v any, depth int) int {
	m, ok := v.(map[string]any)
	if !ok {
		return 1
	}
	if depth > 16 {
		return maxArgs + 1
	}
	n := 1
	for _, e := range m {
		if n += count(e, depth+1); n > maxArgs {
			return n
		}
	}
	return n
}
