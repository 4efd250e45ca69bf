package discord_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/discord"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func node(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n.Content[0]
}

// connected is a story whose channel ops is connected, and a notifier to it.
func connected(t *testing.T, more string) (*story, notify.Notifier) {
	t.Helper()
	s := newStory(t)
	if status, _, body := s.get(s.browser, "/api/discord/callback?code=good&state="+s.begin(s.browser, "ops"), ""); status != http.StatusOK {
		t.Fatal(body)
	}
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.app.Factory(s.org)(config.Entry{Node: node(t, "connection: ops\n"+more)}, tmpl)
	if err != nil {
		t.Fatal(err)
	}
	return s, n
}

func anAlert(name, severity string, over bool) *amalert.Alert {
	a := &amalert.Alert{Alert: model.Alert{
		Labels: model.LabelSet{"alertname": "MonitorFailed", "monitor": model.LabelValue(name), "project": "billing", "severity": model.LabelValue(severity)},
		Annotations: model.LabelSet{
			"summary": model.LabelValue(name + " failed with exit status 3"), "evidence": "{\"exit_code\":3,\"output\":\"no ```space``` left\"}", "acknowledged_by": "anna",
		},
		StartsAt: time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC), GeneratorURL: "https://toki.example/i/1",
	}}
	if over {
		a.EndsAt = a.StartsAt.Add(90 * time.Minute)
	}
	return a
}

func (s *story) lastEmbeds() (content string, embeds []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.posted[len(s.posted)-1]
	content, _ = m["content"].(string)
	for _, e := range m["embeds"].([]any) {
		embeds = append(embeds, e.(map[string]any))
	}
	return content, embeds
}

func TestAMessage(t *testing.T) {
	s, n := connected(t, "mention: '@here'")
	if _, err := n.Notify(t.Context(), anAlert("done", "critical", true), anAlert("backup", "critical", false), anAlert("slow *job*", "warning", false)); err != nil {
		t.Fatal(err)
	}
	content, embeds := s.lastEmbeds()
	if content != "@here **2 firing, 1 resolved**" || len(embeds) != 3 {
		t.Fatalf("%q, %v", content, embeds)
	}
	red, orange, green := embeds[0], embeds[1], embeds[2] // the firing ones first
	if red["title"] != "🔴 backup" || red["color"] != 13840175.0 || red["timestamp"] != "2026-01-01T02:00:00Z" || red["url"] != "https://toki.example/i/1" {
		t.Errorf("%v", red)
	}
	text := fmt.Sprint(red)
	for _, w := range []string{"backup failed with exit status 3", "billing", "critical", "<t:1767232800:R>", "Acknowledged by", "anna", "Exit status", "no '''space''' left"} {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q: %s", w, text)
		}
	}
	if orange["color"] != 16088064.0 || !strings.Contains(fmt.Sprint(orange["description"]), `slow \*job\*`) {
		t.Errorf("%v", orange)
	}
	if green["title"] != "🟢 done" || green["color"] != 3706428.0 || green["timestamp"] != "2026-01-01T03:30:00Z" || !strings.Contains(fmt.Sprint(green), "1h30m0s") {
		t.Errorf("%v", green)
	}
	if got := fmt.Sprint(s.posted[0]["allowed_mentions"]); got != "map[parse:[everyone]]" {
		t.Errorf("mentions %s", got)
	}
	if _, err := n.Notify(t.Context(), anAlert("@everyone <@1>", "critical", true)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.posted[1]["allowed_mentions"]); got != "map[parse:[]]" { // nothing fires: nobody is called
		t.Errorf("mentions %s", got)
	}
}

func TestRolesAreCalled(t *testing.T) {
	s, n := connected(t, "mention: '1234567'")
	if _, err := n.Notify(t.Context(), anAlert("a", "critical", false)); err != nil {
		t.Fatal(err)
	}
	if content, _ := s.lastEmbeds(); content != "<@&1234567>" || fmt.Sprint(s.posted[0]["allowed_mentions"]) != "map[parse:[] roles:[1234567]]" {
		t.Errorf("%q, %v", content, s.posted[0])
	}
}

