package slack_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAnUpdateOfTheGroupSaysNothingAboutWhatStayed(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	at := time.Now().Add(-time.Hour)
	first := g.fire(missed("one", at))
	g.mustFlush()
	g.fire(missed("two", at.Add(time.Minute)))
	g.mustFlush()
	g.resolve(first, time.Minute)
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 2 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "✅ Resolved: Missed: one")
	has(t, heads[1].shown(), "🔴 Missed: two")
	if n := len(b.slack.replies(heads[1])); n != 0 {
		t.Errorf("%d replies about what did not change", n)
	}
	if heads[1].edits != 0 {
		t.Error("the other message was edited")
	}
}

func TestARepeatIsShownInTheChannelToo(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	g.fire(missed("one", time.Now().Add(-5*time.Hour)))
	g.mustFlush()
	g.repeat = 0
	if err := g.flushAt(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	head := b.slack.heads()[0]
	replies := b.slack.replies(head)
	if len(replies) != 1 || !replies[0].broadcast || head.edits != 1 {
		t.Fatalf("%+v", replies)
	}
	has(t, replies[0].text, "Still missed, for 5 h")
}

func TestAnAcknowledgementElsewhereIsTold(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	r := g.fire(missed("one", time.Now().Add(-time.Hour)))
	g.mustFlush()
	if _, err := b.store.AcknowledgeAlert(t.Context(), b.a, r.Fingerprint, "grace <x@example.com>", time.Now()); err != nil {
		t.Fatal(err)
	}
	g.fire(missed("two", time.Now()))
	g.mustFlush()
	head := b.slack.heads()[0]
	has(t, head.shown(), "👀", "grace &lt;x@example.com&gt;")
	if replies := b.slack.replies(head); len(replies) != 1 {
		t.Errorf("%+v", replies)
	}
}

func TestADeletedMessageIsPostedAnew(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		b := newBundle(t)
		b.slack.dedupe = dedupe
		b.connect(b.a, "T0ACME")
		g := b.group(b.a, "{channel: '#ops'}")
		r := g.fire(missed("one", time.Now().Add(-time.Hour)))
		g.mustFlush()
		b.slack.remove(b.slack.heads()[0].ts)
		g.resolve(r, time.Minute)
		g.mustFlush()
		heads := b.slack.heads()
		if len(heads) != 1 {
			t.Fatalf("%d heads", len(heads))
		}
		has(t, heads[0].shown(), "✅ Resolved: Missed: one")
		if n := len(b.slack.replies(heads[0])); n != 0 {
			t.Errorf("%d replies to a message that says it all", n)
		}
	}
}

// A flush that fails half-way is gone on with where it stopped, by the next attempt and by the next flush.
func TestAFlushGoesOnWhereItStopped(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	for i := range 4 {
		g.fire(missed(fmt.Sprintf("job-%d", i), time.Now().Add(-time.Hour)))
	}
	fail := func(method string, form url.Values) *failure {
		if method == "chat.postMessage" && strings.Contains(form.Get("text"), "job-2") {
			return &failure{status: 503}
		}
		return nil
	}
	b.slack.failing(fail)
	g.limit = 300 * time.Millisecond
	if err := g.flush(); err == nil {
		t.Fatal("a flush that fails went well")
	}
	b.slack.failing(nil)
	g.mustFlush()
	if n := len(b.slack.heads()); n != 4 {
		t.Errorf("%d heads: one twice, or not at all", n)
	}
	if b.slack.called("chat.postMessage") < 5 {
		t.Error("the failed call was not tried")
	}
}

