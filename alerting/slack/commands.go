package slack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	maxListedMonitors = 40
	maxSearched       = 10_000 // monitors of an organisation that are searched by name
	searchPage        = 1_000
)

// commands serves /pulse.
func (a *App) commands(w http.ResponseWriter, r *http.Request, _ []byte) {
	s, err := slack.SlashCommandParse(r)
	if err != nil || s.TeamID == "" || !userID(s.UserID) {
		http.Error(w, "the command cannot be read", http.StatusBadRequest)
		return
	}
	c, err := parseCommand(s.Text)
	if err != nil {
		answerText(w, mrkdwn(fault.MessageOf(err), maxText))
		return
	}
	if c.verb == verbHelp {
		answerText(w, usage)
		return
	}
	if _, err := hookURL(s.ResponseURL); err != nil {
		http.Error(w, "the response_url is not Slack's", http.StatusBadRequest)
		return
	}
	if !a.work.begin(r.Context(), func(ctx context.Context) { a.respond(ctx, s.ResponseURL, a.obey(ctx, c, s)) }) {
		answerText(w, "There is too much to do right now. Try again in a moment.")
		return
	}
	answerNow(w)
}

// obey does what was asked and says what came of it, in Slack's markup.
func (a *App) obey(ctx context.Context, c command, s slack.SlashCommand) string {
	w, err := a.orgOf(ctx, c, s)
	var text string
	if err == nil {
		text, err = a.tryObey(ctx, w.Org, c, s)
	}
	if err == nil {
		return text
	}
	if text = fault.MessageOf(err); text != "" {
		return mrkdwn(text, maxText)
	}
	a.o.Logger.ErrorContext(ctx, "slack: a command failed", "org", w.Org, "verb", string(c.verb), "error", err)
	return "That did not work: something went wrong on our side. Try again in a moment."
}

func (a *App) tryObey(ctx context.Context, org tenant.OrgID, c command, s slack.SlashCommand) (string, error) {
	if c.verb == verbStatus {
		return a.status(ctx, org)
	}
	if c.verb == verbList {
		return a.list(ctx, org, c.name)
	}
	all, err := a.monitors(ctx, org)
	if err != nil {
		return "", err
	}
	m, err := pick(all, c.name)
	if err != nil {
		return "", err
	}
	name := "*" + mrkdwn(m.Config.Name, 100) + "*"
	switch c.verb {
	case verbPause, verbResume:
		if _, err := a.o.Monitors.SetPaused(ctx, org, m.ID, c.verb == verbPause); err != nil {
			return "", err
		}
		if c.verb == verbPause {
			return "⏸ " + name + " is paused: nothing is expected of it until it is resumed.", nil
		}
		return "▶️ " + name + " is resumed.", nil
	case verbSilence:
		now := a.o.Clock()
		err := a.saveSilence(ctx, org, silences.Silence{
			Matchers: []silences.Matcher{{Name: alert.LabelID, Value: m.ID.String()}},
			StartsAt: now, EndsAt: now.Add(c.length), CreatedBy: whoIs(s.UserID, s.UserName),
			Comment: cmp.Or(plain(c.comment, 500), "Silenced in Slack: "+plain(m.Config.Name, 100)),
		}, now)
		return "🔕 " + name + " is silenced until " + date(now.Add(c.length)) + ".", err
	case verbAck:
		return a.ack(ctx, org, m, name, whoIs(s.UserID, s.UserName))
	default:
		return "", wrongCommand("Write `/pulse help`.")
	}
}

// orgOf is the organisation that the command is for, as its workspace: the only one that uses it, the one said, or the one whose
// channel the command was typed in.
func (a *App) orgOf(ctx context.Context, c command, s slack.SlashCommand) (alert.Workspace, error) {
	list, err := a.o.Workspaces.SlackTeam(ctx, s.TeamID)
	if err != nil {
		return alert.Workspace{}, err
	}
	if len(list) == 0 {
		return alert.Workspace{}, fault.New(fault.NotFound, "No organisation uses this workspace. Connect it at "+a.o.BaseURL+"/api/slack/install")
	}
	if len(list) == 1 && c.org == "" {
		return list[0], nil
	}
	var names []string
	var said, here []alert.Workspace
	for _, w := range list {
		org, err := a.o.Monitors.Organisation(ctx, w.Org)
		if err != nil {
			return alert.Workspace{}, err
		}
		names = append(names, org.Name)
		if c.org != "" && (strings.EqualFold(org.Name, c.org) || fold(org.Name) == fold(c.org) || w.Org.String() == strings.ToLower(c.org)) {
			said = append(said, w)
		}
		used, err := a.o.Workspaces.SlackChannelUsed(ctx, w.Org, s.ChannelID)
		if err != nil {
			return alert.Workspace{}, err
		}
		if used || w.ChannelID != "" && w.ChannelID == s.ChannelID {
			here = append(here, w)
		}
	}
	switch {
	case len(said) == 1:
		return said[0], nil
	case c.org == "" && len(here) == 1:
		return here[0], nil
	}
	slices.Sort(names)
	return alert.Workspace{}, fault.New(fault.Ambiguous, "Which organisation? Type the command in a channel that only one posts to, or write it first, as /pulse org:\""+
		names[0]+"\" status. There are: "+strings.Join(names, ", "))
}

