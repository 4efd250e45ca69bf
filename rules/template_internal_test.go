package rules

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/tokiflow/tokiflow/core/guarded"
)

var errAsked = errors.New("asked in vain")

func sceneOf() scene {
	return scene{
		rule: "A", at: time.UnixMilli(1_700_000_000_000).UTC(), externalURL: &url.URL{Scheme: "http", Host: "x", Path: "/p"},
		query: func(_ context.Context, expr string, _ time.Time) (promql.Vector, error) {
			if expr == "bad" {
				return nil, errAsked
			}
			return promql.Vector{
				{F: 2, Metric: labels.FromStrings("job", "b", "__value__", "v")},
				{F: 1, Metric: labels.FromStrings("job", "a")},
			}, nil
		},
	}
}

func dataOf() any {
	return template.AlertTemplateData(map[string]string{"job": "j", "host": "db.example.org:9100"}, map[string]string{"dc": "x"}, "http://x/p", promql.Sample{F: 0.125})
}

// plainly expands a template as Prometheus does, without guards.
func plainly(s scene, value string) string {
	e := template.NewTemplateExpander(context.Background(), preamble+value, "__alert_A", dataOf(), model.TimeFromUnixNano(s.at.UnixNano()), s.query, s.externalURL, nil)
	out, err := e.Expand()
	if err != nil {
		return "<error expanding template: " + err.Error() + ">"
	}
	return out
}

func expand(t *testing.T, value string) string {
	t.Helper()
	return sceneOf().expand(t.Context(), newText("x", value, "A"), dataOf())
}

// wellBehaved are templates that must give what they give without guards.
func wellBehaved() []string {
	return []string{
		"", "plain", "{{ $value }}", "{{ $labels.job }} of {{ $labels.missing }}!", "{{ .Labels }}", "{{ $externalLabels.dc }} {{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
		"{{ $value | humanize }} {{ humanizePercentage $value }} {{ humanizeDuration 100 }} {{ humanize1024 2048 }} {{ 1e9 | humanizeTimestamp }}",
		`{{ range query "up" }}{{ .Labels.job }}={{ .Value }};{{ end }}`,
		`{{ range $i, $s := query "up" | sortByLabel "job" }}{{ if $i }}, {{ else }}first {{ end }}{{ $s.Labels.job }}{{ end }}`,
		`{{ with query "up" }}{{ . | first | value | printf "%.2f" }} {{ . | first | label "job" }} {{ first . | strvalue }}{{ else }}none{{ end }}`,
		`{{ if eq $labels.job "x" }}1{{ else if eq $labels.job "j" }}2{{ else }}3{{ end }}`,
		`{{ define "t" }}[{{ .arg0 }}{{ .arg1 }}{{ .arg7 }}]{{ end }}{{ template "t" (args 1 "two") }}`,
		`{{ block "b" . }}in {{ .Value }}{{ end }}`,
		`{{- /* a comment */ -}}  trimmed  {{- "x" -}}  `,
		`{{ $x := 1 }}{{ range 3 }}{{ $x = printf "%v%d" $x . }}{{ end }}{{ $x }}`,
		`{{ range $i := 5 }}{{ if eq $i 2 }}{{ continue }}{{ end }}{{ if eq $i 4 }}{{ break }}{{ end }}{{ $i }}{{ end }}`,
		`{{ reReplaceAll "(.)b" "$1-${1}" "abab" }} {{ reReplaceAll "x*" "-" "abc" }} {{ match "^a.c$" "abc" }}`,
		`{{ toUpper "a" }}{{ title "abc def" }}{{ stripPort $labels.host }}{{ stripDomain $labels.host }}{{ urlQueryEscape "a b" }}`,
		`{{ graphLink "up" }} {{ tableLink "up{a=\"b\"}" }}`, `{{ html "<b>" }}{{ js "'" }}{{ urlquery "ä" }}{{ print 1 2 "x" }}{{ println 3 }}`,
		`{{ safeHtml "<b>" }} {{ printf "%-10s|%5.1f|%03d|%q|%%" "a" 1.25 7 "x" }}`, `{{ "{{" }} {{ "a\"}}" }} {{ '\n' }} {{ 0x1f }} {{ 1.5e3 }} {{ true }}`,
		"{{ toTime $value }} {{ toDuration 1.5 }} {{ parseDuration \"1h\" }} {{ now }}", "{{ len $labels }} {{ index $labels \"job\" }} {{ slice \"abc\" 1 2 }}",
		`{{ and 1 0 }}{{ or 0 "x" }}{{ not true }}{{ lt 1 2 }}`, "{{ `raw` }}", "{{ with $x := 5 }}{{ $x }}{{ end }}",
		`{{ with (index (query "up") 0).Labels }}{{ .job }}{{ end }}`,
	}
}

