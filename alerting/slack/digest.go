package slack

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

const (
	maxListed  = 20    // alerts that a digest names
	maxMembers = 5_000 // alerts that a digest knows again; of more it only counts what fires
)

// members are the alerts of which the group's digest said that they fire.
func (f *flush) members() map[[sumSize]byte]bool {
	if f.threads.Digest == nil {
		return nil
	}
	return unpackSums(f.threads.Digest.Members)
}

// tally is what changed among the alerts of a digest.
type tally struct {
	firing, begun, ended []view
	members              map[[sumSize]byte]bool // that fire, or are silenced
}

func count(d *digest, views []view) tally {
	t := tally{members: map[[sumSize]byte]bool{}}
	if d != nil {
		t.members = unpackSums(d.Members)
	}
	for _, v := range views {
		sum := sumOf(v)
		switch member := t.members[sum]; {
		case v.resolved() && member:
			t.ended = append(t.ended, v)
			delete(t.members, sum)
		case !v.resolved():
			t.firing = append(t.firing, v)
			if !member {
				t.begun = append(t.begun, v)
			}
			if !member && len(t.members) < maxMembers {
				t.members[sum] = true
			}
		}
	}
	return t
}

// tellDigest posts the group's digest, or brings it to where its alerts are.
func (f *flush) tellDigest(ctx context.Context, views []view) error {
	d := f.threads.Digest
	t := count(d, views)
	if !f.resolved { // what fires no more is gone without a word
		t.members = map[[sumSize]byte]bool{}
		for _, v := range t.firing[:min(len(t.firing), maxMembers)] {
			t.members[sumOf(v)] = true
		}
	}
	if d == nil {
		return f.beginDigest(ctx, t, f.mention, 0, f.now, "")
	}
	if len(t.begun) == 0 && len(t.ended) == 0 && (f.repeat == 0 || len(t.firing) == 0) {
		return nil
	}
	recovered := d.Recovered + len(t.ended)
	over := len(t.firing) == 0 && len(t.members) == 0
	starts := time.Unix(d.Starts, 0)
	err := f.c.update(ctx, d.place, f.app.digestOf(t.firing, recovered, over, starts, f.now, ""))
	if verdictIn(err) == gone || verdictIn(err) == nowhere {
		if over {
			f.threads.Digest = nil
			return nil
		}
		return f.beginDigest(ctx, t, "", recovered, starts, d.TS)
	}
	if err != nil {
		return err
	}
	say, in := changes(t, recovered, over), thread{ts: d.TS}
	if len(t.begun) == 0 && len(t.ended) == 0 {
		say, in.broadcast = fmt.Sprintf("Still firing: %s, for %s.", many(len(t.firing), "alert", "alerts"), span(f.now.Sub(starts))), true
	}
	id := strings.Join([]string{"digest", d.TS, d.Members, say}, "/")
	if _, err := f.postTo(ctx, d.Channel, reply(say), id, in); err != nil && verdictIn(err) != gone {
		return err
	}
	f.threads.Digest = &digest{place: d.place, Starts: d.Starts, Members: packSums(t.members), Recovered: recovered, Count: d.Count + 1}
	if over {
		f.threads.Digest = nil
	}
	f.keep()
	return nil
}

func (f *flush) beginDigest(ctx context.Context, t tally, mention string, recovered int, starts time.Time, past string) error {
	if len(t.firing) == 0 {
		return nil
	}
	if past == "" && t.firing[0].starts.Before(starts) {
		starts = t.firing[0].starts // they are sorted by it
	}
	id := "digest/" + past + "/" + packSums(t.members)
	p, err := f.post(ctx, f.app.digestOf(t.firing, recovered, false, starts, f.now, mention), id, thread{})
	if err != nil {
		return err
	}
	f.threads.Digest = &digest{place: p, Starts: starts.Unix(), Members: packSums(t.members), Recovered: recovered}
	f.keep()
	return nil
}

// digestOf is one message for many alerts.
func (a *App) digestOf(firing []view, recovered int, over bool, starts, now time.Time, mention string) message {
	title := fmt.Sprintf("🔴 %s firing", many(len(firing), "alert is", "alerts are"))
	bar := red
	var lines []string
	if over {
		title, bar = "✅ Resolved: "+many(recovered, "alert", "alerts"), green
		lines = append(lines, fmt.Sprintf("It lasted %s.", span(now.Sub(starts))))
	} else {
		line := fmt.Sprintf("Since %s (%s).", date(starts), span(now.Sub(starts)))
		if recovered > 0 {
			line += " " + many(recovered, "has", "have") + " recovered."
		}
		lines = append(lines, line, listed(firing))
	}
	m := message{text: strings.TrimSpace(strings.Join(strings.Fields(title)[1:], " "))}
	m.blocks = []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, title, true, false))}
	if mention != "" {
		m.blocks = append(m.blocks, section(mention))
	}
	view := slack.NewButtonBlockElement(actView, "", slack.NewTextBlockObject(slack.PlainTextType, "View", false, false))
	view.URL = a.o.BaseURL
	m.attachments = []slack.Attachment{{Color: bar, Fallback: m.text, Blocks: slack.Blocks{BlockSet: []slack.Block{
		section(strings.Join(lines, "\n")), slack.NewActionBlock("", view),
	}}}}
	return m
}

// listed names alerts, a line each, and counts the rest.
func listed(views []view) string {
	var b strings.Builder
	for i, v := range views {
		if i == maxListed {
			fmt.Fprintf(&b, "\n… and %d more", len(views)-maxListed)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s", icon(v), mrkdwn(oneLine(v.title()), 110))
	}
	return b.String()
}

// changes says what became of a digest's alerts since the last time.
func changes(t tally, recovered int, over bool) string {
	if over {
		return "✅ " + many(recovered, "has", "have") + " recovered, none is left."
	}
	var parts []string
	if n := len(t.begun); n > 0 {
		parts = append(parts, fmt.Sprintf("*%d more* began to fire:\n%s", n, listed(t.begun)))
	}
	if n := len(t.ended); n > 0 {
		parts = append(parts, fmt.Sprintf("*%d* recovered; %s.", n, many(len(t.firing), "still fires", "still fire")))
	}
	return cmp.Or(strings.Join(parts, "\n"), "No change.")
}

// many is a number with the word that goes with it.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
