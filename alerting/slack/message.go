package slack

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Slack's bounds, in characters.
const (
	maxHeader  = 150
	maxText    = 2900 // of a section, 3,000 with what is put around it
	maxField   = 1900 // 2,000
	maxFields  = 10
	maxSummary = 600
	maxOutput  = 700
)

// The colours of the bar beside a message.
const (
	red    = "#d32f2f"
	orange = "#ef6c00"
	blue   = "#1565c0"
	green  = "#2e7d32"
)

// what a button asks for: its action id.
const (
	actAcknowledge = "tokiflow_acknowledge"
	actSilence1h   = "tokiflow_silence_1h"
	actSilence4h   = "tokiflow_silence_4h"
	actSilenceDay  = "tokiflow_silence_tomorrow"
	actResolve     = "tokiflow_resolve"
	actView        = "tokiflow_view"
)

// pressed is what a button carries: which alert of which organisation it is about. It is not believed where the workspace is not
// the organisation's.
type pressed struct {
	Org         tenant.OrgID `json:"o"`
	Fingerprint string       `json:"f"`
	Identity    string       `json:"i"`
}

// headOf is the message at the head of an alert's thread. strip and mention may be empty.
func (a *App) headOf(org tenant.OrgID, v view, strip, mention string, now time.Time) message {
	title := v.title()
	m := message{text: mrkdwn(title, maxHeader)}
	icon := icon(v)
	if v.resolved() {
		m.text = "Resolved: " + m.text
		title = "Resolved: " + title
	}
	m.blocks = []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, plain(icon+" "+title, maxHeader), true, false))}
	if mention != "" && !v.resolved() {
		m.blocks = append(m.blocks, section(mention))
	}
	body := []slack.Block{section(story(v, now))}
	if f := facts(v); len(f) > 0 {
		body = append(body, slack.NewSectionBlock(nil, f, nil))
	}
	if v.evidence.Output != "" {
		body = append(body, section("*Last output*\n```"+code(v.evidence.Output, maxOutput)+"```"))
	}
	if strip != "" {
		body = append(body, slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, "`"+strip+"`  the last runs, the youngest at the right", false, true)))
	}
	body = append(body, a.buttons(org, v))
	m.attachments = []slack.Attachment{{Color: colour(v), Fallback: m.text, Blocks: slack.Blocks{BlockSet: body}}}
	if v.summary != "" && !v.resolved() {
		m.text += " — " + mrkdwn(v.summary, maxSummary)
	}
	return m
}

func icon(v view) string {
	switch {
	case v.resolved():
		return "✅"
	case v.ackBy != "":
		return "👀"
	case v.severity == "critical" || v.severity == "":
		return "🔴"
	case v.severity == "warning":
		return "🟠"
	}
	return "🔵"
}

func colour(v view) string {
	switch {
	case v.resolved():
		return green
	case v.severity == "critical" || v.severity == "":
		return red
	case v.severity == "warning":
		return orange
	}
	return blue
}