func TestGuardsChangeNothingOfWhatTemplatesGive(t *testing.T) {
	t.Parallel()
	for _, value := range wellBehaved() {
		if got, want := expand(t, value), plainly(sceneOf(), value); got != want {
			t.Errorf("%s\n got %q\nwant %q", value, got, want)
		}
	}
}

func TestTemplatesThatFailSaySo(t *testing.T) {
	t.Parallel()
	for value, words := range map[string]string{
		`{{ query "bad" }}`:                     "asked in vain",
		`{{ first (query "x" | sortByLabel) }}`: "wrong number of args",
		`{{ $nope }}`:                           "undefined variable",
		`{{ nope }}`:                            "not defined",
		`{{ if }}`:                              "missing value",
		`{{ humanize "x" }}`:                    "humanize",
		`{{ reReplaceAll "(" "" "" }}`:          "missing closing",
		`{{ template "none" }}`:                 "not defined",
		`{{ index $labels 1 2 }}`:               "index",
	} {
		got := expand(t, value)
		if !strings.HasPrefix(got, "<error expanding template: ") || !strings.Contains(got, words) {
			t.Errorf("%s: %q does not say %q", value, got, words)
		}
	}
}

// TestHostileTemplates wants each of them to end soon, and with little.
func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	double := `{{ $x := "xxxxxxxxxxxxxxxx" }}{{ range 60 }}{{ $x = `
	for name, value := range map[string]string{
		"endless":           `{{ range 1000000000000 }}{{ end }}`,
		"endless text":      `{{ range 1000000000000 }}xxxxxxxxxxxxxxxxxxxx{{ end }}`,
		"endless else":      `{{ range 1000000000000 }}{{ if false }}{{ else }}y{{ end }}{{ end }}`,
		"nested":            `{{ range 100000 }}{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}{{ end }}`,
		"recursive":         `{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`,
		"recursive twice":   `{{ define "a" }}{{ template "a" . }}{{ template "a" . }}{{ end }}{{ template "a" . }}`,
		"doubling printf":   double + `printf "%s%s" $x $x }}{{ end }}{{ $x }}`,
		"doubling print":    double + `print $x $x }}{{ end }}{{ $x }}`,
		"doubling println":  double + `println $x $x }}{{ end }}{{ $x }}`,
		"doubling regexp":   double + `reReplaceAll "^(.*)$" "$1$1" $x }}{{ end }}{{ $x }}`,
		"doubling html":     double + `html (html $x) "&&&&&&&&" $x }}{{ end }}{{ $x }}`,
		"doubling safeHtml": double + `safeHtml (printf "%s%s" $x $x) }}{{ end }}{{ $x }}`,
		"doubling escapes":  `{{ $x := "%" }}{{ range 100 }}{{ $x = urlQueryEscape $x }}{{ $x = printf "%s%s" $x $x }}{{ end }}{{ $x }}`,
		"doubling js":       `{{ $x := "'" }}{{ range 100 }}{{ $x = js $x $x }}{{ end }}{{ $x }}`,
		"nested args":       `{{ $x := args 1 }}{{ range 60 }}{{ $x = args $x $x }}{{ end }}{{ $x }}`,
		"deep args":         `{{ $x := args 1 }}{{ range 100000 }}{{ $x = args $x }}{{ end }}{{ $x }}`,
		"width":             `{{ printf "%1000000000d" 1 }}`,
		"precision":         `{{ printf "%.1000000000f" 1.0 }}`,
		"star":              `{{ printf "%*d" 1000000000 1 }}`,
		"indexes":           `{{ $x := printf "%0999d" 1 }}{{ range 6 }}{{ $x = printf "%s%s" $x $x }}{{ end }}{{ printf "` + strings.Repeat("%[1]s", 5000) + `" $x }}`,
		"regexp":            `{{ reReplaceAll "" "` + strings.Repeat("$0y", 10000) + `" "` + strings.Repeat("z", 10000) + `" }}`,
		"costly pattern":    `{{ $x := printf "%0999d" 1 }}{{ range 5 }}{{ $x = printf "%s%s" $x $x }}{{ end }}{{ match "` + strings.Repeat("(0{500}0{500})?", 60) + `$" $x }}`,
		// Joined by the trimming of the comment, the braces would be an action that nobody guards.
		"hidden action": `{ {{- /**/ -}} {range 1000000000000}}{ {{- /**/ -}} {end}}{{ range 1000000000000 }}{{ end }}`,
		"negative step": `{{ range 1000000000000 }}{{ __step -1000000 }}{{ end }}`,
		"long pattern":  `{{ match "` + strings.Repeat("x", 2000) + `" "x" }}`,
	} {
		began := time.Now()
		got := expand(t, value)
		if !strings.HasPrefix(got, "<error expanding template: ") || len(got) > maxOutput {
			t.Errorf("%s: %d bytes: %.100s", name, len(got), got)
		}
		if took := time.Since(began); took > 20*time.Second { // most take a few milliseconds
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestATemplateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := sceneOf()
	asked := 0
	s.query = func(context.Context, string, time.Time) (promql.Vector, error) {
		if asked++; asked == 10 {
			cancel(errAsked)
		}
		return nil, nil
	}
	got := s.expand(ctx, newText("x", `{{ range 100000 }}{{ query "x" }}{{ end }}`, "A"), dataOf())
	if !strings.HasPrefix(got, "<error") || asked > 100 {
		t.Errorf("asked %d times: %s", asked, got)
	}
}

func TestLongTextIsCut(t *testing.T) {
	t.Parallel()
	if got := expand(t, strings.Repeat("ä", maxOutput)); len(got) > maxOutput+3 {
		t.Errorf("%d bytes", len(got))
	}
	if got := expand(t, "a\x00b\xff"); strings.ContainsAny(got, "\x00") || got != "a\uFFFDb\uFFFD" {
		t.Errorf("%q", got)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, value := range wellBehaved() {
		f.Add(value)
	}
	f.Add(`{{ range 100000 }}{{ printf "%5000d" 1 }}{{ end }}`)
	f.Fuzz(func(t *testing.T, value string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if got := sceneOf().expand(ctx, newText("x", value, "A"), dataOf()); len(got) > maxOutput+3 {
			t.Errorf("%d bytes of %q", len(got), value)
		}
	})
}

// TestPrintingWhatAQueryGives: a format that prints a long result thousands of times must be refused before it is printed.
func TestPrintingWhatAQueryGives(t *testing.T) {
	s := sceneOf()
	s.query = func(context.Context, string, time.Time) (promql.Vector, error) {
		v := make(promql.Vector, 5000)
		for i := range v {
			v[i].Metric = labels.FromStrings("job", strings.Repeat("x", 100))
		}
		return v, nil
	}
	many := strings.Repeat("%[1]v", 2000)
	for _, value := range []string{
		`{{ printf "` + many + `" (query "x") }}`,
		`{{ printf "` + many + `" (args (query "x")) }}`,
		`{{ print (query "x") (query "x") }}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := s.expand(t.Context(), newText("x", value, "A"), dataOf())
		runtime.ReadMemStats(&after)
		if !strings.Contains(got, guarded.ErrLong.Error()) || after.TotalAlloc-before.TotalAlloc > 200<<20 {
			t.Errorf("%.60s: %d MiB, %.100s", value, (after.TotalAlloc-before.TotalAlloc)>>20, got)
		}
	}
	if got := s.expand(t.Context(), newText("x", `{{ len (query "x") }} {{ (query "x" | first).Labels.job | len }}`, "A"), dataOf()); got != "5000 100" {
		t.Error(got)
	}
}