func TestManyAlertsFit(t *testing.T) {
	s, n := connected(t, "")
	for _, count := range []int{9, 10, 11, 3000} {
		var many []*amalert.Alert
		for i := range count {
			many = append(many, anAlert(strings.Repeat("ü", 2000)+fmt.Sprint(i), "critical", false))
		}
		if _, err := n.Notify(t.Context(), many...); err != nil {
			t.Fatal(err)
		}
		_, embeds := s.lastEmbeds()
		size := 0
		for _, e := range embeds {
			size += utf8.RuneCountInString(fmt.Sprint(e["title"], e["description"]))
			fields, _ := e["fields"].([]any) // the last has none
			for _, f := range fields {
				size += utf8.RuneCountInString(fmt.Sprint(f.(map[string]any)["name"], f.(map[string]any)["value"]))
			}
			if len([]rune(fmt.Sprint(e["title"]))) > 256 {
				t.Errorf("a title of %d", len([]rune(fmt.Sprint(e["title"]))))
			}
		}
		if len(embeds) > 10 || size > 6000 {
			t.Errorf("%d alerts: %d embeds of %d characters", count, len(embeds), size)
		}
		if last := fmt.Sprint(embeds[len(embeds)-1]["title"]); !strings.HasPrefix(last, "… and ") {
			t.Errorf("%d alerts: the last is %q", count, last)
		}
	}
}

func TestEveryStatus(t *testing.T) {
	s, n := connected(t, "")
	status := 0
	s.answer = func(w http.ResponseWriter) { w.WriteHeader(status) }
	for status = 200; status <= 599; status++ {
		retry, err := n.Notify(t.Context(), anAlert("a", "critical", false))
		if want := status >= 500 || slices.Contains([]int{408, 425, 429}, status); retry != want || (err == nil) != (status <= 299) {
			t.Errorf("%d: %t, %v", status, retry, err)
		}
		if err == nil {
			continue
		}
		var coded interface{ StatusCode() int }
		if !errors.As(err, &coded) || coded.StatusCode() != status || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%d: %v", status, err)
		}
	}
	s.answer = func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"message":"You are being rate limited.","retry_after":64.57,"global":false}`)
	}
	_, err := n.Notify(t.Context(), anAlert("a", "critical", false))
	var asked interface{ RetryAfter() time.Duration }
	if !errors.As(err, &asked) || asked.RetryAfter().Round(time.Millisecond) != 64570*time.Millisecond {
		t.Errorf("%v", err)
	}
	s.answer = func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
	if _, err := n.Notify(t.Context(), anAlert("a", "critical", false)); err == nil || !strings.Contains(err.Error(), `connect "ops" again`) {
		t.Errorf("%v", err)
	}
}

func TestAConnectionThatIsGone(t *testing.T) {
	s, n := connected(t, "")
	c := s.store.connections[s.org.String()+"ops"]
	c.Name = "other"
	s.store.connections[s.org.String()+"other"] = c // a sealed URL belongs to its name
	other, err := s.app.Factory(s.org)(config.Entry{Node: node(t, "connection: other")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if retry, err := other.Notify(t.Context(), anAlert("a", "critical", false)); err == nil || retry {
		t.Errorf("%t, %v", retry, err)
	}
	delete(s.store.connections, s.org.String()+"ops")
	if retry, err := n.Notify(t.Context(), anAlert("a", "critical", false)); err == nil || retry || !strings.Contains(err.Error(), `"ops"`) {
		t.Errorf("%t, %v", retry, err)
	}
}

func TestCheck(t *testing.T) {
	k := discord.Kind()
	for text, words := range map[string]string{
		"connection: ops": "", "{connection: ops, mention: '@everyone', send_resolved: false}": "", "": "empty", "{}": "connection", "connection: Ops": "connection",
		"{connection: ops, mention: bob}": "mention", "{connection: ops, url: x}": "url",
	} {
		err := k.Check(node(t, text), false)
		if (err == nil) != (words == "") || (err != nil && !strings.Contains(err.Error(), words)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("connection: ops\nmention: '@here'")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) == 0 || discord.Kind().Check(n.Content[0], false) != nil {
			return
		}
		var e struct{ Connection string }
		if err := n.Content[0].Decode(&e); err != nil || e.Connection == "" {
			t.Errorf("%q, %v", e.Connection, err)
		}
	})
}
