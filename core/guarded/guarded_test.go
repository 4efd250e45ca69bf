package guarded_test

import (
	"bytes"
	"errors"
	htmltemplate "html/template"
	"maps"
	"runtime"
	"strings"
	"testing"
	"text/template"

	"github.com/tokiflow/tokiflow/core/guarded"
)

func limits() guarded.Limits {
	return guarded.Limits{Steps: 10_000, Depth: 100, Output: 64 << 10, Value: 64 << 10, Made: 1 << 20, Matching: 10 << 20}
}

// pair is a value with methods.
type pair struct{ Name, Value string }

type labels map[string]string

func (l labels) SortedPairs() []pair            { return []pair{{"a", l["a"]}, {"b", l["b"]}} }
func (l labels) Remove(names []string) labels   { return labels{"a": l["a"]} }
func (l labels) Names() []string                { return []string{"a", "b"} }
func (l labels) With(name, value string) string { return name + "=" + value }

type data struct {
	Title  string
	Labels labels
	Alerts []labels
	Many   []int
	Nil    any
	URL    string
}

func sample() *data {
	return &data{
		Title: `<b>"x" & 'y'</b>`, Labels: labels{"a": "1<", "b": "2"}, Alerts: []labels{{"a": "x"}, {"a": "y"}}, Many: make([]int, 100_000),
		URL: "https://x.example/?q=a b",
	}
}

func plainFunctions() template.FuncMap {
	return template.FuncMap{
		"join":     func(separator string, s []string) string { return strings.Join(s, separator) },
		"toUpper":  strings.ToUpper,
		"safeHtml": func(s string) htmltemplate.HTML { return htmltemplate.HTML(s) }, //nolint:gosec // what is tested
		"list":     func(v ...any) []any { return v },
	}
}

func guard() *guarded.Guard {
	return guarded.New(limits(), template.FuncMap{
		"join": guarded.Join, "toUpper": guarded.Text(strings.ToUpper), "match": guarded.Match, "reReplaceAll": guarded.ReplaceAll,
		"list": guarded.List, "append": guarded.Append, "dict": guarded.Dict,
	})
}

func functions() template.FuncMap {
	out := guard().Functions(func() guarded.Check { return func(int, int) error { return nil } })
	maps.Copy(out, plainFunctions())
	return out
}

func text(body string, f template.FuncMap) (string, error) {
	t, err := template.New("x").Option("missingkey=zero").Funcs(f).Parse(body)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, sample())
	return b.String(), err
}

func html(body string, f template.FuncMap) (string, error) {
	t, err := htmltemplate.New("x").Option("missingkey=zero").Funcs(f).Parse(body)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, sample())
	return b.String(), err
}