// What was told before a flush failed is not told again by the next, be it a recovery or a change of the digest.
func TestAFailedFlushDoesNotRepeatItself(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	fail := func(g *group, text string) {
		t.Helper()
		b.slack.failing(func(method string, form url.Values) *failure {
			if method == "chat.postMessage" && strings.Contains(form.Get("text"), text) {
				return &failure{status: 500}
			}
			return nil
		})
		g.limit = 300 * time.Millisecond
		if err := g.flush(); err == nil {
			t.Fatal("a flush that fails went well")
		}
		b.slack.failing(nil)
		g.limit = 5 * time.Second
		g.mustFlush()
	}
	g := b.group(b.a, "{channel: '#ops'}")
	old := g.fire(missed("old", time.Now().Add(-time.Hour)))
	g.mustFlush()
	g.resolve(old, time.Minute)
	g.fire(missed("new", time.Now().Add(-time.Minute)))
	fail(g, "Missed: new")
	if n := len(b.slack.replies(b.slack.heads()[0])); n != 1 {
		t.Errorf("%d replies about one recovery", n)
	}
	if n := len(b.slack.heads()); n != 2 {
		t.Errorf("%d heads", n)
	}

	// One thread cannot be followed to its repetition: the other is repeated once.
	h := b.group(b.a, "{channel: '#other'}")
	h.fire(missed("a", time.Now().Add(-2*time.Hour)))
	h.fire(missed("b", time.Now().Add(-time.Hour)))
	h.mustFlush()
	h.repeat = 0
	tries := 0
	b.slack.failing(func(method string, form url.Values) *failure {
		if strings.Contains(form.Get("text"), "Missed: b") {
			if tries++; tries == 1 {
				return &failure{status: 500}
			}
		}
		return nil
	})
	if err := h.flushAt(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, head := range b.slack.heads()[2:] {
		if n := len(b.slack.replies(head)); n != 1 {
			t.Errorf("%d repetitions of %s", n, head.text)
		}
	}
}

// The process dies between the post and the notification log: the message is posted again, at least once is what there is, unless
// Slack knows it by its id.
func TestACrashBetweenPostAndLog(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		b := newBundle(t)
		b.slack.dedupe = dedupe
		b.connect(b.a, "T0ACME")
		g := b.group(b.a, "{channel: '#ops'}")
		r := g.fire(missed("one", time.Now().Add(-time.Hour)))
		g.mustFlush()
		other := newBundleOn(t, b) // another process, with nothing of the first in its memory, nor in its log
		g2 := other.group(b.a, "{channel: '#ops'}")
		g2.fire(r)
		g2.mustFlush()
		want := 2
		if dedupe {
			want = 1
		}
		if n := len(b.slack.heads()); n != want {
			t.Errorf("dedupe %t: %d heads, want %d", dedupe, n, want)
		}
	}
}

// A silence empties the group's entry in the log: what fires after it goes on in its thread.
func TestAfterASilenceTheThreadGoesOn(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	silenced, other := g.fire(missed("silenced", time.Now().Add(-time.Hour))), g.fire(missed("other", time.Now().Add(-time.Hour)))
	g.mustFlush()
	key := "silencedMonitorMissed"
	kept := g.alerts[key]
	delete(g.alerts, key)
	g.resolve(other, time.Minute)
	g.mustFlush() // all that is seen has resolved
	g.alerts[key] = kept
	g.mustFlush() // a first notification, for Alertmanager
	if n := len(b.slack.heads()); n != 2 {
		t.Errorf("%d heads", n)
	}
	g.resolve(silenced, time.Hour)
	g.mustFlush()
	has(t, b.slack.heads()[0].shown()+b.slack.heads()[1].shown(), "Resolved: Missed: silenced", "Resolved: Missed: other")
}

// The same labels stand for another incident: the old thread is closed, the new one is of its own.
func TestAnotherIncidentOfTheSameLabels(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	g.fire(missed("one", time.Now().Add(-time.Hour)))
	g.fire(missed("two", time.Now().Add(-time.Hour)))
	g.mustFlush()
	g.fire(missed("one", time.Now().Add(-time.Minute))) // its end was never seen
	g.fire(missed("three", time.Now().Add(-time.Minute)))
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 4 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "It has ended", "~Missed: one~")
	hasNot(t, heads[0].shown(), "tokiflow_acknowledge", "did not come")
	has(t, heads[2].shown()+heads[3].shown(), "🔴 Missed: one", "🔴 Missed: three")
}

// The same, where the notification log began anew with the other incident: the process remembers the old thread.
func TestAnotherIncidentAfterAFirstNotification(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	g.fire(missed("one", time.Now().Add(-time.Hour)))
	g.mustFlush()
	again := b.group(b.a, "{channel: '#ops'}") // an empty log
	again.fire(missed("one", time.Now().Add(-time.Minute)))
	again.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 2 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "It has ended")
	has(t, heads[1].shown(), "🔴 Missed: one")
}

func TestWhatWasNeverToldIsNotToldWhenItResolves(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	short := g.fire(missed("short", time.Now().Add(-time.Hour)))
	g.resolve(short, time.Minute)
	g.fire(missed("long", time.Now().Add(-time.Hour)))
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 1 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "long")
}
