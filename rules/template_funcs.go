package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
)

// within makes a text of values, unless they or the text are too long.
func within(values []any, f func() string) (string, error) {
	n := 0
	for _, v := range values {
		n += sizeOf(v, 0)
		if n > maxOutput {
			return "", errTooLong
		}
	}
	s := f()
	if len(s) > maxOutput {
		return "", errTooLong
	}
	return s, nil
}

// sizeOf is about as many bytes as the value has when it is printed: at least that many, or more than maxOutput.
func sizeOf(v any, depth int) int {
	if s, ok := v.(string); ok {
		return len(s)
	}
	return printedSize(reflect.ValueOf(v), depth)
}

// printedSize walks a value: what a query gives is a list of pointers to structures with maps.
func printedSize(v reflect.Value, depth int) int {
	const (
		plain = 40 // a number, a pointer, a brace or two
		deep  = 16
	)
	if depth > deep {
		return maxOutput + 1
	}
	n := plain
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			n += printedSize(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += len(v.Type().Field(i).Name) + printedSize(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && n <= maxOutput; i++ {
			n += printedSize(v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next() && n <= maxOutput; {
			n += printedSize(it.Key(), depth+1) + printedSize(it.Value(), depth+1) + 2
		}
	default: // plain
	}
	return n
}

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

// printf is fmt.Sprintf for formats that cannot make much of little.
func printf(format string, values ...any) (string, error) {
	verbs, longest := 0, 0
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		verbs++
		digits := 0
		for i++; i < len(format) && strings.IndexByte("+-# 0123456789.*[]", format[i]) >= 0; i++ {
			if format[i] == '*' {
				return "", errVerbs
			}
			switch {
			case format[i] < '0' || format[i] > '9':
				digits = 0
			case format[i] == '0' && digits == 0: // a flag
			default:
				digits++
			}
			if digits > 3 {
				return "", errVerbs
			}
		}
	}
	for _, v := range values {
		longest = max(longest, sizeOf(v, 0))
	}
	// The widest verb is %x or %q, of 4 to 10 bytes for one; %999 of a width or precision adds up to a thousand.
	if len(format)+verbs*(longest+1000) > 4<<20 {
		return "", errTooLong
	}
	return within(values, func() string { return fmt.Sprintf(format, values...) })
}

// maxMatching bounds the work of one match: instructions of the pattern's automaton times bytes of the text.
const maxMatching = 50 << 20

// compile reads a pattern that is to be held against a text of that many bytes.
func compile(pattern string, n int) (*regexp.Regexp, error) {
	if len(pattern) > 1000 {
		return nil, errors.New("a pattern has 1000 bytes at most")
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst)*n > maxMatching {
		return nil, errors.New("the pattern is too costly for so long a text")
	}
	return regexp.Compile(pattern)
}

// match is the library's function of that name, bounded.
func match(pattern, s string) (bool, error) {
	re, err := compile(pattern, len(s))
	if err != nil {
		return false, err
	}
	return re.MatchString(s), nil
}

// reReplaceAll is the library's function of that name, bounded.
func reReplaceAll(pattern, replacement, s string) (string, error) {
	re, err := compile(pattern, len(s))
	if err != nil {
		return "", err
	}
	if strings.Count(replacement, "$")*len(s)+len(replacement) > 4<<20 {
		return "", errTooLong // of a single match
	}
	from := 0
	var out []byte
	for _, at := range re.FindAllStringSubmatchIndex(s, -1) {
		out = append(out, s[from:at[0]]...)
		out = re.ExpandString(out, replacement, s, at)
		if from = at[1]; len(out) > maxOutput {
			return "", errTooLong
		}
	}
	return string(append(out, s[from:]...)), nil
}

// bounds makes a function's text one that is not too long.
func bounds(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) { return within([]any{s}, func() string { return f(s) }) }
}
