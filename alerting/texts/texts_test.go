package texts_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	"golang.org/x/net/html"

	"github.com/tokiflow/tokiflow/alerting/texts"
)

func load(t testing.TB) *template.Template {
	t.Helper()
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := texts.Parse(tmpl); err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = &url.URL{Scheme: "https", Host: "toki.example", Path: "/alertmanager"}
	return tmpl
}

func anAlert(i int, name, output string, resolved bool) *amalert.Alert {
	start := time.Date(2026, 1, 1, 2, 0, i, 0, time.UTC)
	a := &amalert.Alert{Alert: model.Alert{
		Labels: model.LabelSet{
			"alertname": "MonitorMissed", "monitor": model.LabelValue(name), "project": "billing", "severity": "critical", "n": model.LabelValue(fmt.Sprint(i)),
		},
		Annotations: model.LabelSet{
			"summary": model.LabelValue(name + " missed its deadline"), "description": model.LabelValue("Due: 2026-01-01T01:55:00Z\nOutput: " + output),
			"evidence": `{"exit_code":3}`,
		},
		StartsAt: start, EndsAt: start.Add(1000 * time.Hour), GeneratorURL: "https://toki.example/api/v1/incidents/" + fmt.Sprint(i),
	}}
	if resolved {
		a.EndsAt = start.Add(90 * time.Minute)
	} else {
		a.EndsAt = time.Time{}
	}
	return a
}

func group(name, output string, firing, resolved int) []*amalert.Alert {
	var out []*amalert.Alert
	for i := range firing {
		out = append(out, anAlert(i, fmt.Sprintf("%s %d", name, i), output, false))
	}
	for i := range resolved {
		out = append(out, anAlert(firing+i, fmt.Sprintf("%s %d", name, firing+i), output, true))
	}
	return out
}

// groups are what messages are made of.
func groups(name, output string) map[string][]*amalert.Alert {
	return map[string][]*amalert.Alert{
		"one firing": group(name, output, 1, 0), "one resolved": group(name, output, 0, 1), "thirty firing": group(name, output, 30, 0),
		"mixed": group(name, output, 2, 3), "many": group(name, output, 3000, 1000),
	}
}

