package slack_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
)

// told is a bundle in which one alert was told.
func told(t *testing.T, r alert.Routed) (*bundle, *group, alert.Routed, posted) {
	t.Helper()
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	g := b.group(b.a, "{channel: '#ops'}")
	r = g.fire(r)
	g.mustFlush()
	return b, g, r, b.slack.heads()[0]
}

// ruled is an alert of a rule.
func ruled() alert.Routed {
	return alert.Routed{
		Source: alert.FromRule, StartsAt: time.Now().Add(-time.Minute), UpdatedAt: time.Now(),
		Labels:      map[string]string{alert.LabelName: "HighLatency", "service": "api & web", alert.LabelSeverity: "warning"},
		Annotations: map[string]string{alert.AnnotationSummary: "p99 over 1 s"},
	}
}

func TestResolve(t *testing.T) {
	b, _, r, head := told(t, missed("backup", time.Now().Add(-time.Minute)))
	b.press("T0ACME", "U0ADA", head, "tokiflow_resolve")
	b.settle(func() bool { return len(b.slack.replies(head)) == 1 })
	if want := b.a.String() + " " + r.Incident.String() + " slack:U0ADA (ada)"; !slices.Contains(b.store.resolved, want) {
		t.Errorf("%v", b.store.resolved)
	}
}

func TestAlertsOfRulesResolveByThemselves(t *testing.T) {
	b, _, _, head := told(t, ruled())
	hasNot(t, head.shown(), "tokiflow_resolve")
	has(t, head.shown(), "🟠 Firing: HighLatency", "service=api &amp; web", "p99 over 1 s")
	b.do(b.pressRequest("T0ACME", "U0ADA", head, "tokiflow_resolve", valueOf(t, head, "tokiflow_acknowledge")))
	has(t, b.answered(), "resolves by itself")
	if len(b.store.resolved) != 0 {
		t.Error("something was resolved")
	}
}

