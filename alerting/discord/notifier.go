package discord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Discord's limits, in characters, but for embeds.
const (
	mostEmbeds      = 10
	mostTitle       = 256
	mostDescription = 1000 // 4,096 is allowed, but 6,000 is for all embeds together
	mostField       = 300
	mostTotal       = 5800
)

// Colours of embeds.
const (
	red    = 0xD32F2F
	orange = 0xF57C00
	green  = 0x388E3C
	grey   = 0x757575
)

// notifier posts to one connection. Safe for concurrent use.
type notifier struct {
	app   *App
	org   tenant.OrgID
	entry entry
	tmpl  *template.Template
}

// Notify posts the group as one message. Its error holds no URL.
func (n *notifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	to, err := n.app.webhook(ctx, n.org, n.entry.Connection)
	if err != nil {
		return fault.CodeOf(err) == fault.Unavailable || errors.Is(err, context.DeadlineExceeded), err
	}
	body, err := json.Marshal(n.message(alerts))
	if err != nil {
		return false, err
	}
	answer, retry, err := outgoing.Post(ctx, n.app.o.Client, to+"?wait=true", http.Header{"Content-Type": {"application/json"}}, body)
	refused, ok := errors.AsType[*outgoing.Error](err)
	if !ok {
		return retry, err
	}
	switch refused.StatusCode() {
	case http.StatusTooManyRequests: // the body is more exact than the header, and sometimes there is only it
		var said struct {
			RetryAfter float64 `json:"retry_after"`
		}
		if json.Unmarshal(answer, &said) == nil && said.RetryAfter > 0 {
			after := outgoing.Seconds(strconv.FormatFloat(said.RetryAfter, 'f', 3, 64), n.app.o.Clock())
			return true, outgoing.NewError(http.StatusTooManyRequests, max(after, refused.RetryAfter()), "rate limited by Discord")
		}
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false, fmt.Errorf("%w: the webhook was removed at Discord: connect %q again", refused, n.entry.Connection)
	}
	return retry, err
}

// message is what Discord's webhooks take.
type message struct {
	Content  string   `json:"content,omitempty"`
	Embeds   []embed  `json:"embeds"`
	Mentions mentions `json:"allowed_mentions"`
}

// mentions names who may be called: no text of an alert calls anybody.
type mentions struct {
	Parse []string `json:"parse"`
	Roles []string `json:"roles,omitempty"`
}

type embed struct {
	Title       string  `json:"title"`
	URL         string  `json:"url,omitempty"`
	Description string  `json:"description,omitempty"`
	Color       int     `json:"color"`
	Timestamp   string  `json:"timestamp,omitempty"`
	Fields      []field `json:"fields,omitempty"`
	Footer      *footer `json:"footer,omitempty"`
}

type field struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Inline bool   `json:"inline"`
}

type footer struct {
	Text string `json:"text"`
}

// message shows the firing ones first, as many as there is room for, and counts the rest.
func (n *notifier) message(alerts []*amalert.Alert) message {
	var firing, resolved []*amalert.Alert
	for _, a := range alerts {
		if a.Resolved() {
			resolved = append(resolved, a)
		} else {
			firing = append(firing, a)
		}
	}
	m := message{Mentions: mentions{Parse: []string{}}, Embeds: []embed{}}
	if len(alerts) > 1 {
		m.Content = fmt.Sprintf("**%d firing, %d resolved**", len(firing), len(resolved))
	}
	if len(firing) > 0 {
		n.call(&m)
	}
	total := 0
	all := append(firing, resolved...)
	for i, a := range all {
		e := embedOf(a)
		total += e.size()
		last := len(m.Embeds) == mostEmbeds-1 && i < len(all)-1
		if last || total > mostTotal {
			m.Embeds = append(m.Embeds, embed{Title: fmt.Sprintf("… and %d more", len(all)-i), URL: n.link(), Color: grey})
			break
		}
		m.Embeds = append(m.Embeds, e)
	}
	return m
}

