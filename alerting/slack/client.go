package slack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/slack-go/slack"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// message is what a message holds.
type message struct {
	text        string // what a notification shows
	blocks      []slack.Block
	attachments []slack.Attachment
}

// place is where a message is.
type place struct {
	Channel string `json:"c"` // id
	TS      string `json:"t"`
}

// caller speaks to one workspace for one organisation.
type caller struct {
	app *App
	w   alert.Workspace
	api *slack.Client
}

// caller opens the organisation's token. The error is a fault where there is no workspace, or Slack refused its token.
func (a *App) caller(ctx context.Context, org tenant.OrgID) (*caller, error) {
	w, err := a.o.Workspaces.SlackWorkspace(ctx, org)
	if fault.CodeOf(err) == fault.NotFound {
		return nil, fault.New(fault.Invalid, "no Slack workspace is installed: open "+a.o.BaseURL+"/api/slack/install")
	}
	if err != nil {
		return nil, err
	}
	if w.Revoked() {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("the Slack workspace %s has revoked the app (%s): install it again at %s/api/slack/install",
			w.TeamName, w.RevokedReason, a.o.BaseURL))
	}
	return a.callerOf(w)
}

func (a *App) callerOf(w alert.Workspace) (*caller, error) {
	token, err := a.o.Box.Open(w.Sealed, w.About())
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Message: "the token of the Slack workspace cannot be opened: install the app again", Err: err}
	}
	return &caller{app: a, w: w, api: a.api(w.TeamID, string(token))}, nil
}

func (a *App) api(team, token string) *slack.Client {
	return slack.New(token, slack.OptionAPIURL(a.o.APIURL), slack.OptionHTTPClient(teamClient{a.http, team}))
}

// check makes an error of a call ours, and notes a token that Slack refuses.
func (c *caller) check(ctx context.Context, method string, err error) error {
	err = asCallError(method, err)
	call, ok := errors.AsType[*callError](err)
	if !ok {
		return err
	}
	if call.code != "" {
		c.app.metrics.calls.WithLabelValues(method, outcomeRefused).Inc()
	}
	if call.verdict() == revoked {
		c.app.revoke(ctx, c.w, call.code)
	}
	return err
}

// revoke notes that Slack refuses the workspace's token.
func (a *App) revoke(ctx context.Context, w alert.Workspace, reason string) {
	first, err := a.o.Workspaces.RevokeSlackWorkspace(context.WithoutCancel(ctx), w.Org, w.InstalledAt, reason)
	if err != nil {
		a.o.Logger.WarnContext(ctx, "slack: a revoked workspace could not be noted", "org", w.Org, "error", err)
	}
	if first {
		a.metrics.revoked.Inc()
		a.o.Logger.WarnContext(ctx, "slack: a workspace revoked the app", "org", w.Org, "team", w.TeamID, "reason", reason)
	}
}

// thread is where a reply goes. The zero value is the channel itself.
type thread struct {
	ts        string
	broadcast bool // show it in the channel too
}

// post sends a message to a channel, by name or id, into which the app lets itself if it may. Slack is asked to take the same id
// once only, which it does not promise.
func (c *caller) post(ctx context.Context, channel string, m message, id uuid.UUID, in thread) (place, error) {
	p, err := c.tryPost(ctx, channel, m, id, in)
	switch {
	case err == nil:
		return p, nil
	case verdictIn(err) == twice:
		p, err = c.tryPost(ctx, channel, m, uuid.Nil, in)
	case verdictIn(err) == content:
		c.app.o.Logger.WarnContext(ctx, "slack: a message is sent as text only: Slack refused how it looks", "org", c.w.Org, "error", err)
		p, err = c.tryPost(ctx, channel, message{text: m.text}, uuid.Nil, in)
	}
	if verdictIn(err) == nowhere && !isArchived(err) {
		if joined, ok := c.join(ctx, channel); ok {
			p, err = c.tryPost(ctx, joined, m, id, in)
		}
	}
	return p, err
}