func TestSilences(t *testing.T) {
	b, _, _, head := told(t, ruled())
	now := time.Now()
	for i, action := range []string{"tokiflow_silence_1h", "tokiflow_silence_4h", "tokiflow_silence_tomorrow"} {
		b.press("T0ACME", "U0ADA", head, action)
		b.settle(func() bool { return len(b.slack.replies(head)) == i+1 })
	}
	list := b.store.silences[b.a]
	if len(list) != 3 {
		t.Fatalf("%d silences", len(list))
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	y, m, d := now.In(berlin).Date()
	for i, want := range []time.Time{now.Add(time.Hour), now.Add(4 * time.Hour), time.Date(y, m, d+1, 9, 0, 0, 0, berlin)} {
		if off := list[i].EndsAt.Sub(want).Abs(); off > time.Minute {
			t.Errorf("silence %d ends at %s, not %s", i, list[i].EndsAt, want)
		}
	}
	s, err := silences.Unmarshal(list[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	var matchers []string
	for _, m := range s.Silence.Matchers {
		matchers = append(matchers, m.Name+"="+m.Pattern)
	}
	if got := strings.Join(matchers, ","); got != "alertname=HighLatency,service=api & web,severity=warning" {
		t.Errorf("the whole label set silences an alert of a rule: %s", got)
	}
}

func TestTheSecondToAcknowledgeIsTold(t *testing.T) {
	b, _, r, head := told(t, missed("backup", time.Now().Add(-time.Minute)))
	if _, err := b.store.AcknowledgeAlert(t.Context(), b.a, r.Fingerprint, "grace", time.Now()); err != nil {
		t.Fatal(err)
	}
	b.press("T0ACME", "U0ADA", head, "tokiflow_acknowledge")
	has(t, b.answered(), "acknowledged before, by grace")
	has(t, b.slack.heads()[0].shown(), "Acknowledged by grace")
}

// A button does what its message is about, or nothing.
func TestButtonsThatMeanNothing(t *testing.T) {
	b, g, r, head := told(t, missed("backup", time.Now().Add(-time.Hour)))
	b.connect(b.b, "T0GLOBEX")
	value := valueOf(t, head, "tokiflow_acknowledge")
	g.fire(missed("other", time.Now()))
	for name, c := range map[string]struct{ team, user, action, value, says string }{
		"from another workspace":      {"T0GLOBEX", "U0EVE", "tokiflow_acknowledge", value, "does not use this workspace"},
		"from nowhere":                {"T0NONE", "U0EVE", "tokiflow_acknowledge", value, "does not use this workspace"},
		"of another organisation":     {"T0ACME", "U0EVE", "tokiflow_acknowledge", strings.Replace(value, b.a.String(), b.b.String(), 1), "does not use this workspace"},
		"of no organisation":          {"T0ACME", "U0EVE", "tokiflow_silence_1h", `{"f":"x"}`, "does not use this workspace"},
		"of an alert that is not":     {"T0ACME", "U0EVE", "tokiflow_resolve", strings.Replace(value, r.Fingerprint, "0000000000000000", 1), "has ended"},
		"of an earlier incident":      {"T0ACME", "U0EVE", "tokiflow_acknowledge", strings.Replace(value, r.Incident.String(), b.b.String(), 1), "has ended"},
		"with markup for fingerprint": {"T0ACME", "U0EVE", "tokiflow_acknowledge", strings.Replace(value, r.Fingerprint, "<!channel>", 1), "has ended"},
	} {
		if status, text := b.do(b.pressRequest(c.team, c.user, head, c.action, c.value)); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, text)
		}
		has(t, b.answered(), c.says)
	}
	for name, req := range map[string]*http.Request{
		"a person of another workspace": b.sharedPress(head, value, "T0ACME", "T0EVIL"),
		"no person":                     b.pressRequest("T0ACME", "<@U1>", head, "tokiflow_acknowledge", value),
		"no JSON":                       b.pressRequest("T0ACME", "U0EVE", head, "tokiflow_acknowledge", "{"),
	} {
		if status, text := b.do(req); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if b.store.alerts[b.a][r.Fingerprint].AcknowledgedBy != "" || len(b.store.silences) != 0 || len(b.store.resolved) != 0 {
		t.Error("something was done")
	}
}

func (b *bundle) sharedPress(m posted, value, team, userTeam string) *http.Request {
	payload := `{"type":"block_actions","team":{"id":"` + team + `"},"user":{"id":"U0EVE","team_id":"` + userTeam + `"},
		"container":{"message_ts":"` + m.ts + `","channel_id":"` + m.channel + `"},"response_url":"https://hooks.slack.com/x",
		"actions":[{"block_id":"b","action_id":"tokiflow_acknowledge","value":` + quote(value) + `}]}`
	return b.sign("/api/slack/actions", formType, url.Values{"payload": {payload}}.Encode(), time.Now())
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestAButtonWhenTheDatabaseIsAway(t *testing.T) {
	b, _, _, head := told(t, missed("backup", time.Now().Add(-time.Hour)))
	req := b.pressRequest("T0ACME", "U0ADA", head, "tokiflow_acknowledge", valueOf(t, head, "tokiflow_acknowledge"))
	b.store.mu.Lock()
	b.store.down = true
	b.store.mu.Unlock()
	if status, _ := b.do(req); status != http.StatusServiceUnavailable {
		t.Errorf("%d", status)
	}
}

// The answer is given before the work is done: Slack hangs, and the press is answered.
func TestTheAnswerDoesNotWait(t *testing.T) {
	b, _, _, head := told(t, missed("backup", time.Now().Add(-time.Hour)))
	release := make(chan struct{})
	var once bool
	b.slack.failing(func(string, url.Values) *failure {
		if !once {
			once = true
			<-release
		}
		return nil
	})
	b.press("T0ACME", "U0ADA", head, "tokiflow_acknowledge") // fails the test unless it is answered with 200
	close(release)
	b.settle(func() bool { return len(b.slack.replies(head)) == 1 })
}
