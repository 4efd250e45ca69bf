package slack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// maxHeads is how many alerts of a group have a message, and a thread, of their own at a time. What comes above that is told by
// one message for the group.
const maxHeads = 5

// maxKept is how many threads of a group are remembered that are not in it now: they are silenced, perhaps.
const maxKept = 100

// Factory makes the notifiers of an organisation's slack_app_configs.
func (a *App) Factory(org tenant.OrgID) func(e config.Entry, t *template.Template) (notify.Notifier, error) {
	return func(e config.Entry, _ *template.Template) (notify.Notifier, error) {
		own, err := parseEntry(e.Node)
		if err != nil {
			return nil, err
		}
		mention, err := mentionOf(own.Mention)
		if err != nil {
			return nil, err
		}
		return &notifier{app: a, org: org, channel: own.Channel, mention: mention, resolved: e.SendResolved, name: fmt.Sprintf("%s/%s/%d", e.Receiver, e.Kind, e.Index)}, nil
	}
}

// notifier tells one channel of an organisation. Safe for concurrent use.
type notifier struct {
	app      *App
	org      tenant.OrgID
	channel  string // "": the one chosen when the app was installed
	mention  string // as Slack wants it
	resolved bool   // it is told what resolves
	name     string // receiver, kind and index
}

// Notify tells a group of alerts. What was told already, by an attempt before that failed half-way too, is not told again.
func (n *notifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	c, err := n.app.caller(ctx, n.org)
	if err != nil {
		return outcome(err)
	}
	channel := cmp.Or(n.channel, c.w.ChannelID, c.w.Channel)
	if channel == "" {
		return outcome(fault.New(fault.Invalid, "no channel: give one in slack_app_configs, as channel: '#ops'"))
	}
	f := n.newFlush(ctx, c, channel, alerts)
	return outcome(aboutChannel(channel, f.tell(ctx)))
}

// flush is one telling of a group.
type flush struct {
	*notifier
	c       *caller
	channel string
	key     string // of the group and the notifier
	repeat  int64  // nothing changed, but it is time to say it again: for when, as Unix nanoseconds. 0: it is not
	now     time.Time
	views   []view // of its alerts, the oldest first
	store   *nflog.Store
	threads threads
	past    map[string]string // timestamps of threads that were ended in this telling, by fingerprint
}

func (n *notifier) newFlush(ctx context.Context, c *caller, channel string, alerts []*amalert.Alert) *flush {
	f := &flush{notifier: n, c: c, channel: channel, now: n.app.o.Clock(), past: map[string]string{}}
	for _, a := range alerts {
		f.views = append(f.views, viewOf(a))
	}
	slices.SortStableFunc(f.views, func(a, b view) int {
		return cmp.Or(a.starts.Compare(b.starts), strings.Compare(a.subject(), b.subject()), strings.Compare(a.fingerprint, b.fingerprint))
	})
	group, _ := notify.GroupKey(ctx)
	f.key = n.org.String() + "/" + n.name + "/" + group
	if reason, _ := notify.NotificationReason(ctx); reason == notify.ReasonRepeatIntervalElapsed {
		due, _ := notify.Now(ctx)
		f.repeat = due.UnixNano()
	}
	store, ok := notify.NflogStore(ctx)
	if !ok || store == nil {
		store = nflog.NewStore(nil)
	}
	f.store = store
	f.threads = loadThreads(store)
	f.remember()
	return f
}

// remember takes up what this process told and could not write down, because the flush failed or the group began anew, as it does
// after a silence. What was told of another alert of the same labels, and not to its end, is ended.
func (f *flush) remember() {
	old, ok := f.app.memory.threads(f.key)
	if !ok {
		return
	}
	for _, v := range f.views {
		h, told := old.Heads[v.fingerprint]
		same := h.Identity == v.identity
		stored, known := f.threads.Heads[v.fingerprint]
		switch {
		case !told:
		case !known && (!h.Resolved || same && v.resolved()), known && same && stored.TS == h.TS && h.Resolved && v.resolved():
			f.threads.Heads[v.fingerprint] = h
		}
	}
	switch now := f.threads.Digest; {
	case old.Digest == nil:
	case now != nil && now.TS == old.Digest.TS && now.Count < old.Digest.Count:
		f.threads.Digest = old.Digest
	case now == nil:
		members := unpackSums(old.Digest.Members)
		if slices.ContainsFunc(f.views, func(v view) bool { return members[sumOf(v)] }) {
			f.threads.Digest = old.Digest
		}
	}
}

// keep writes down what was told so far, where the next attempt and the notification log find it.
func (f *flush) keep() {
	f.threads.save(f.store)
	f.app.memory.setThreads(f.key, f.threads)
}

// tell brings Slack to where the alerts are. The error is of the first call that failed.
func (f *flush) tell(ctx context.Context) error {
	defer f.keep()
	var fresh, digested []view
	running := 0 // threads of what fires
	members := f.members()
	for _, v := range f.views {
		h, told := f.threads.Heads[v.fingerprint]
		if told && (h.Identity != v.identity || h.Resolved && !v.resolved()) {
			if err := f.close(ctx, v.fingerprint, h); err != nil {
				return err
			}
			told = false
		}
		switch {
		case told:
			if err := f.follow(ctx, v, h); err != nil {
				return err
			}
			if !v.resolved() {
				running++
			}
		case members[sumOf(v)]:
			digested = append(digested, v)
		case !v.resolved():
			fresh = append(fresh, v)
		}
		// What was resolved and never told is of no interest.
	}
	if f.threads.Digest != nil || running+len(fresh) > maxHeads {
		if err := f.tellDigest(ctx, append(digested, fresh...)); err != nil {
			return err
		}
	} else {
		for _, v := range fresh {
			if err := f.begin(ctx, v, f.mention, f.past[v.fingerprint]); err != nil {
				return err
			}
		}
	}
	f.forget()
	return nil
}