func render(t testing.TB, tmpl *template.Template, name string, asHTML bool, alerts []*amalert.Alert) string {
	t.Helper()
	data := tmpl.Data("ops", model.LabelSet{"project": "billing"}, nil, "first notification", alerts...)
	execute := tmpl.ExecuteTextString
	if asHTML {
		execute = tmpl.ExecuteHTMLString
	}
	text, err := execute(`{{ template "`+name+`" . }}`, data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return text
}

// messages are the templates that say it all, with the longest a service takes, in characters; 0: it is cut by the notifier.
func messages() map[string]int {
	return map[string]int{
		"slack.default.text": 0, "discord.default.message": 4096, "msteams.default.text": 20000, "msteamsv2.default.text": 20000,
		"telegram.default.message": 4096, "pushover.default.message": 0, "webex.default.message": 7439, "opsgenie.default.description": 15000,
		"victorops.default.state_message": 20480, "sns.default.message": 0, "wechat.default.message": 20000, "jira.default.description": 32767,
		"rocketchat.default.text": 5000, "mattermost.default.text": 16383,
	}
}

func TestMessagesSayWhatIsWrong(t *testing.T) {
	tmpl := load(t)
	for name, most := range messages() {
		for what, alerts := range groups("nightly backup", "disk full") {
			text := render(t, tmpl, name, name == "telegram.default.message", alerts)
			for _, w := range wanted(what) {
				if !strings.Contains(text, w) {
					t.Errorf("%s of %s does not say %q:\n%s", name, what, w, text)
				}
			}
			if n := utf8.RuneCountInString(text); most > 0 && n > most {
				t.Errorf("%s of %s has %d characters, %d are taken", name, what, n, most)
			}
			if strings.Contains(text, "\n\n\n\n") || strings.Contains(text, "<no value>") || strings.Contains(text, "%!") {
				t.Errorf("%s of %s reads badly:\n%s", name, what, text)
			}
		}
	}
}

func wanted(what string) []string {
	switch what {
	case "one firing":
		return []string{"nightly backup 0 missed its deadline", "billing", "critical", "since 2026-01-01 02:00:00 UTC", "disk full", "https://toki.example/api/v1/incidents/0"}
	case "one resolved":
		return []string{"nightly backup 0", "resolved 2026-01-01 03:30:00 UTC after 1h 30m 0s", "https://toki.example/api/v1/incidents/0"}
	case "thirty firing":
		return []string{"nightly backup 0", "nightly backup 9", "the first 10 of 30"}
	case "mixed":
		return []string{"nightly backup 1", "since 2026", "nightly backup 4", "resolved 2026"}
	}
	return []string{"the first 10 of 3000", "the first 10 of 1000"}
}

func TestSubjects(t *testing.T) {
	tmpl := load(t)
	for what, want := range map[string]string{
		"one firing": "[FIRING] nightly backup 0 missed its deadline", "one resolved": "[RESOLVED] nightly backup 0 missed its deadline",
		"thirty firing": "[FIRING:30] billing: nightly backup 0, nightly backup 1, nightly backup 2 and others",
		"mixed":         "[FIRING:2] billing: nightly backup 0, nightly backup 1, nightly backup 2 and others",
	} {
		alerts := groups("nightly backup", "disk full")[what]
		for _, name := range []string{
			"__subject", "email.default.subject", "slack.default.title", "pagerduty.default.description", "opsgenie.default.message", "victorops.default.entity_display_name",
			"pushover.default.title", "discord.default.title", "msteams.default.title", "msteams.default.summary", "msteamsv2.default.title",
			"jira.default.summary", "rocketchat.default.title", "mattermost.default.title",
		} {
			if got := render(t, tmpl, name, false, alerts); got != want {
				t.Errorf("%s of %s: %q, want %q", name, what, got, want)
			}
		}
	}
	if got := render(t, tmpl, "pagerduty.default.client", false, group("a", "b", 1, 0)); got != "Tokiflow" {
		t.Errorf("client %q", got)
	}
	if got := render(t, tmpl, "__alertmanagerURL", false, group("a", "b", 1, 0)); got != "https://toki.example/api/v1/incidents/0" {
		t.Errorf("link of one: %q", got)
	}
	if got := render(t, tmpl, "__alertmanagerURL", false, group("a", "b", 2, 0)); got != "https://toki.example/alertmanager" {
		t.Errorf("link of two: %q", got)
	}
}

// hostile is a name that means something in every markup.
const hostile = `<b>x</b> & [y](http://z.example) *a* _b_ ~c~ <!channel> <@U1> @here |d| #e` + " `f` ```g```"

func TestSubjectsOfSNSAreTaken(t *testing.T) {
	tmpl := load(t)
	for what, alerts := range groups(strings.Repeat("ü\n", 200), "x") {
		got := render(t, tmpl, "sns.default.subject", false, alerts)
		if len(got) > 99 || regexp.MustCompile(`[^ -~]`).MatchString(got) {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestTelegramIsHTMLThatItTakes(t *testing.T) {
	tmpl := load(t)
	for what, alerts := range groups(hostile, hostile+"</pre><script>") {
		text := render(t, tmpl, "telegram.default.message", true, alerts)
		var open []string
		z := html.NewTokenizer(strings.NewReader(text))
		for z.Next() != html.ErrorToken {
			token := z.Token()
			switch token.Type {
			case html.StartTagToken:
				if token.Data != "b" && token.Data != "pre" {
					t.Errorf("%s: <%s> came through:\n%s", what, token.Data, text)
				}
				open = append(open, token.Data)
			case html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != token.Data {
					t.Errorf("%s: </%s> closes nothing", what, token.Data)
					break
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) != 0 {
			t.Errorf("%s: %v is left open", what, open)
		}
	}
}

func TestMarkdownKeepsItsMeaning(t *testing.T) {
	tmpl := load(t)
	bare := regexp.MustCompile("(^|[^\\\\])(\\[y\\]|\\*a|_b|~c|<b>|<!|<@|`f)")
	for _, name := range []string{
		"discord.default.message", "msteams.default.text", "msteamsv2.default.text", "webex.default.message", "rocketchat.default.text", "mattermost.default.text",
	} {
		for what, alerts := range groups(hostile, hostile) {
			text := render(t, tmpl, name, false, alerts)
			if n := strings.Count(text, "```"); n%2 != 0 {
				t.Errorf("%s of %s: %d fences", name, what, n)
			}
			outside := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
			if found := bare.FindString(outside); found != "" {
				t.Errorf("%s of %s: %q has its meaning:\n%s", name, what, found, outside)
			}
		}
	}
}

func TestSlackCallsNobody(t *testing.T) {
	tmpl := load(t)
	for what, alerts := range groups(hostile, hostile) {
		text := render(t, tmpl, "slack.default.text", false, alerts)
		for _, m := range regexp.MustCompile(`<[^>]*>`).FindAllString(text, -1) {
			if !strings.HasPrefix(m, "<https://toki.example/") {
				t.Errorf("%s: %s came through", what, m)
			}
		}
		if strings.Count(text, "```")%2 != 0 {
			t.Errorf("%s: fences", what)
		}
	}
}

// An alert that somebody posted may lack everything.
func TestBareAlerts(t *testing.T) {
	tmpl := load(t)
	bare := []*amalert.Alert{{Alert: model.Alert{Labels: model.LabelSet{"alertname": "HostDown"}, StartsAt: time.Unix(0, 0)}}}
	names := []string{"__subject", "__alertmanagerURL", "sns.default.subject", "email.default.subject"}
	for name := range messages() {
		names = append(names, name)
	}
	for _, name := range names {
		text := render(t, tmpl, name, name == "telegram.default.message", bare)
		if name != "__alertmanagerURL" && !strings.Contains(text, "HostDown") {
			t.Errorf("%s: %q", name, text)
		}
	}
	nameless := []*amalert.Alert{{Alert: model.Alert{Labels: model.LabelSet{"a": "b"}, StartsAt: time.Unix(0, 0)}}}
	for _, name := range names {
		if text := render(t, tmpl, name, false, nameless); strings.Contains(text, "<no value>") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// Every default template of Alertmanager's that is a message renders in both forms: an organisation may use it in its own.
func TestBothForms(t *testing.T) {
	tmpl := load(t)
	names := []string{"email.default.html", "pagerduty.default.clientURL", "slack.default.fallback", "mattermost.default.fallback"}
	for name := range messages() {
		names = append(names, name)
	}
	slices.Sort(names)
	for what, alerts := range groups(hostile, hostile) {
		for _, name := range names {
			for _, asHTML := range []bool{false, true} {
				if text := render(t, tmpl, name, asHTML, alerts); text == "" || strings.Contains(text, "ZgotmplZ") {
					t.Errorf("%s of %s: %.100q", name, what, text)
				}
			}
		}
	}
	instances := tmpl.Data("ops", nil, nil, "", group("a", "b", 2, 0)...)
	text, err := tmpl.ExecuteTextString(`{{ template "pagerduty.default.instances" .Alerts.Firing }}`, instances)
	if err != nil || !strings.Contains(text, "a 1 missed its deadline") {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := json.Marshal(text); err != nil {
		t.Error(err)
	}
}