func wellBehaved() []string {
	return []string{
		"", "plain", " {{ .Title }} ", "{{ .Title | printf \"%s-%s\" .Title }}", "{{ $.Title }}{{ with .Labels }}{{ .a }}{{ $.Title }}{{ end }}",
		`{{ range .Alerts }}{{ .a }}{{ else }}none{{ end }}`, `{{ range $i, $a := .Alerts }}{{ if $i }}, {{ else }}first {{ end }}{{ $a.a }}{{ $.Labels.b }}{{ end }}`,
		`{{ define "t" }}[{{ . }}|{{ $ }}]{{ end }}{{ template "t" .Title }}{{ range .Alerts }}{{ template "t" .a }}{{ end }}{{ template "t" }}`,
		`{{ define "u" }}{{ if .Title }}{{ .Title }}{{ with .Labels }}{{ .a }}{{ end }}{{ else }}{{ .Labels }}{{ end }}{{ end }}{{ template "u" . }}`,
		`{{ block "b" .Labels }}in {{ .b }}{{ end }}`, `{{ .Labels.SortedPairs | len }}{{ range .Labels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}`,
		`{{ with .Labels.Remove .Labels.Names }}{{ .a }}{{ end }}`, `{{ .Labels.With "x" .Title }}{{ "y" | .Labels.With "x" }}`, `{{ join ", " .Labels.Names }}{{ .Labels.Names | join "/" | toUpper }}`,
		`{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}{{ $y := .Labels }}{{ $y.a }}`, `{{ range 3 }}{{ . }}{{ if eq . 1 }}{{ break }}{{ end }}{{ end }}`,
		`{{ range .Alerts }}{{ if eq .a "x" }}{{ continue }}{{ end }}{{ .a }}{{ end }}`, `{{ (index .Alerts 0).a }}{{ (.Labels).b }}`, `{{ .Nil }}{{ .Labels.missing }}`,
		`{{- /* c */ -}}  x  {{- "y" -}} z`, `{ {{- /* c */ -}} {x`, `{ {{- .Title -}} }`, `{{ if true }}{ {{- end }}{{ "{" }}`, "{{ `raw` }}{{ 'c' }}{{ 0x1f }}{{ 1.5 }}{{ true }}{{ nil | printf \"%v\" }}",
		`{{ html .Title }}{{ .Title | html }}{{ urlquery .URL }}{{ .URL | urlquery }}{{ print .Title "x" 1 2 }}{{ println .Title }}`, `{{ js .Title }}{{ .Title | js }}`,
		`{{ and .Title 0 }}{{ or "" .Title }}{{ not .Nil }}{{ eq 1 1 }}{{ len .Alerts }}{{ slice .Title 1 2 }}`, `{{ safeHtml "<i>" }}{{ .Title | safeHtml }}`,
		`{{ len (list 1 2 .Title) }}{{ range list 1 "a" }}{{ . }}{{ end }}`, `{{ with $x := .Title }}{{ $x }}{{ end }}{{ with .Nil }}a{{ else with .Title }}{{ . }}{{ end }}`,
		`{{ if .Nil }}{{ else if .Title }}{{ .Title }}{{ end }}`, `<a href="{{ .URL }}" title='{{ .Title }}' class={{ .Labels.a }}>{{ .Title }}</a>`,
		`<a href={{ if .Nil }}x{{ else }}{{ .URL }}{{ end }}>`, `<script>var x = {{ .Title }}; var y = {{ .Labels }}; f("{{ .Title }}")</script>`, `<style>p { color: {{ .Labels.b }} }</style>`,
		`{{ define "open" }}<a href="{{ end }}{{ define "close" }}">{{ end }}{{ template "open" }}{{ .URL }}{{ template "close" }}t</a>`, `<p {{ if .Title }}class="x"{{ end }}>`,
		`<a href="/x?q={{ .Title }}&r={{ range .Alerts }}{{ .a }},{{ end }}">`, `<!-- {{ .Title }} -->x`, `<textarea>{{ .Title }}</textarea>`,
	}
}

func TestGuardsChangeNothing(t *testing.T) {
	t.Parallel()
	g := guard()
	for _, body := range wellBehaved() {
		safe, err := g.Rewrite("x", body)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		for name, f := range map[string]func(string, template.FuncMap) (string, error){"text": text, "html": html} {
			want, wantErr := f(body, plainFunctions())
			got, err := f(safe, functions())
			if got != want || (err == nil) != (wantErr == nil) {
				t.Errorf("%s of %s\n as %s\n got %q, %v\nwant %q, %v", name, body, safe, got, err, want, wantErr)
			}
		}
	}
}

func TestAnEmptyTemplateStaysEmpty(t *testing.T) {
	t.Parallel()
	safe, err := guard().Rewrite("x", ` {{ define "a" }} {{ end }} `)
	if err != nil || safe != `{{define "a"}} {{end}}  ` {
		t.Errorf("%q, %v", safe, err)
	}
	safe, err = guard().Rewrite("x", `{{ define "x" }}1{{ end }}`)
	if err != nil || !strings.HasPrefix(safe, `{{define "x"}}`) {
		t.Errorf("%q, %v", safe, err)
	}
}