// monitors are all of the organisation's, within reason.
func (a *App) monitors(ctx context.Context, org tenant.OrgID) ([]inventory.Monitor, error) {
	var out []inventory.Monitor
	f := inventory.MonitorFilter{Limit: searchPage}
	for len(out) < maxSearched {
		page, err := a.o.Monitors.Monitors(ctx, org, f)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < searchPage {
			break
		}
		f.After = page[len(page)-1].ID
	}
	return out, nil
}

// status says how many monitors stand how, and what is wrong.
func (a *App) status(ctx context.Context, org tenant.OrgID) (string, error) {
	all, err := a.monitors(ctx, org)
	if err != nil {
		return "", err
	}
	counts := map[monitor.Status]int{}
	for _, m := range all {
		counts[m.Status]++
	}
	open, err := a.o.Incidents.Incidents(ctx, org, inventory.IncidentFilter{
		Statuses: []incident.Status{incident.Open, incident.Acknowledged}, Limit: maxListed + 1,
	})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d monitors*", len(all))
	for _, one := range []struct {
		status monitor.Status
		icon   string
	}{{monitor.Up, "🟢"}, {monitor.Late, "🟠"}, {monitor.Down, "🔴"}, {monitor.New, "⚪"}, {monitor.Paused, "⏸"}} {
		if n := counts[one.status]; n > 0 {
			fmt.Fprintf(&b, "  %s %d %s", one.icon, n, one.status)
		}
	}
	if len(open) == 0 {
		b.WriteString("\nNothing is wrong.")
		return b.String(), nil
	}
	for i, in := range open {
		if i == maxListed {
			b.WriteString("\n… and more")
			break
		}
		v := view{kind: in.Kind, monitor: in.MonitorName, severity: string(in.Severity)}
		if in.Status == incident.Acknowledged {
			v.ackBy = "somebody"
		}
		fmt.Fprintf(&b, "\n%s %s, since %s", icon(v), mrkdwn(oneLine(v.title()), 100), date(in.OpenedAt))
	}
	return b.String(), nil
}

// list names monitors, or those whose name has the text.
func (a *App) list(ctx context.Context, org tenant.OrgID, text string) (string, error) {
	found, err := a.o.Monitors.Monitors(ctx, org, inventory.MonitorFilter{Name: text, Limit: maxListedMonitors + 1})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		if text == "" {
			return "There are no monitors yet.", nil
		}
		return "No monitor's name has “" + mrkdwn(plain(text, 80), 100) + "” in it.", nil
	}
	var b strings.Builder
	for i, m := range found {
		if i == maxListedMonitors {
			b.WriteString("\n… and more: write a part of the name behind list")
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s", statusIcon(m.Status), mrkdwn(oneLine(m.Config.Name), 60))
	}
	return b.String(), nil
}

func statusIcon(s monitor.Status) string {
	switch s {
	case monitor.Up:
		return "🟢"
	case monitor.Late:
		return "🟠"
	case monitor.Down:
		return "🔴"
	case monitor.Paused:
		return "⏸"
	default:
		return "⚪"
	}
}

// ack acknowledges everything that is wrong with the monitor.
func (a *App) ack(ctx context.Context, org tenant.OrgID, m inventory.Monitor, name, by string) (string, error) {
	open, err := a.o.Incidents.Incidents(ctx, org, inventory.IncidentFilter{Statuses: []incident.Status{incident.Open}, Monitor: &m.ID, Limit: 10})
	if err != nil {
		return "", err
	}
	done, waiting := 0, 0
	for _, in := range open {
		switch err := a.ackIncident(ctx, org, in.ID, by); {
		case err == nil:
			done++
		case fault.CodeOf(err) == fault.NotFound, fault.CodeOf(err) == fault.Conflict:
			waiting++ // it is not an alert yet, or not any more
		default:
			return "", err
		}
	}
	switch {
	case done > 0:
		return fmt.Sprintf("👀 You are on it: %s.", name), nil
	case waiting > 0:
		return name + " has just changed. Try again in a moment.", nil
	}
	return "Nothing is wrong with " + name + " that is not acknowledged already.", nil
}

func (a *App) ackIncident(ctx context.Context, org tenant.OrgID, id uuid.UUID, by string) error {
	r, err := a.o.Alerts.RoutedByIncident(ctx, org, id)
	if err != nil {
		return err
	}
	if r.Org != org {
		return errors.New("an alert of another organisation")
	}
	_, err = a.o.Alerts.AcknowledgeAlert(ctx, org, r.Fingerprint, by, a.o.Clock())
	return err
}
