package slack_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// A backup does not come at night. Ada sees it in #ops, is on it, silences it while she repairs it, and it recovers: one message,
// and one thread under it.
func TestAnIncidentIsOneThread(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for i := range 3 {
		b.store.runs = append(b.store.runs, history.Run{Run: monitor.Run{Outcome: monitor.Succeeded, Duration: time.Duration(3-i) * time.Minute}})
	}
	b.store.runs = append([]history.Run{{Run: monitor.Run{Outcome: monitor.Missed, Duration: -1}}}, b.store.runs...)
	g := b.group(b.a, "{channel: '#ops', mention: '@here'}")
	r := g.fire(missed("nightly-backup", time.Now().Add(-12*time.Minute)))
	g.mustFlush()

	heads := b.slack.heads()
	if len(heads) != 1 || heads[0].channel != "C0OPS" {
		t.Fatalf("%+v", heads)
	}
	has(t, heads[0].shown(), "🔴 Missed: nightly-backup", "<!here>", "nightly-backup did not come", "Due", "Last ping", "▃▅█·", "Acknowledge", "Silence until tomorrow",
		"Resolve", "https://tokiflow.example.com/monitors/1", "Since <!date^", "db, nightly")

	g.mustFlush() // nothing changed
	if n := len(b.slack.all()); n != 1 {
		t.Fatalf("%d messages after a flush in which nothing changed", n)
	}

	b.press("T0ACME", "U0ADA", heads[0], "tokiflow_acknowledge")
	b.settle(func() bool { return len(b.slack.replies(heads[0])) == 1 })
	head := b.slack.heads()[0]
	has(t, head.shown(), "👀 Missed: nightly-backup", "Acknowledged by <@U0ADA>")
	hasNot(t, head.shown(), `"tokiflow_acknowledge"`)
	has(t, b.slack.replies(head)[0].text, "<@U0ADA> is on it")

	b.press("T0ACME", "U0ADA", head, "tokiflow_silence_1h")
	b.settle(func() bool { return len(b.slack.replies(head)) == 2 })
	has(t, b.slack.heads()[0].shown(), "🔕 <@U0ADA> silenced it until <!date^")
	stored := b.store.silences[b.a]
	if len(stored) != 1 {
		t.Fatalf("%d silences", len(stored))
	}
	s, err := silences.Unmarshal(stored[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	if s.Silence.CreatedBy != "slack:U0ADA (ada)" || len(s.Silence.Matchers) != 2 || s.Silence.Matchers[1].Pattern != r.Labels[alert.LabelID] {
		t.Errorf("%v", s.Silence)
	}
	if left := time.Until(stored[0].EndsAt); left > time.Hour || left < 59*time.Minute {
		t.Errorf("silenced for %s", left)
	}

	g.resolve(r, 12*time.Minute)
	g.mustFlush()
	head = b.slack.heads()[0]
	has(t, head.shown(), "✅ Resolved: Missed: nightly-backup", "It lasted 12 min", "~Missed: nightly-backup~", "Acknowledged by <@U0ADA>", "#2e7d32")
	hasNot(t, head.shown(), "tokiflow_resolve", "<!here>")
	replies := b.slack.replies(head)
	if len(replies) != 3 {
		t.Fatalf("%d replies", len(replies))
	}
	has(t, replies[2].text, "Resolved after 12 min")
	if n := len(b.slack.heads()); n != 1 {
		t.Errorf("%d heads", n)
	}
	if !b.store.channels[b.a.String()+"C0OPS"] {
		t.Error("the channel was not noted")
	}

	// The next night it is another incident, of the same labels: another thread.
	g.fire(missed("nightly-backup", time.Now().Add(-time.Minute)))
	g.mustFlush()
	if n := len(b.slack.heads()); n != 2 {
		t.Errorf("%d heads after another incident", n)
	}
}

// Two organisations share one workspace: each message acts on its own organisation only.
func TestTwoOrganisationsInOneWorkspace(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0BOTH")
	b.connect(b.b, "T0BOTH")
	ga, gb := b.group(b.a, "{channel: '#ops'}"), b.group(b.b, "{channel: '#other'}")
	at := time.Now().Add(-time.Minute)
	ra, rb := ga.fire(missed("backup", at)), gb.fire(missed("backup", at))
	ga.mustFlush()
	gb.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 2 || ra.Fingerprint != rb.Fingerprint {
		t.Fatalf("%d heads, %s %s", len(heads), ra.Fingerprint, rb.Fingerprint)
	}
	b.press("T0BOTH", "U0EVE", heads[1], "tokiflow_acknowledge")
	b.settle(func() bool { return len(b.slack.replies(heads[1])) == 1 })
	if b.store.alerts[b.a][ra.Fingerprint].AcknowledgedBy != "" || b.store.alerts[b.b][rb.Fingerprint].AcknowledgedBy != "slack:U0EVE (ada)" {
		t.Error("the other organisation's alert was acknowledged")
	}

	// A command is for the organisation whose channel it was typed in, or for the one said.
	has(t, b.pulse("T0BOTH", "C0ELSE", "status"), "Which organisation?", "acme, globex")
	has(t, b.pulse("T0BOTH", "C0OPS", "status"), "Which organisation?") // both have chosen #ops
	b.store.monitors[b.a] = []inventory.Monitor{monitorOf("of acme")}
	b.store.monitors[b.b] = []inventory.Monitor{monitorOf("of globex")}
	has(t, b.pulse("T0BOTH", "C0OTHER", "list"), "of globex")
	has(t, b.pulse("T0BOTH", "C0OTHER", "org:ACME list"), "of acme")
	has(t, b.pulse("T0BOTH", "C0OTHER", "pause acme"), "No monitor is called")
}

func monitorOf(name string) inventory.Monitor {
	m := inventory.Monitor{ID: uuid.NewSHA1(uuid.Nil, []byte(name)), Status: monitor.Up}
	m.Config.Name = name
	return m
}
