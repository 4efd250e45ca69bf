package slack_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
)

func commandBundle(t *testing.T) *bundle {
	t.Helper()
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for _, name := range []string{"nightly backup", "nightly-report", "Invoices <b>&", "DB vacuum", "db vacuum full"} {
		b.store.monitors[b.a] = append(b.store.monitors[b.a], monitorOf(name))
	}
	return b
}

func TestPulse(t *testing.T) {
	b := commandBundle(t)
	down := b.store.monitors[b.a][0]
	b.store.monitors[b.a][0].Status = monitor.Down
	r := missed("nightly backup", time.Now().Add(-time.Hour))
	r.Org, r.Fingerprint = b.a, "abc"
	b.store.alerts[b.a]["abc"] = r
	b.store.incidents[b.a] = []inventory.Incident{{
		ID: r.Incident, Monitor: down.ID, MonitorName: "nightly backup", Kind: incident.Missed, Status: incident.Open, Severity: incident.Critical, OpenedAt: r.StartsAt,
	}}
	say := func(text string) string { return b.pulse("T0ACME", "C0OPS", text) }

	for _, text := range []string{"", "help", "HELP me"} {
		has(t, say(text), "/pulse silence NAME 1h")
	}
	has(t, say("status"), "*5 monitors*", "🟢 4 up", "🔴 1 down", "🔴 Missed: nightly backup")
	has(t, say("list"), "🔴 nightly backup", "Invoices &lt;b&gt;&amp;")
	has(t, say("list report"), "nightly-report")
	hasNot(t, say("list report"), "backup")
	has(t, say("list <!channel>"), "No monitor", "‹!\u2060channel›"[:3])
	has(t, say("pause nightly"), "“nightly” could be 2 monitors", "• nightly backup", "• nightly-report")
	has(t, say("pause Nightly Report"), "nightly-report* is paused")
	has(t, say("resume NIGHTLY_REPORT"), "is resumed")
	has(t, say("pause db vacuum"), "DB vacuum* is paused") // the whole name, though another begins so
	has(t, say("pause full"), "db vacuum full* is paused")
	has(t, say("pause report nightly"), "nightly-report* is paused")
	has(t, say("pause nothing like it"), "No monitor is called")
	has(t, say("pause <!channel>"), "No monitor is called")
	hasNot(t, say("pause <!channel>"), "<!channel>")
	has(t, say("pause"), "Which monitor?")
	has(t, say("frobnicate <!here>"), "There is no `frobnicate`")
	has(t, say("silence backup"), "For how long?")
	has(t, say("silence backup 5000d"), "a year")
	has(t, say("silence backup 2h disk & <!here> is full"), "is silenced until <!date^")
	s, err := silences.Unmarshal(b.store.silences[b.a][0].Body)
	if err != nil {
		t.Fatal(err)
	}
	if s.Silence.Comment != "disk & ‹!here› is full" || s.Silence.CreatedBy != "slack:U0ADA (ada)" ||
		s.Silence.Matchers[0].Name != alert.LabelID || s.Silence.Matchers[0].Pattern != down.ID.String() {
		t.Errorf("%v", s.Silence)
	}
	has(t, say("ack nightly backup"), "You are on it: *nightly backup*")
	if by := b.store.alerts[b.a]["abc"].AcknowledgedBy; by != "slack:U0ADA (ada)" {
		t.Errorf("%q", by)
	}
	b.store.incidents[b.a][0].Status = incident.Acknowledged
	has(t, say("ack nightly backup"), "Nothing is wrong with *nightly backup* that is not acknowledged")
	has(t, say("status"), "👀 Missed: nightly backup")
	b.store.incidents[b.a] = append(b.store.incidents[b.a], inventory.Incident{ID: uuid.New(), Monitor: down.ID, Status: incident.Open, Kind: incident.Fail})
	has(t, say("ack nightly backup"), "has just changed")
	b.store.incidents[b.a] = nil
	has(t, say("status"), "Nothing is wrong.")
}

func TestPulseWhereNobodyIsConnected(t *testing.T) {
	b := newBundle(t)
	has(t, b.pulse("T0NONE", "C1", "status"), "No organisation uses this workspace", "/api/slack/install")
	b.connect(b.a, "T0ACME")
	has(t, b.pulse("T0ACME", "C1", "org:globex status"), "Which organisation?") // it is of another workspace
	hasNot(t, b.pulse("T0ACME", "C1", "org:globex status"), "globex")
	has(t, b.pulse("T0ACME", "C1", "list"), "There are no monitors yet")
	has(t, b.pulse("T0ACME", "C1", "status"), "Nothing is wrong")
}

func TestLongListsAreCut(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for i := range 100 {
		b.store.monitors[b.a] = append(b.store.monitors[b.a], monitorOf(strings.Repeat("x&", 60)+uuid.NewSHA1(uuid.Nil, []byte{byte(i)}).String()))
		b.store.incidents[b.a] = append(b.store.incidents[b.a], inventory.Incident{ID: uuid.New(), MonitorName: strings.Repeat("<", 200), Status: incident.Open, Kind: incident.Late})
	}
	for _, text := range []string{"list", "status", "pause x"} {
		said := b.pulse("T0ACME", "C1", text)
		if text == "pause x" {
			has(t, said, "could be 100 monitors")
		} else {
			has(t, said, "and more")
		}
		if n := length(said); n > 4000 {
			t.Errorf("%s: %d characters", text, n)
		}
	}
}