// begin posts the head of an alert's thread. past tells a second head of the same alert from the first.
func (f *flush) begin(ctx context.Context, v view, mention, past string) error {
	m := f.app.headOf(f.org, v, f.app.strip(ctx, f.org, v.monitorID), mention, f.now)
	p, err := f.post(ctx, m, v.fingerprint+"/"+v.identity+"/"+past, thread{})
	if err != nil {
		return err
	}
	f.threads.Heads[v.fingerprint] = head{
		place: p, Identity: v.identity, Starts: v.starts.Unix(), AckBy: v.ackBy, Resolved: v.resolved(), Title: plain(v.title(), maxHeader),
	}
	f.keep()
	return nil
}

// follow brings an alert's thread to where the alert is.
func (f *flush) follow(ctx context.Context, v view, h head) error {
	var say string
	in := thread{ts: h.TS}
	switch {
	case v.resolved() && h.Resolved:
		return nil
	case v.resolved():
		say = fmt.Sprintf("✅ Resolved after %s.", span(v.ends.Sub(v.starts)))
	case f.repeat != 0 && f.repeat != h.Repeated:
		say, in.broadcast = fmt.Sprintf("%s Still %s, for %s.", icon(v), strings.ToLower(mrkdwn(v.wrong(), maxHeader)), span(f.now.Sub(v.starts))), true
	case v.ackBy != h.AckBy && v.ackBy != "":
		if !strings.HasPrefix(v.ackBy, bySlack) { // who pressed the button was answered there
			say = "👀 Acknowledged by " + person(v.ackBy) + "."
		}
	case v.ackBy == h.AckBy:
		return nil
	}
	err := f.c.update(ctx, h.place, f.app.headOf(f.org, v, f.app.strip(ctx, f.org, v.monitorID), f.mentionFor(v), f.now))
	if verdictIn(err) == gone || verdictIn(err) == nowhere {
		return f.begin(ctx, v, "", h.TS) // it was deleted: begin a new thread with how it is now
	}
	if err != nil {
		return err
	}
	if say != "" {
		id := strings.Join([]string{v.fingerprint, v.identity, h.TS, say}, "/")
		if _, err := f.postTo(ctx, h.Channel, reply(say), id, in); err != nil && verdictIn(err) != gone {
			return err
		}
	}
	h.AckBy, h.Resolved, h.Repeated = v.ackBy, v.resolved(), f.repeat
	f.threads.Heads[v.fingerprint] = h
	f.keep()
	return nil
}

// mentionFor is what an edited head keeps of its mention: it calls nobody again.
func (f *flush) mentionFor(v view) string {
	if v.ackBy != "" {
		return ""
	}
	return f.mention
}

// close ends the thread of an alert that has ended unnoticed: its labels stand for another now.
func (f *flush) close(ctx context.Context, fingerprint string, h head) error {
	if !h.Resolved {
		title := cmp.Or(mrkdwn(h.Title, maxHeader), "Alert")
		err := f.c.update(ctx, h.place, reply(fmt.Sprintf("✅ ~%s~ It has ended; since %s.", title, date(time.Unix(h.Starts, 0)))))
		if err != nil && verdictIn(err) != gone && verdictIn(err) != nowhere && verdictIn(err) != refused {
			return err
		}
	}
	delete(f.threads.Heads, fingerprint)
	f.past[fingerprint] = h.TS
	f.keep()
	return nil
}

// forget drops what is not in the group any more and was told to its end, or never will be.
func (f *flush) forget() {
	here := make(map[string]bool, len(f.views))
	for _, v := range f.views {
		here[v.fingerprint] = true
	}
	for fingerprint, h := range f.threads.Heads {
		if !here[fingerprint] && (h.Resolved || !f.resolved || len(f.threads.Heads) > len(here)+maxKept) {
			delete(f.threads.Heads, fingerprint)
		}
	}
}

// post sends a message to the notifier's channel.
func (f *flush) post(ctx context.Context, m message, id string, in thread) (place, error) {
	p, err := f.postTo(ctx, f.channel, m, id, in)
	if err != nil || p.Channel == "" || f.app.memory.usedBefore(f.org, f.c.w.InstalledAt, p.Channel) {
		return p, err
	}
	if err := f.app.o.Workspaces.UseSlackChannel(ctx, f.org, p.Channel); err != nil {
		f.app.o.Logger.WarnContext(ctx, "slack: a channel could not be noted", "org", f.org, "error", err)
		return p, nil // it was posted; the next message notes it
	}
	f.app.memory.use(f.org, f.c.w.InstalledAt, p.Channel)
	return p, nil
}

// postTo sends a message whose id is the same whenever the same is sent.
func (f *flush) postTo(ctx context.Context, channel string, m message, id string, in thread) (place, error) {
	return f.c.post(ctx, channel, m, uuid.NewSHA1(f.org.UUID, []byte(f.key+"\x00"+id)), in)
}