// story is what happened, in sentences.
func story(v view, now time.Time) string {
	var lines []string
	if v.resolved() {
		lines = append(lines, fmt.Sprintf("~%s~ It lasted %s, until %s.", mrkdwn(v.title(), maxHeader), span(v.ends.Sub(v.starts)), date(v.ends)))
	} else {
		lines = append(lines, fmt.Sprintf("Since %s (%s).", date(v.starts), span(now.Sub(v.starts))))
	}
	if v.ackBy != "" {
		line := "Acknowledged by " + person(v.ackBy)
		if !v.ackAt.IsZero() {
			line += ", " + date(v.ackAt)
		}
		lines = append(lines, line+".")
	}
	if v.note != "" {
		lines = append(lines, v.note)
	}
	if v.summary != "" {
		lines = append([]string{"*" + mrkdwn(oneLine(v.summary), maxSummary) + "*"}, lines...)
	}
	if v.description != "" && v.description != v.summary {
		lines = append(lines, mrkdwn(v.description, maxText-2*maxSummary-maxHeader-200))
	}
	return strings.Join(lines, "\n")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// person is who did it: somebody of this Slack by mention, which calls nobody in a message that is edited, else by name.
func person(by string) string {
	if rest, ok := strings.CutPrefix(by, bySlack); ok {
		if id, name, _ := strings.Cut(rest, " "); userID(id) {
			return "<@" + id + ">"
		} else if name != "" {
			return mrkdwn(name, 100)
		}
	}
	return mrkdwn(by, 100)
}

// facts are the evidence as fields.
func facts(v view) []*slack.TextBlockObject {
	var out []*slack.TextBlockObject
	add := func(name, value string) {
		if value != "" && len(out) < maxFields {
			out = append(out, slack.NewTextBlockObject(slack.MarkdownType, "*"+name+"*\n"+value, false, true))
		}
	}
	e := v.evidence
	add("Due", instant(e.DueAt))
	add("Deadline", instant(e.DeadlineAt))
	last := instant(e.LastPingAt)
	if last != "" && e.LastPingKind != "" {
		last += " (" + mrkdwn(e.LastPingKind, 30) + ")"
	}
	add("Last ping", last)
	if e.ExitCode != nil {
		add("Exit code", fmt.Sprint(*e.ExitCode))
	}
	add("Duration", duration(v))
	if e.MaxRuntimeSeconds != nil {
		add("Longest allowed", span(seconds(*e.MaxRuntimeSeconds)))
	}
	add("Run started", instant(e.RunStartedAt))
	if e.FailuresInARow > 1 {
		add("Failures in a row", fmt.Sprint(e.FailuresInARow))
	}
	add("Project", mrkdwn(v.labels[alert.LabelProject], 100))
	add("Severity", mrkdwn(v.severity, 50))
	add("Tags", mrkdwn(strings.Join(v.tags(), ", "), 300))
	add("Labels", mrkdwn(strings.Join(v.plainLabels(), "\n"), 800))
	return out
}

func instant(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return date(*t)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// duration says how long the run took, against what it usually takes.
func duration(v view) string {
	e := v.evidence
	if e.DurationSeconds == nil {
		return ""
	}
	text := span(seconds(*e.DurationSeconds))
	if e.MeanSeconds == nil {
		return text
	}
	text += ", usually " + span(seconds(*e.MeanSeconds))
	if e.StddevSeconds != nil {
		text += " ± " + span(seconds(*e.StddevSeconds))
	}
	if e.ZScore != nil {
		text += fmt.Sprintf(" (z %+.1f)", *e.ZScore)
	}
	return text
}

// buttons are what can be done about the alert.
func (a *App) buttons(org tenant.OrgID, v view) slack.Block {
	value, err := json.Marshal(pressed{Org: org, Fingerprint: v.fingerprint, Identity: v.identity})
	if err != nil { // an id and two strings
		value = nil
	}
	button := func(action, text string) *slack.ButtonBlockElement {
		return slack.NewButtonBlockElement(action, string(value), slack.NewTextBlockObject(slack.PlainTextType, text, false, false))
	}
	view := button(actView, "View")
	view.Value, view.URL = "", v.url
	if v.url == "" {
		view.URL = a.o.BaseURL
	}
	if v.resolved() {
		return slack.NewActionBlock("", view)
	}
	var list []slack.BlockElement
	if v.ackBy == "" {
		list = append(list, button(actAcknowledge, "Acknowledge").WithStyle(slack.StylePrimary))
	}
	list = append(list, button(actSilence1h, "Silence 1 h"), button(actSilence4h, "Silence 4 h"), button(actSilenceDay, "Silence until tomorrow"))
	if v.kind != "" {
		words := func(s string) *slack.TextBlockObject {
			return slack.NewTextBlockObject(slack.PlainTextType, s, false, false)
		}
		list = append(list, button(actResolve, "Resolve").WithConfirm(slack.NewConfirmationBlockObject(
			words("Resolve the incident?"), words("It opens again if the monitor goes on to fail."), words("Resolve"), words("Cancel"))))
	}
	return slack.NewActionBlock("", append(list, view)...)
}

func section(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text, false, true), nil, nil)
}

// reply is a message of one paragraph. Customers' texts in it must be escaped already.
func reply(text string) message {
	return message{text: text, blocks: []slack.Block{section(text)}}
}
