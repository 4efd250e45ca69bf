package guarded

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"text/template"
)

// within makes a text of values, unless they or the text are too long.
func (f *Frame) within(values []any, make func() string) (string, error) {
	limit, n := f.b.Value, 0
	for _, v := range values {
		if n += sizeOf(v, limit); n > limit {
			return "", tooLong(limit)
		}
	}
	// The input is a bound of what is made, but for escapes: those are counted before they are kept.
	s := make()
	if len(s) > limit {
		return "", tooLong(limit)
	}
	return s, f.charge(len(s))
}

// Print is text/template's function of that name, bounded.
func Print(f *Frame, a ...any) (string, error) {
	return f.within(a, func() string { return fmt.Sprint(a...) })
}

// Println is text/template's function of that name, bounded.
func Println(f *Frame, a ...any) (string, error) {
	return f.within(a, func() string { return fmt.Sprintln(a...) })
}

// JS is text/template's function js, bounded.
func JS(f *Frame, a ...any) (string, error) {
	return f.within(a, func() string { return template.JSEscaper(a...) })
}

// escape is html or urlquery, whose input was weighed before.
func (g *Guard) escape(a []any, escaper func(...any) string) (string, error) {
	n := 0
	for _, v := range a {
		if n += sizeOf(v, g.limits.Value); n > g.limits.Value {
			return "", tooLong(g.limits.Value)
		}
	}
	s := escaper(a...)
	if len(s) > g.limits.Value {
		return "", tooLong(g.limits.Value)
	}
	return s, nil
}

// Text makes a function from text to text a bounded one.
func Text(of func(string) string) func(*Frame, string) (string, error) {
	return func(f *Frame, s string) (string, error) { return f.within([]any{s}, func() string { return of(s) }) }
}

// Value makes a function from a value to text a bounded one.
func Value(of func(any) (string, error)) func(*Frame, any) (string, error) {
	return func(f *Frame, v any) (string, error) {
		var failed error
		s, err := f.within([]any{v}, func() (s string) { s, failed = of(v); return s })
		return s, errors.Join(failed, err)
	}
}

// Join is strings.Join with its arguments the other way round, bounded.
func Join(f *Frame, separator string, parts []string) (string, error) {
	n := 0
	for _, p := range parts {
		if n += len(p) + len(separator); n > f.b.Value {
			return "", tooLong(f.b.Value)
		}
	}
	return f.within(nil, func() string { return strings.Join(parts, separator) })
}

// Printf is fmt.Sprintf for formats that cannot make much of little.
func Printf(f *Frame, format string, values ...any) (string, error) {
	verbs, longest := 0, 0
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		verbs++
		digits := 0
		for i++; i < len(format) && strings.IndexByte("+-# 0123456789.*[]", format[i]) >= 0; i++ {
			if format[i] == '*' {
				return "", ErrFormat
			}
			switch {
			case format[i] < '0' || format[i] > '9':
				digits = 0
			case format[i] == '0' && digits == 0: // a flag
			default:
				digits++
			}
			if digits > 3 {
				return "", ErrFormat
			}
		}
	}
	for _, v := range values {
		longest = max(longest, sizeOf(v, f.b.Value))
	}
	// The widest verb is %x or %q, of 4 to 10 bytes for one; %999 of a width or precision adds up to a thousand.
	if len(format)+verbs*(longest+1000) > max(4<<20, 2*f.b.Value) {
		return "", tooLong(f.b.Value)
	}
	return f.within(values, func() string { return fmt.Sprintf(format, values...) })
}

// compile reads a pattern that is to be held against a text of that many bytes, and counts the work.
func (f *Frame) compile(pattern string, n int) (*regexp.Regexp, error) {
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
	// To compile it costs something too.
	if f.b.matching += len(program.Inst) * (n + 100); f.b.matching > f.b.Matching {
		return nil, ErrMatching
	}
	return regexp.Compile(pattern)
}

// Match reports whether the pattern is found in the text, bounded.
func Match(f *Frame, pattern, s string) (bool, error) {
	re, err := f.compile(pattern, len(s))
	if err != nil {
		return false, err
	}
	return re.MatchString(s), nil
}

// maxReplaced is how many bytes a text may have in which something is replaced: all the places are known before the first is.
const maxReplaced = 1 << 20

// ReplaceAll is regexp's ReplaceAllString, bounded.
func ReplaceAll(f *Frame, pattern, replacement, s string) (string, error) {
	re, err := f.compile(pattern, len(s))
	if err != nil {
		return "", err
	}
	limit := f.b.Value
	if len(s) > maxReplaced {
		return "", ErrMatching
	}
	if strings.Count(replacement, "$")*len(s)+len(replacement) > max(4<<20, limit) {
		return "", tooLong(limit) // of a single match
	}
	from := 0
	var out []byte
	for _, at := range re.FindAllStringSubmatchIndex(s, -1) {
		out = append(out, s[from:at[0]]...)
		out = re.ExpandString(out, replacement, s, at)
		if from = at[1]; len(out) > limit {
			return "", tooLong(limit)
		}
	}
	out = append(out, s[from:]...)
	return string(out), f.charge(len(out))
}

// List is its arguments.
func List(f *Frame, values ...any) ([]any, error) {
	if values == nil {
		values = []any{}
	}
	return values, f.charge(16 * len(values))
}

// Append is the list with the values behind it.
func Append(f *Frame, list []any, values ...any) ([]any, error) {
	if err := f.charge(16 * (len(list) + len(values))); err != nil {
		return nil, err
	}
	return append(list, values...), nil
}

// Dict is a mapping of keys, each before its value.
func Dict(f *Frame, values ...any) (map[string]any, error) {
	if len(values)%2 != 0 {
		return nil, errors.New("dict requires an even number of arguments")
	}
	if err := f.charge(32 * len(values)); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(values)/2)
	for i := 0; i < len(values); i += 2 {
		key, ok := values[i].(string)
		if !ok {
			return nil, errors.New("dict keys must be strings")
		}
		out[key] = values[i+1]
	}
	return out, nil
}
