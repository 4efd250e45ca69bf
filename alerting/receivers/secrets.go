package receivers

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	commoncfg "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v3"
)

// maxError is how long the text of an error is at most, in characters.
const maxError = 500

// scrubber takes secrets out of texts. Safe for concurrent use.
type scrubber struct {
	known *strings.Replacer
	urls  *regexp.Regexp
	paths *regexp.Regexp
}

// newScrubber knows the values given, and every URL.
func newScrubber(secrets []string) *scrubber {
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // the longest first
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		forms := []string{s, url.QueryEscape(s), url.PathEscape(s)}
		for _, form := range slices.Compact(forms) {
			if len(form) >= 4 { // what is shorter would tear words apart, and is no secret
				pairs = append(pairs, form, "<secret>")
			}
		}
	}
	return &scrubber{
		known: strings.NewReplacer(pairs...),
		urls:  regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)([^\s"'<>]+)`),
		// Telegram's token stands in the path, which errors may hold without the host.
		paths: regexp.MustCompile(`(?i)(/bot)[0-9]+:[a-z0-9_-]+`),
	}
}

// clean returns the text without what is known to be secret, with URLs cut down to scheme and host, on one line of maxError characters.
func (s *scrubber) clean(text string) string {
	text = strings.ToValidUTF8(text, "�")
	text = s.known.Replace(text)
	text = s.paths.ReplaceAllString(text, "$1<secret>")
	text = s.urls.ReplaceAllStringFunc(text, func(found string) string {
		trail := ""
		if cut := strings.TrimRight(found, `:;,.)]}`); cut != found {
			found, trail = cut, found[len(cut):]
		}
		u, err := url.Parse(found)
		if err != nil || u.Host == "" {
			return "<redacted>" + trail
		}
		if u.Path == "" && u.RawQuery == "" && u.User == nil && u.Fragment == "" {
			return found + trail
		}
		return u.Scheme + "://" + u.Host + "/…" + trail
	})
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(text); len(runes) > maxError {
		text = string(runes[:maxError-1]) + "…"
	}
	return text
}

// secretsIn collects what a configuration of Alertmanager's keeps secret: values of its secret types, and its URLs, with what in them may be a token.
func secretsIn(v reflect.Value, out []string) []string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return out
		}
		if u, ok := reflect.TypeAssert[*url.URL](v); ok {
			return append(out, secretsOfURL(u)...)
		}
		return secretsIn(v.Elem(), out)
	case reflect.String:
		if strings.Contains(v.Type().Name(), "Secret") && v.String() != "" {
			out = append(out, v.String())
			if u, err := url.Parse(v.String()); err == nil {
				out = append(out, secretsOfURL(u)...)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			out = secretsIn(v.Index(i), out)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			out = secretsIn(v.MapIndex(key), out)
		}
	case reflect.Struct:
		if h, ok := reflect.TypeAssert[commoncfg.Header](v); ok { // its plain values are often tokens as well
			out = append(out, h.Values...)
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out = secretsIn(v.Field(i), out)
			}
		}
	default: // no text
	}
	return out
}

// secretsOfURL are the parts of a URL that may be a token: the password, the values of the query, and long parts of the path.
func secretsOfURL(u *url.URL) []string {
	var out []string
	if u.User != nil {
		if password, ok := u.User.Password(); ok {
			out = append(out, password)
		}
		out = append(out, u.User.String())
	}
	for _, values := range u.Query() {
		for _, v := range values {
			if len(v) >= 8 {
				out = append(out, v)
			}
		}
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= 16 {
			out = append(out, part)
		}
	}
	return out
}

// secretsOfEntry are the values under the keys, at any depth, of an entry of ours.
func secretsOfEntry(n *yaml.Node, keys []string) []string {
	var out []string
	if n == nil {
		return nil
	}
	for i, child := range n.Content {
		secret := n.Kind == yaml.MappingNode && i%2 == 1 && slices.Contains(keys, n.Content[i-1].Value)
		if secret && child.Kind == yaml.ScalarNode {
			out = append(out, child.Value)
			if u, err := url.Parse(child.Value); err == nil {
				out = append(out, secretsOfURL(u)...)
			}
		}
		out = append(out, secretsOfEntry(child, keys)...)
	}
	return out
}
