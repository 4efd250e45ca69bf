package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// bySlack begins the name of who did something in Slack: "slack:U024BE7LH (ada)".
const bySlack = "slack:"

// errEarlier is the answer to a button of a message whose alert has ended.
var errEarlier = fault.New(fault.Conflict, "This alert has ended meanwhile.")

// press is a button that somebody pressed.
type press struct {
	action    string
	value     pressed
	team      string
	user      slack.User
	in        place  // of the message
	threadTS  string // of its thread
	answersTo string // response_url
}

// who is how the person is written down.
func (p press) who() string { return whoIs(p.user.ID, p.user.Name) }

func whoIs(id, name string) string {
	name = plain(strings.NewReplacer("(", "", ")", "").Replace(name), 80)
	if name == "" {
		return bySlack + id
	}
	return bySlack + id + " (" + name + ")"
}

// userID reports whether it is the id of a person in Slack.
func userID(s string) bool {
	return len(s) > 2 && len(s) < 32 && (s[0] == 'U' || s[0] == 'W') && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// actions serves buttons.
func (a *App) actions(w http.ResponseWriter, r *http.Request, _ []byte) {
	call, err := slack.InteractionCallbackParse(r)
	if err != nil {
		http.Error(w, "the payload cannot be read", http.StatusBadRequest)
		return
	}
	p, err := pressOf(call)
	if err != nil || p.action == actView || p.action == "" {
		if err != nil {
			a.o.Logger.InfoContext(r.Context(), "slack: a button means nothing", "team", p.team, "error", err)
		}
		answerNow(w) // of an address that was opened Slack tells too
		return
	}
	if !a.work.begin(r.Context(), func(ctx context.Context) { a.act(ctx, p) }) {
		http.Error(w, "too much to do, press again in a moment", http.StatusServiceUnavailable)
		return
	}
	answerNow(w)
}

// pressOf reads what was pressed. An action of none is one that does not ask for anything.
func pressOf(call slack.InteractionCallback) (press, error) {
	p := press{
		team: call.Team.ID, user: call.User, answersTo: call.ResponseURL,
		in: place{Channel: call.Container.ChannelID, TS: call.Container.MessageTs}, threadTS: call.Container.ThreadTs,
	}
	if call.Type != slack.InteractionTypeBlockActions || len(call.ActionCallback.BlockActions) == 0 {
		return p, nil
	}
	one := call.ActionCallback.BlockActions[0]
	p.action = one.ActionID
	switch p.action {
	case actView:
		return p, nil
	case actAcknowledge, actSilence1h, actSilence4h, actSilenceDay, actResolve:
	default:
		return p, fmt.Errorf("unknown action %.60q", p.action)
	}
	if !userID(p.user.ID) || p.team == "" {
		return p, errors.New("nobody, or no workspace, is named")
	}
	if err := json.Unmarshal([]byte(one.Value), &p.value); err != nil {
		return p, errors.New("its value cannot be read")
	}
	if p.in.TS == "" {
		p.in.TS = call.Message.Timestamp
	}
	if p.in.Channel == "" {
		p.in.Channel = call.Channel.ID
	}
	// Somebody of another workspace, in a shared channel, is not of the organisation. Workspaces of one Enterprise are.
	if call.User.TeamID != "" && call.User.TeamID != p.team && call.Enterprise.ID == "" {
		return p, errors.New("pressed by somebody of another workspace")
	}
	return p, nil
}

// act does what the button says, and tells whoever pressed it what came of it.
func (a *App) act(ctx context.Context, p press) {
	err := a.tryAct(ctx, p)
	if err == nil {
		return
	}
	text := fault.MessageOf(err)
	if text == "" {
		text = "That did not work: something went wrong on our side. Try again in a moment."
		a.o.Logger.ErrorContext(ctx, "slack: a button failed", "org", p.value.Org, "action", p.action, "error", err)
	}
	a.respond(ctx, p.answersTo, mrkdwn(text, maxText))
}

func (a *App) tryAct(ctx context.Context, p press) error {
	w, err := a.ofTeam(ctx, p.team, p.value.Org)
	if err != nil {
		return err
	}
	c, err := a.callerOf(w)
	if err != nil {
		return err
	}
	r, err := a.o.Alerts.RoutedAlert(ctx, w.Org, p.value.Fingerprint)
	now := a.o.Clock()
	if fault.CodeOf(err) == fault.NotFound || err == nil && r.Resolved(now) {
		return errEarlier
	}
	if err != nil {
		return err
	}
	if incident := r.Annotations[alert.AnnotationIncident]; incident != "" && incident != p.value.Identity {
		return errEarlier // the labels are the same, what is wrong now is another thing
	}
	switch p.action {
	case actAcknowledge:
		return a.acknowledge(ctx, c, p, r, now)
	case actResolve:
		return a.resolve(ctx, c, p, r, now)
	}
	return a.silence(ctx, c, p, r, now)
}

// ofTeam is the workspace as the organisation's. One whose organisation is not of the workspace is not found: what a message
// carries is not believed.
func (a *App) ofTeam(ctx context.Context, team string, org tenant.OrgID) (alert.Workspace, error) {
	list, err := a.o.Workspaces.SlackTeam(ctx, team)
	if err != nil {
		return alert.Workspace{}, err
	}
	i := slices.IndexFunc(list, func(w alert.Workspace) bool { return w.Org == org && w.TeamID == team })
	if i < 0 {
		a.o.Logger.WarnContext(ctx, "slack: a button is of an organisation that the workspace does not serve", "team", team, "org", org)
		return alert.Workspace{}, fault.New(fault.NotFound, "This message is of an organisation that does not use this workspace any more.")
	}
	return list[i], nil
}

func (a *App) acknowledge(ctx context.Context, c *caller, p press, r alert.Routed, now time.Time) error {
	before := r.AcknowledgedBy
	r, err := a.o.Alerts.AcknowledgeAlert(ctx, c.w.Org, r.Fingerprint, p.who(), now)
	if err != nil {
		return err
	}
	a.edit(ctx, c, p, r, now, "")
	if before != "" {
		return fault.New(fault.Conflict, "It was acknowledged before, by "+before+".")
	}
	a.say(ctx, c, p, "👀 <@"+p.user.ID+"> is on it.")
	return nil
}

// edit brings the message to how the alert is now, with a note. That it cannot be costs no more than that.
func (a *App) edit(ctx context.Context, c *caller, p press, r alert.Routed, now time.Time, note string) {
	v := viewOfRouted(r, now)
	v.note = note
	m := a.headOf(c.w.Org, v, a.strip(ctx, c.w.Org, v.monitorID), "", now)
	if err := c.update(ctx, p.in, m); err != nil {
		a.o.Logger.WarnContext(ctx, "slack: a message could not be edited", "org", c.w.Org, "error", err)
	}
}

// say answers in the thread, else to whoever pressed.
func (a *App) say(ctx context.Context, c *caller, p press, text string) {
	ts := p.threadTS
	if ts == "" {
		ts = p.in.TS
	}
	if _, err := c.tryPost(ctx, p.in.Channel, reply(text), uuid.Nil, thread{ts: ts}); err != nil {
		a.o.Logger.WarnContext(ctx, "slack: an answer could not be posted in the thread", "org", c.w.Org, "error", err)
		a.respond(ctx, p.answersTo, text)
	}
}

func (a *App) resolve(ctx context.Context, c *caller, p press, r alert.Routed, now time.Time) error {
	if r.Source != alert.FromIncident {
		return fault.New(fault.Conflict, "Only incidents of monitors are resolved by hand. This alert resolves by itself when what it watches is well again; silence it until then.")
	}
	if err := a.o.Incidents.ResolveIncident(ctx, c.w.Org, r.Incident, p.who()); err != nil {
		return err
	}
	note := "<@" + p.user.ID + "> resolves it." // the recovery follows, as of every alert
	a.edit(ctx, c, p, r, now, note)
	a.say(ctx, c, p, note)
	return nil
}

func (a *App) silence(ctx context.Context, c *caller, p press, r alert.Routed, now time.Time) error {
	until := now.Add(time.Hour)
	switch p.action {
	case actSilence4h:
		until = now.Add(4 * time.Hour)
	case actSilenceDay:
		until = tomorrow(now, c.zone(ctx, p.user.ID))
	}
	s := silences.Silence{
		Matchers: matchersOf(r), StartsAt: now, EndsAt: until, CreatedBy: p.who(), Comment: "Silenced in Slack: " + plain(r.Labels[alert.LabelName], 100),
	}
	if err := a.saveSilence(ctx, c.w.Org, s, now); err != nil {
		return err
	}
	note := fmt.Sprintf("🔕 <@%s> silenced it until %s.", p.user.ID, date(until))
	a.edit(ctx, c, p, r, now, note)
	a.say(ctx, c, p, note)
	return nil
}

func (a *App) saveSilence(ctx context.Context, org tenant.OrgID, s silences.Silence, now time.Time) error {
	stored, err := silences.Encode(s, now)
	if err != nil {
		return err
	}
	return a.o.Alerts.SaveSilences(ctx, org, []alert.StoredSilence{stored})
}

// matchersOf pick the alert and its like: this thing that is wrong with the monitor, also after it was renamed; of other alerts
// exactly the one.
func matchersOf(r alert.Routed) []silences.Matcher {
	if r.Source == alert.FromIncident && r.Labels[alert.LabelID] != "" {
		return []silences.Matcher{
			{Name: alert.LabelName, Value: r.Labels[alert.LabelName]}, {Name: alert.LabelID, Value: r.Labels[alert.LabelID]},
		}
	}
	out := make([]silences.Matcher, 0, len(r.Labels))
	for name, value := range r.Labels {
		out = append(out, silences.Matcher{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b silences.Matcher) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// workBegins is the hour at which tomorrow begins for who silences until then.
const workBegins = 9

// tomorrow is the next day's beginning of work in the zone.
func tomorrow(now time.Time, zone *time.Location) time.Time {
	y, m, d := now.In(zone).Date()
	return time.Date(y, m, d+1, workBegins, 0, 0, 0, zone)
}

// zone is where the person is; UTC where Slack does not say.
func (c *caller) zone(ctx context.Context, user string) *time.Location {
	u, err := c.api.GetUserInfoContext(ctx, user)
	if err = c.check(ctx, "users.info", err); err != nil || u == nil {
		c.app.o.Logger.InfoContext(ctx, "slack: a person's zone is not known", "org", c.w.Org, "error", err)
		return time.UTC
	}
	if zone, err := time.LoadLocation(u.TZ); err == nil && u.TZ != "" && u.TZ != "Local" {
		return zone
	}
	return time.FixedZone("", max(-14*3600, min(u.TZOffset, 14*3600)))
}
