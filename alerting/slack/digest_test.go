package slack_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"

	"github.com/tokiflow/tokiflow/core/alert"
)

// More than five alerts of a group are one message.
func TestManyAlertsAreOneMessage(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops', mention: '@channel'}")
	at := time.Now().Add(-time.Hour)
	all := make([]alert.Routed, 0, 40)
	for i := range 30 {
		all = append(all, g.fire(missed(fmt.Sprintf("job-%02d", i), at.Add(time.Duration(i)*time.Second))))
	}
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 1 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "🔴 30 alerts are firing", "<!channel>", "Missed: job-00", "Missed: job-19", "… and 10 more", "tokiflow_view")
	hasNot(t, heads[0].shown(), "job-20", "tokiflow_acknowledge")

	g.fire(missed("job-99", at.Add(time.Minute)))
	g.resolve(all[0], time.Minute)
	g.resolve(all[1], time.Minute)
	g.mustFlush()
	head := b.slack.heads()[0]
	has(t, head.shown(), "29 alerts are firing", "2 have recovered", "job-02")
	replies := b.slack.replies(head)
	if len(replies) != 1 {
		t.Fatalf("%+v", replies)
	}
	has(t, replies[0].text, "*1 more* began", "job-99", "*2* recovered; 29 still fire")

	for i := range 30 {
		g.resolve(all[i], time.Minute)
	}
	g.resolve(missed("job-99", at), time.Minute)
	g.mustFlush()
	head = b.slack.heads()[0]
	has(t, head.shown(), "✅ Resolved: 31 alerts", "#2e7d32")
	if n := len(b.slack.heads()); n != 1 {
		t.Errorf("%d heads", n)
	}
	replies = b.slack.replies(head)
	has(t, replies[len(replies)-1].text, "31 have recovered, none is left")

	// What begins after that has a thread of its own again.
	g.fire(missed("job-00", time.Now()))
	g.mustFlush()
	has(t, b.slack.heads()[1].shown(), "🔴 Missed: job-00")
}

// Who does not want to hear of resolutions gets threads for what begins, however long the group lasts.
func TestWithoutResolvedNotices(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops', send_resolved: false}")
	g.resolved = false
	g.fire(missed("always", time.Now().Add(-time.Hour)))
	for i := range 10 {
		r := g.fire(missed(fmt.Sprintf("job-%d", i), time.Now().Add(-time.Hour)))
		g.mustFlush()
		g.resolve(r, time.Minute)
		g.mustFlush()
	}
	if n := len(b.slack.heads()); n != 11 {
		t.Errorf("%d heads", n)
	}
	for _, h := range b.slack.heads() {
		hasNot(t, h.shown(), "Resolved", "alerts are firing")
	}
}

// A storm is told in a handful of calls, and what is kept of it stays small.
func TestAStormIsCheap(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	at := time.Now().Add(-time.Hour)
	var all []alert.Routed
	for i := range 3000 {
		all = append(all, g.fire(missed(fmt.Sprintf("job-%04d", i), at)))
	}
	g.mustFlush()
	for _, r := range all[:1500] {
		g.resolve(r, time.Minute)
	}
	g.mustFlush()
	has(t, b.slack.heads()[0].shown(), "1500 alerts are firing", "1500 have recovered")
	if n := len(b.slack.calls); n != 3 {
		t.Errorf("%d calls", n)
	}
	entries, err := g.log.Query(nflog.QGroupKey("{}:{project=\"Default\"}"), nflog.QReceiver(&nflogpb.Receiver{GroupName: "ops", Integration: "slack_app"}))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(entries[0].ReceiverData["slack"].GetStrVal()); n > 40<<10 {
		t.Errorf("%d bytes in the notification log", n)
	}
}

// Five have threads of their own; what comes above is told by a message for the group, and the five go on.
func TestTheDigestLeavesThreadsAlone(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	at := time.Now().Add(-time.Hour)
	var first alert.Routed
	for i := range 5 {
		r := g.fire(missed(fmt.Sprintf("early-%d", i), at))
		if i == 0 {
			first = r
		}
	}
	g.mustFlush()
	late := g.fire(missed("late", at.Add(time.Minute)))
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 6 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[5].shown(), "1 alert is firing", "Missed: late")
	g.resolve(first, time.Minute)
	g.mustFlush()
	heads = b.slack.heads()
	has(t, heads[0].shown(), "✅ Resolved: Missed: early-0")
	if heads[5].edits != 0 {
		t.Error("the digest was edited for what is not in it")
	}
	g.resolve(late, time.Minute)
	g.mustFlush()
	has(t, b.slack.heads()[5].shown(), "✅ Resolved: 1 alert")
}

func TestADeletedDigestIsPostedAnew(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	for i := range 7 {
		g.fire(missed(fmt.Sprintf("job-%d", i), time.Now().Add(-time.Hour)))
	}
	g.mustFlush()
	b.slack.remove(b.slack.heads()[0].ts)
	g.resolve(missed("job-3", time.Time{}), time.Minute)
	g.mustFlush()
	heads := b.slack.heads()
	if len(heads) != 1 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "6 alerts are firing", "1 has recovered")
}
