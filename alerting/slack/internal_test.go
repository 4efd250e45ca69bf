package slack

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/nflog"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestParseCommand(t *testing.T) {
	for text, want := range map[string]command{
		"":                                {verb: verbHelp},
		"  status  ":                      {verb: verbStatus},
		"list":                            {verb: verbList},
		"list two words":                  {verb: verbList, name: "two words"},
		"pause nightly backup":            {verb: verbPause, name: "nightly backup"},
		`pause "nightly backup"`:          {verb: verbPause, name: "nightly backup"},
		"Resume “curly”":                  {verb: verbResume, name: "curly"},
		"silence backup 1h":               {verb: verbSilence, name: "backup", length: time.Hour},
		"silence the backup 1h30m why?":   {verb: verbSilence, name: "the backup", length: 90 * time.Minute, comment: "why?"},
		`silence "backup 1h" 1d a  b`:     {verb: verbSilence, name: "backup 1h", length: 24 * time.Hour, comment: "a b"},
		"silence backup 1H":               {verb: verbSilence, name: "backup", length: time.Hour},
		"silence 1h 2h":                   {verb: verbSilence, name: "1h", length: 2 * time.Hour},
		"ack backup":                      {verb: verbAck, name: "backup"},
		"org:acme ack backup":             {verb: verbAck, org: "acme", name: "backup"},
		`ORG:"Acme Inc" status`:           {verb: verbStatus, org: "Acme Inc"},
		"org:acme":                        {verb: verbHelp, org: "acme"},
		`pause "never closed`:             {verb: verbPause, name: "never closed"},
		"silence\u00a0backup\u00a04h x y": {verb: verbSilence, name: "backup", length: 4 * time.Hour, comment: "x y"},
	} {
		got, err := parseCommand(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"pause", "resume  ", "ack \"\"", "silence", "silence backup", "silence 1h", "silence backup soon", "silence backup 0s", "silence backup 500d",
		"frobnicate", "org: status", "org:", "a\x00", "\xff", strings.Repeat("x", 2000), `silence backup "1h"`,
	} {
		if got, err := parseCommand(text); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"", "status", "list x", `silence "a b" 1h c`, "org:acme pause x", "silence a 1h", "“", "org:\"a\" ack b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCommand(text)
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid || !utf8.ValidString(fault.MessageOf(err)) || len(fault.MessageOf(err)) > 1000 {
				t.Errorf("%v", err)
			}
			return
		}
		switch c.verb {
		case verbPause, verbResume, verbAck:
			if c.name == "" {
				t.Error("no name")
			}
		case verbSilence:
			if c.name == "" || c.length <= 0 || c.length > maxSilence {
				t.Errorf("%+v", c)
			}
		case verbHelp, verbStatus, verbList:
		default:
			t.Errorf("%q is no verb", c.verb)
		}
	})
}