func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	double := `{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range 60 }}{{ $x = `
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"endless":         {`{{ range 1000000000000 }}{{ end }}`, guarded.ErrSteps},
		"endless text":    {`{{ range 1000000000000 }}xxxxxxxxxxxxxxxxxxxx{{ end }}`, guarded.ErrLong},
		"endless output":  {`{{ range 1000000000000 }}{{ $.Title }}{{ end }}`, guarded.ErrLong},
		"endless escaped": {`{{ range 1000000000000 }}{{ $.Title | html }}{{ end }}`, guarded.ErrLong},
		"nested":          {`{{ range 100000 }}{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}{{ end }}`, guarded.ErrSteps},
		"else":            {`{{ range 1000000000000 }}{{ if false }}{{ else }}y{{ end }}{{ end }}`, guarded.ErrSteps},
		"over data":       {`{{ range .Many }}{{ range $.Many }}{{ range $.Many }}{{ end }}{{ end }}{{ end }}`, guarded.ErrSteps},
		"recursive":       {`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, guarded.ErrDepth},
		"mutual":          {`{{ define "a" }}{{ template "b" . }}{{ end }}{{ define "b" }}{{ template "a" }}{{ end }}{{ template "a" . }}`, guarded.ErrDepth},
		"wide recursion":  {`{{ define "a" }}{{ if lt (len .) 90 }}{{ template "a" (print . "x") }}{{ template "a" (print . "x") }}{{ end }}{{ end }}{{ template "a" "" }}`, guarded.ErrSteps},
		"budget by range": {`{{ define "a" }}{{ range 1000 }}{{ end }}{{ end }}{{ range 1000 }}{{ template "a" . }}{{ end }}`, guarded.ErrSteps},
		"print":           {double + `print $x $x }}{{ end }}{{ $x }}`, guarded.ErrLong},
		"printf":          {double + `printf "%s%s" $x $x }}{{ end }}{{ $x }}`, guarded.ErrLong},
		"toUpper":         {`{{ $x := printf "%0999d" 1 }}{{ range 10000 }}{{ $x = toUpper $x }}{{ end }}`, guarded.ErrMade},
		"replace":         {double + `reReplaceAll "^(.*)$" "$1$1" $x }}{{ end }}{{ $x }}`, guarded.ErrLong},
		"matching":        {`{{ $x := printf "%0999d" 1 }}{{ range 9999 }}{{ $b := match "(0{100}0{100})?$" $x }}{{ end }}`, guarded.ErrMatching},
		"width":           {`{{ printf "%1000000000d" 1 }}`, guarded.ErrFormat},
		"star":            {`{{ printf "%*d" 1000000000 1 }}`, guarded.ErrFormat},
		"precision":       {`{{ printf "%.1000000000f" 1.0 }}`, guarded.ErrFormat},
		"list of lists":   {`{{ $x := list 1 }}{{ range 60 }}{{ $x = list $x $x $x $x $x $x $x $x }}{{ end }}{{ $x }}`, guarded.ErrLong},
		"append":          {`{{ $x := list 1 }}{{ range 9999 }}{{ $x = append $x 1 1 1 1 1 1 1 1 1 1 1 }}{{ end }}`, guarded.ErrMade},
		"method's text":   {`{{ $x := printf "%0999d" 1 }}{{ range 3 }}{{ $x = print $x $x }}{{ end }}{{ .Labels.With $x "" }}`, guarded.ErrLong},
		"method's pipe":   {`{{ $x := printf "%0999d" 1 }}{{ range 3 }}{{ $x = print $x $x }}{{ end }}{{ $x | .Labels.With "" }}`, guarded.ErrLong},
		"copies":          {`{{ range 9999 }}{{ $x := $.Labels.SortedPairs }}{{ $y := list $.Labels.SortedPairs }}{{ end }}`, guarded.ErrMade},
	} {
		safe, err := guard().Rewrite("x", c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for kind, f := range map[string]func(string, template.FuncMap) (string, error){"text": text, "html": html} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := f(safe, functions())
			runtime.ReadMemStats(&after)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || len(got) > 200<<10 { // escapes come after the count
				t.Errorf("%s as %s: %d bytes, %v", name, kind, len(got), err)
			}
			if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 200 {
				t.Logf("%s as %s: %d MiB", name, kind, made) // of all tests that run at the time
			}
		}
	}
}

func TestNamesOfTheGuardAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{{ __step 1 }}`, `{{ range 9 }}{{ __step $__f -1000 }}{{ end }}`, `{{ $__f := 1 }}`, `{{ $__d }}`, `{{ "x" | __data }}`, `{{ print (__frame 1) }}`,
		`{{ $x := 1 }}{{ $__s = 2 }}`, `{{ range $__f := .Alerts }}{{ end }}`, `{{ template "x" $y := 1 }}{{ define "x" }}1{{ end }}`, `{{ print __frame }}`, `{{ (__frame .).b }}`,
		strings.Repeat(`{{ if true }}`, 60) + strings.Repeat(`{{ end }}`, 60),
	} {
		if safe, err := guard().Rewrite("x", body); err == nil {
			t.Errorf("%s became %s", body, safe)
		}
	}
	if _, err := guard().Rewrite("some.tmpl", "a\n{{ __step }}"); err == nil || !strings.Contains(err.Error(), "some.tmpl:2:") || !errors.Is(err, guarded.ErrRefused) {
		t.Error(err)
	}
}