// call puts the mention in front, and allows it.
func (n *notifier) call(m *message) {
	switch mention := n.entry.Mention; mention {
	case "":
	case "@here", "@everyone":
		m.Content, m.Mentions.Parse = strings.TrimSpace(mention+" "+m.Content), []string{"everyone"} // @here is of that kind, too
	default:
		m.Content, m.Mentions.Roles = strings.TrimSpace("<@&"+mention+"> "+m.Content), []string{mention}
	}
}

func (n *notifier) link() string {
	if n.tmpl == nil || n.tmpl.ExternalURL == nil {
		return ""
	}
	return n.tmpl.ExternalURL.String()
}

func (e embed) size() int {
	size := utf8.RuneCountInString(e.Title) + utf8.RuneCountInString(e.Description)
	for _, f := range e.Fields {
		size += utf8.RuneCountInString(f.Name) + utf8.RuneCountInString(f.Value)
	}
	if e.Footer != nil {
		size += utf8.RuneCountInString(e.Footer.Text)
	}
	return size
}

func embedOf(a *amalert.Alert) embed {
	name := string(a.Labels[alert.LabelMonitor])
	if name == "" {
		name = a.Name()
	}
	summary := string(a.Annotations[alert.AnnotationSummary])
	if summary == "" {
		summary = a.Name()
	}
	e := embed{Title: shorten("🔴 "+name, mostTitle), Description: shorten(escape(summary), mostDescription), Color: red, Timestamp: stamp(a.StartsAt)}
	switch {
	case a.Resolved():
		e.Title, e.Color, e.Timestamp = shorten("🟢 "+name, mostTitle), green, stamp(a.EndsAt)
		e.Fields = append(e.Fields, field{Name: "Lasted", Value: a.EndsAt.Sub(a.StartsAt).Round(time.Second).String(), Inline: true})
	case a.Labels[alert.LabelSeverity] == "warning":
		e.Title, e.Color = shorten("🟠 "+name, mostTitle), orange
	}
	if link := a.GeneratorURL; strings.HasPrefix(link, "http") {
		e.URL = link
	}
	for _, f := range []struct{ name, value string }{
		{"Project", string(a.Labels[alert.LabelProject])},
		{"Severity", string(a.Labels[alert.LabelSeverity])},
		{"Since", "<t:" + strconv.FormatInt(a.StartsAt.Unix(), 10) + ":R>"},
	} {
		if f.value != "" && (f.name != "Since" || !a.Resolved()) {
			e.Fields = append(e.Fields, field{Name: f.name, Value: shorten(f.value, mostField), Inline: true})
		}
	}
	if by := a.Annotations[alert.AnnotationAckBy]; by != "" && !a.Resolved() {
		e.Fields = append(e.Fields, field{Name: "Acknowledged by", Value: shorten(escape(string(by)), mostField), Inline: true})
	}
	if !a.Resolved() {
		e.Fields = append(e.Fields, evidence(a)...)
	}
	return e
}

// evidence is what is known of the run, as fields; of alerts that are no incident's it is nothing.
func evidence(a *amalert.Alert) []field {
	var known incident.Evidence
	if json.Unmarshal([]byte(a.Annotations[alert.AnnotationEvidence]), &known) != nil {
		return nil
	}
	var out []field
	if known.ExitCode != nil {
		out = append(out, field{Name: "Exit status", Value: strconv.Itoa(*known.ExitCode), Inline: true})
	}
	if output := strings.TrimSpace(known.Output); output != "" {
		// The last words say most; a fence within would end ours.
		output = strings.ReplaceAll(output, "```", "'''")
		if runes := []rune(output); len(runes) > mostField-10 {
			output = "…" + string(runes[len(runes)-(mostField-10):])
		}
		out = append(out, field{Name: "Output", Value: "```\n" + output + "\n```"})
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// escape takes the meaning from Markdown's characters.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, ">", `\>`, "[", `\[`, "#", `\#`, "<", `\<`).Replace(s)
}
