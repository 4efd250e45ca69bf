package forward

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Grid is what intervals are multiples of: the computed series have samples at these instants.
const Grid = 15 * time.Second

// The limits of a forward.
const (
	DefaultInterval = time.Minute
	maxInterval     = 5 * time.Minute // beyond, Prometheus takes a series for gone between two samples
	maxURL          = 2000
	maxLabels       = 30
	maxMetrics      = 100
	maxHeaders      = 20
	maxValue        = 4096 // bytes of a header's value, a password, …
)

// Violation is what is wrong with a field.
type Violation struct{ Field, Message string }

// ValidName reports whether a forward may be called so: 1 to 63 of a-z, 0-9 and -, not - at an end.
func ValidName(name string) bool {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(name)
}

// Normalise fills in what was left out.
func (c Config) Normalise() Config {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Kind == Datadog && c.URL == "" && c.Site == "" {
		c.Site = "datadoghq.com"
	}
	return c
}

// Endpoint is where requests go.
func (c Config) Endpoint() string {
	if c.Kind != Datadog {
		return c.URL
	}
	base := c.URL
	if base == "" {
		base = "https://api." + c.Site
	}
	return strings.TrimRight(base, "/") + "/api/v2/series"
}

// Wants reports whether the metric is sent.
func (c Config) Wants(metric string) bool {
	if len(c.Metrics) == 0 {
		return true
	}
	return slices.ContainsFunc(c.Metrics, func(p string) bool { return glob(p, metric) })
}

// glob matches a name with a pattern in which * stands for any characters.
func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(name, p)
		if !found {
			return false
		}
		name = rest
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

// Hints are what may be told of the secret.
func (s Secret) Hints() Hints {
	h := Hints{Authentication: "none", Headers: slices.Sorted(maps.Keys(s.Headers))}
	switch {
	case s.APIKey != "":
		h.Authentication = "api_key"
	case s.Bearer != "":
		h.Authentication = "bearer"
	case s.Username != "" || s.Password != "":
		h.Authentication = "basic"
	}
	return h
}

// Validate says what is wrong with a normalised configuration and its secret.
func Validate(c Config, s Secret) []Violation {
	var v violations
	v.target(c)
	v.interval(c.Interval)
	v.labels(c.ExternalLabels)
	v.metrics(c.Metrics)
	v.authentication(c.Kind, s)
	v.headers(s)
	return v
}

type violations []Violation

func (v *violations) add(field, message string) { *v = append(*v, Violation{field, message}) }

func (v *violations) target(c Config) {
	switch c.Kind {
	case RemoteWrite:
		if c.Site != "" {
			v.add("site", "is Datadog's alone: give url")
		}
		if c.URL == "" {
			v.add("url", "must say where to write, as https://prometheus.example.com/api/v1/write")
			return
		}
	case Datadog:
		if (c.URL == "") == (c.Site == "") {
			v.add("site", "give either site or url")
		}
		if c.Site != "" && !hostName().MatchString(c.Site) {
			v.add("site", "must be a host's name, as datadoghq.eu")
		}
	default:
		v.add("kind", "must be remote_write or datadog")
	}
	if c.URL != "" {
		if m := urlFault(c.URL); m != "" {
			v.add("url", m)
		}
	}
}

func hostName() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)
}

func urlFault(text string) string {
	if len(text) > maxURL {
		return "must not be longer than 2000 bytes"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "must be a URL with https:// (or http://) and a host"
	case u.User != nil:
		return "must not hold a password: give it as authentication, which is kept sealed"
	case u.Fragment != "":
		return "must not have a fragment"
	case u.RawQuery != "" && looksSecret(u.Query()):
		return "must not hold a key in its query: give it as a header, which is kept sealed"
	}
	return ""
}

// looksSecret finds parameters that usually are secrets: a URL is shown to everybody who may read.
func looksSecret(q url.Values) bool {
	for name := range q {
		name = strings.ToLower(name)
		for _, word := range []string{"key", "token", "secret", "password", "auth", "signature"} {
			if strings.Contains(name, word) {
				return true
			}
		}
	}
	return false
}

func (v *violations) interval(d time.Duration) {
	if d < Grid || d > maxInterval || d%Grid != 0 || (24*time.Hour)%d != 0 {
		v.add("interval", "must be 15s, 30s, 45s, 1m, 1m15s, 1m30s, 2m, 2m30s, 3m, 4m or 5m, or another multiple of 15s that divides a day")
	}
}

func (v *violations) labels(l map[string]string) {
	if len(l) > maxLabels {
		v.add("external_labels", "must not be more than 30")
	}
	name := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	for _, n := range slices.Sorted(maps.Keys(l)) {
		switch {
		case len(n) > 100 || !name.MatchString(n) || strings.HasPrefix(n, "__"):
			v.add("external_labels", `"`+printable(n)+`" is no name of a label: letters, digits and _, not __ at the beginning`)
		case l[n] == "" || len(l[n]) > maxValue || strings.ContainsRune(l[n], 0) || strings.ToValidUTF8(l[n], "") != l[n]:
			v.add("external_labels", n+" must be 1 to 4096 bytes of UTF-8 without NUL")
		}
	}
}

func (v *violations) metrics(list []string) {
	if len(list) > maxMetrics {
		v.add("metrics", "must not be more than 100")
	}
	pattern := regexp.MustCompile(`^[a-zA-Z0-9_:*]{1,200}$`)
	for _, m := range list {
		if !pattern.MatchString(m) || strings.Count(m, "*") > 4 {
			v.add("metrics", `"`+printable(m)+`" is no metric's name; * stands for any characters, four times at most`)
		}
	}
}

func (v *violations) authentication(k Kind, s Secret) {
	basic := s.Username != "" || s.Password != ""
	if k == Datadog {
		if s.APIKey == "" {
			v.add("api_key", "must be a Datadog API key")
		}
		if basic || s.Bearer != "" {
			v.add("api_key", "is all that Datadog asks for: leave basic and bearer_token out")
		}
	} else if s.APIKey != "" {
		v.add("api_key", "is Datadog's alone: give basic, bearer_token or headers")
	}
	if basic && s.Bearer != "" {
		v.add("bearer_token", "cannot be given together with basic")
	}
	if strings.ContainsRune(s.Username, ':') {
		v.add("basic.username", "must not have a colon")
	}
	for field, value := range map[string]string{"api_key": s.APIKey, "bearer_token": s.Bearer, "basic.username": s.Username, "basic.password": s.Password} {
		if len(value) > maxValue || strings.ContainsFunc(value, unicode.IsControl) {
			v.add(field, "must be 4096 bytes at most, without control characters")
		}
	}
}

func (v *violations) headers(s Secret) {
	if len(s.Headers) > maxHeaders {
		v.add("headers", "must not be more than 20")
	}
	token := regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$")
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		value := s.Headers[name]
		switch {
		case !token.MatchString(name):
			v.add("headers", `"`+printable(name)+`" is no header's name`)
		case ours(name):
			v.add("headers", name+" is set by Tokiflow itself")
		case strings.EqualFold(name, "Authorization") && s.Hints().Authentication != "none":
			v.add("headers", name+" cannot be given together with another authentication")
		case len(value) > maxValue || strings.ContainsFunc(value, unicode.IsControl):
			v.add("headers", name+" must be 4096 bytes at most, without control characters")
		}
	}
}

// ours are headers that say what the body is, or how the connection works.
func ours(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "user-agent", "te",
		"trailer", "upgrade", "keep-alive", "proxy-authorization", "proxy-connection", "x-prometheus-remote-write-version", "dd-api-key":
		return true
	}
	return false
}

func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}