func TestEscaping(t *testing.T) {
	for in, want := range map[string]string{
		"a < b & c > d":            "a &lt; b &amp; c &gt; d",
		"<!channel> <@U1>":         "&lt;!channel&gt; &lt;@U1&gt;",
		"@channel @HERE @you":      "@\u2060channel @\u2060HERE @you",
		"@everyone@group":          "@\u2060everyone@\u2060group",
		"a\u202eb\x00c\x1bd\u200f": "abcd",
		"two\nlines":               "two\nlines",
		"bad \xff byte":            "bad  byte",
		"é 🔴":                      "é 🔴",
	} {
		if got := mrkdwn(in, 1000); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := plain("<b>\n two", 100); got != "‹b› two" {
		t.Errorf("%q", got)
	}
	if got := code("``` <x> `", 100); got != "''' &lt;x&gt; '" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		in   string
		most int
		want string
	}{{"abcdef", 6, "abcdef"}, {"abcdefg", 6, "abcde…"}, {"a&", 6, "a&amp;"}, {"a&&", 6, "a…"}, {"🔴🔴", 4, "🔴🔴"}, {"🔴🔴🔴", 4, "🔴…"}, {"", 5, ""}} {
		if got := mrkdwn(c.in, c.most); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("<!channel> & @here", 20)
	f.Add("a&b", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = max(1, min(most, 5000))
		for _, got := range []string{mrkdwn(s, most), plain(s, most), code(s, most)} {
			if n := len(utf16.Encode([]rune(got))); n > most {
				t.Errorf("%d characters of %d: %q", n, most, got)
			}
			if !utf8.ValidString(got) || strings.ContainsAny(got, "<>\x00") || strings.Contains(strings.ToLower(got), "@channel") {
				t.Errorf("%q", got)
			}
		}
	})
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 850 * time.Millisecond: "850 ms", 1500 * time.Millisecond: "1.5 s", 42 * time.Second: "42 s", time.Minute: "1 min",
		754 * time.Second: "12 min 34 s", 5 * time.Hour: "5 h", 26*time.Hour + time.Minute: "1 d 2 h", -time.Minute: "1 min",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestDraw(t *testing.T) {
	run := func(o monitor.Outcome, d time.Duration) history.Run {
		return history.Run{Run: monitor.Run{Outcome: o, Duration: d}}
	}
	runs := []history.Run{ // the youngest first
		run(monitor.Missed, -1), run(monitor.Failed, time.Hour), run(monitor.Succeeded, 80*time.Second), run(monitor.Succeeded, 40*time.Second),
		run(monitor.Abandoned, -1), run(monitor.Unknown, -1), run(monitor.Succeeded, -1), run(monitor.Succeeded, 0),
	}
	if got := draw(runs); got != "▁▁––▄█✕·" {
		t.Errorf("%s", got)
	}
	if draw(nil) != "" {
		t.Error("nothing draws something")
	}
}

func TestEntries(t *testing.T) {
	kind := Kind()
	if kind.Name != "slack_app" || kind.Key != "slack_app_configs" {
		t.Errorf("%+v", kind)
	}
	check := func(text string) error {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		return kind.Check(n.Content[0], false)
	}
	for _, text := range []string{
		"{}", "{channel: '#ops'}", "{channel: C024BE91L, send_resolved: false}", "{channel: '#größe_1', mention: '@here'}", "null",
		"{mention: '@channel U024BE7LH <x>'}"[:28] + "'}", "{mention: 'S0614TZR7 @everyone'}",
	} {
		if err := check(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, says := range map[string]string{
		"{channel: ops}": "channel", "{channel: '#a b'}": "channel", "{channel: '#'}": "channel", "{channel: '<!here>'}": "channel",
		"{chanel: '#ops'}": "chanel: unknown key", "[]": "mapping", "text": "mapping", "{mention: ada}": "mention", "{mention: '<!here>'}": "mention",
		"{send_resolved: sometimes}": "cannot be read", "{channel: [1]}": "cannot be read", "{mention: '" + strings.Repeat("@here ", 11) + "'}": "at most 10",
	} {
		if err := check(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestThreadsSurviveTheNotificationLog(t *testing.T) {
	want := threads{
		Heads:  map[string]head{"f": {place: place{"C1", "1.2"}, Identity: "i", Starts: 3, AckBy: "a", Resolved: true, Title: "<t>"}},
		Digest: &digest{place: place{"C1", "2.3"}, Starts: 4, Members: packSums(map[[sumSize]byte]bool{{1}: true, {2}: true}), Recovered: 5},
	}
	s := nflog.NewStore(nil)
	want.save(s)
	if d := cmp.Diff(want, loadThreads(s), cmp.AllowUnexported(head{}, digest{})); d != "" {
		t.Error(d)
	}
	if got := unpackSums(want.Digest.Members); len(got) != 2 || !got[[sumSize]byte{1}] {
		t.Errorf("%v", got)
	}
	for _, text := range []string{"", "{", "[]", `{"h":{"a":null}}`, `{"d":{"m":"!!"}}`} {
		s.SetStr(threadsKey, text)
		if got := loadThreads(s); got.Heads == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	threads{}.save(s)
	if _, ok := s.GetStr(threadsKey); ok {
		t.Error("nothing is stored as something")
	}
	if unpackSums("!!") == nil || len(unpackSums("AAAA")) != 0 {
		t.Error("what cannot be read has members")
	}
}

// A message stays within Slack's bounds whatever its alert has in it: the fake of the other tests would refuse it.
func TestMessagesStayWithinBounds(t *testing.T) {
	a := &App{o: Options{BaseURL: "https://tokiflow.example.com"}}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	text := func() string {
		b := make([]rune, r.IntN(6000))
		for i := range b {
			b[i] = []rune("a<>&@channel`*~_\n🔴é\u202e\x00")[r.IntN(20)]
		}
		return string(b)
	}
	for range 200 {
		x, f := r.IntN(256), r.Float64()*1e7
		at := time.Unix(r.Int64N(1<<32), 0)
		v := view{
			fingerprint: text()[:0] + "f", identity: uuid.NewString(), name: text(), monitor: text(), severity: text(), summary: text(), description: text(),
			kind: incident.Anomaly, url: "https://x", starts: at, ackBy: "slack:U1 (" + text() + ")", ackAt: at,
			labels: map[string]string{"a": text(), "b": text(), alert.LabelTags: text(), alert.LabelProject: text()},
			evidence: incident.Evidence{
				LastPingAt: &at, LastPingKind: text(), DueAt: &at, DeadlineAt: &at, RunStartedAt: &at, ExitCode: &x, FailuresInARow: 3, DurationSeconds: &f,
				MaxRuntimeSeconds: &f, MeanSeconds: &f, StddevSeconds: &f, ZScore: &f, Output: text(),
			},
		}
		for range 2 {
			m := a.headOf(tenant.OrgID{UUID: uuid.Max}, v, strings.Repeat("█", stripRuns), "<!here>", at.Add(time.Hour))
			b, err := json.Marshal(m.attachments)
			if err != nil {
				t.Fatal(err)
			}
			within(t, b)
			if n := len(utf16.Encode([]rune(m.text))); n > 3000 || n == 0 {
				t.Errorf("text of %d", n)
			}
			v.ends = at.Add(time.Minute)
		}
		many := make([]view, 100)
		for i := range many {
			many[i] = v
		}
		b, err := json.Marshal(a.digestOf(many, 3, false, at, at, "<!here>").attachments)
		if err != nil {
			t.Fatal(err)
		}
		within(t, b)
		if said := changes(tally{begun: many, ended: many, firing: many}, 1, false); len(utf16.Encode([]rune(said))) > 3000 {
			t.Errorf("a reply of %d", len(said))
		}
	}
}

func within(t *testing.T, attachments []byte) {
	t.Helper()
	var list []struct {
		Blocks []struct {
			Type   string
			Text   struct{ Text string }
			Fields []struct{ Text string }
		}
	}
	if err := json.Unmarshal(attachments, &list); err != nil {
		t.Fatal(err)
	}
	for _, b := range list[0].Blocks {
		if n := len(utf16.Encode([]rune(b.Text.Text))); n > 3000 || len(b.Fields) > 10 {
			t.Errorf("%s of %d characters, %d fields", b.Type, n, len(b.Fields))
		}
		for _, f := range b.Fields {
			if n := len(utf16.Encode([]rune(f.Text))); n > 2000 {
				t.Errorf("a field of %d", n)
			}
		}
	}
}

func TestPick(t *testing.T) {
	one := inventory.Monitor{ID: uuid.New()}
	one.Config.Name, one.Config.Slug = "Same", "same-1"
	two := inventory.Monitor{ID: uuid.New()}
	two.Config.Name, two.Config.Slug = "Same", "same-2"
	all := []inventory.Monitor{one, two}
	if _, err := pick(all, "same"); fault.CodeOf(err) != fault.Ambiguous || !strings.Contains(err.Error(), one.ID.String()) {
		t.Errorf("two of one name are told apart by id: %v", err)
	}
	for _, name := range []string{two.ID.String(), "same-2", "SAME-2"} {
		if m, err := pick(all, name); err != nil || m.ID != two.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "  ", "---", "x"} {
		if _, err := pick(all, name); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestWhoIs(t *testing.T) {
	for name, want := range map[string]string{"ada": "slack:U1 (ada)", "": "slack:U1", "a) (b <x>": "slack:U1 (a b ‹x›)"} {
		if got := whoIs("U1", name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
	for by, want := range map[string]string{"slack:U1ABC (ada)": "<@U1ABC>", "slack:<!x> (ada)": "ada)", "grace <x>": "grace &lt;x&gt;"} {
		if got := person(by); !strings.Contains(got, strings.TrimSuffix(want, ")")) || strings.Contains(got, "<!") {
			t.Errorf("%q: %q", by, got)
		}
	}
}

func TestTomorrow(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	late := time.Date(2026, 3, 28, 23, 30, 0, 0, time.UTC) // past midnight in Berlin, in the night the clocks change
	if got := tomorrow(late, berlin); !got.Equal(time.Date(2026, 3, 30, 7, 0, 0, 0, time.UTC)) {
		t.Errorf("%s", got.UTC())
	}
}