// TestNoActionHidesInText: what stays of texts when comments between them are gone must not be an action.
func TestNoActionHidesInText(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{ {{- /* */ -}} {range 1000000000000}}{ {{- /* */ -}} {end}}`, `{{ if true }}{ {{- end -}} {range 1000000000000}}{{ if true }}{ {{- end -}} {end}}`,
		`{ {{- /**/}}{template "a"}}{{ define "a" }}{ {{- /**/}}{template "a"}}{{ end }}`, `{ {{- define "x" }}{{ end -}} {range 99999999}}`,
	} {
		want, wantErr := text(body, plainFunctions())
		safe, err := guard().Rewrite("x", body)
		if err != nil {
			continue
		}
		if got, err := text(safe, functions()); got != want || err != nil || wantErr != nil {
			t.Errorf("%s\n as %s\n got %q, %v\nwant %q, %v", body, safe, got, err, want, wantErr)
		}
	}
}

func TestTheCheckEndsATemplate(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	for _, body := range []string{`{{ range 9999 }}{{ end }}`, `{{ range 20 }}{{ printf "%0999d" 1 }}{{ end }}`} {
		steps, bytes := 0, 0
		f := guard().Functions(func() guarded.Check {
			return func(s, b int) error {
				steps, bytes = steps+s, bytes+b
				if steps > 1000 || bytes > 10_000 {
					return enough
				}
				return nil
			}
		})
		safe, err := guard().Rewrite("x", body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := text(safe, f); !errors.Is(err, enough) || steps > 1100 || bytes > 15_000 {
			t.Errorf("%d steps, %d bytes, %v", steps, bytes, err)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	for _, body := range wellBehaved() {
		f.Add(body)
	}
	f.Add(`{ {{- /* */ -}} {range 1000000000000}}{{ end }}`)
	f.Add(`{{ define "a" }}{{ range 99999 }}{{ template "a" (printf "%099d" 1) }}{{ end }}{{ end }}{{ template "a" }}`)
	g := guard()
	f.Fuzz(func(t *testing.T, body string) {
		safe, err := g.Rewrite("x", body)
		if err != nil {
			return
		}
		got, err := text(safe, functions())
		if len(got) > 70<<10 {
			t.Errorf("%d bytes of %q", len(got), body)
		}
		if h, _ := html(safe, functions()); len(h) > 1<<20 {
			t.Errorf("%d bytes of HTML of %q", len(h), body)
		}
		if err != nil || strings.Contains(body, "range") || strings.Contains(body, "template") || strings.Contains(body, "block") || strings.Contains(body, "%") {
			return // it may have no end without guards
		}
		if want, wantErr := text(body, plainFunctions()); wantErr == nil && want != got {
			t.Errorf("%q\n as %q\n got %q\nwant %q", body, safe, got, want)
		}
	})
}