func isArchived(err error) bool {
	call, ok := errors.AsType[*callError](err)
	return ok && call.code == "is_archived"
}

func (c *caller) tryPost(ctx context.Context, channel string, m message, id uuid.UUID, in thread) (place, error) {
	const method = "chat.postMessage"
	options := m.options()
	options = append(options, slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	if in.ts != "" {
		options = append(options, slack.MsgOptionTS(in.ts))
		if in.broadcast {
			options = append(options, slack.MsgOptionBroadcast())
		}
	}
	if id != uuid.Nil {
		options = append(options, slack.UnsafeMsgOptionEndpoint(c.app.o.APIURL+method, func(v url.Values) { v.Set("client_msg_id", id.String()) }))
	}
	at, ts, err := c.api.PostMessageContext(ctx, channel, options...)
	if err == nil && ts == "" {
		err = &callError{method: method, err: errors.New("the answer has no timestamp")}
	}
	return place{Channel: at, TS: ts}, c.check(ctx, method, err)
}

// update replaces a message of the app's.
func (c *caller) update(ctx context.Context, p place, m message) error {
	err := c.tryUpdate(ctx, p, m)
	if err != nil && verdictIn(err) == content {
		err = c.tryUpdate(ctx, p, message{text: m.text})
	}
	return err
}

func (c *caller) tryUpdate(ctx context.Context, p place, m message) error {
	const method = "chat.update"
	// Slack keeps what it is not sent: what the message has no more must be sent as an empty list.
	_, _, _, err := c.api.UpdateMessageContext(ctx, p.Channel, p.TS, slack.MsgOptionText(m.text, false), slack.MsgOptionBlocks(m.blocks...),
		slack.MsgOptionAttachments(append([]slack.Attachment{}, m.attachments...)...))
	return c.check(ctx, method, err)
}

func (m message) options() []slack.MsgOption {
	options := []slack.MsgOption{slack.MsgOptionText(m.text, false)}
	if len(m.blocks) > 0 {
		options = append(options, slack.MsgOptionBlocks(m.blocks...))
	}
	if len(m.attachments) > 0 {
		options = append(options, slack.MsgOptionAttachments(m.attachments...))
	}
	return options
}

// join lets the app into a public channel and returns its id. That it cannot is remembered for a while, so that a wrong channel
// does not cost a search each time.
func (c *caller) join(ctx context.Context, channel string) (id string, ok bool) {
	key := c.w.TeamID + "/" + channel
	if c.app.memory.missing(key, c.app.o.Clock()) {
		return "", false
	}
	id, err := c.channelID(ctx, channel)
	if err == nil && id != "" {
		_, _, _, err = c.api.JoinConversationContext(ctx, id)
		err = c.check(ctx, "conversations.join", err)
	}
	if err != nil || id == "" {
		if verdictIn(err) != again || err == nil {
			c.app.memory.miss(key, c.app.o.Clock())
		}
		c.app.o.Logger.InfoContext(ctx, "slack: the app cannot join a channel", "org", c.w.Org, "channel", channel, "error", err)
		return "", false
	}
	return id, true
}

// maxChannelPages bounds a search for a channel by name, at 1,000 a page.
const maxChannelPages = 10

// channelID finds a public channel by its name; "": there is none.
func (c *caller) channelID(ctx context.Context, channel string) (string, error) {
	name, named := strings.CutPrefix(channel, "#")
	if !named {
		return channel, nil
	}
	p := slack.GetConversationsParameters{ExcludeArchived: true, Limit: 1000, Types: []string{"public_channel"}}
	for range maxChannelPages {
		list, next, err := c.api.GetConversationsContext(ctx, &p)
		if err := c.check(ctx, "conversations.list", err); err != nil {
			return "", err
		}
		for _, one := range list {
			if one.Name == name || one.NameNormalized == name {
				return one.ID, nil
			}
		}
		if next == "" {
			return "", nil
		}
		p.Cursor = next
	}
	return "", nil
}
