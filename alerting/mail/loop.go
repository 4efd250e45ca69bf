package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
)

const (
	maxAge  = 24 * time.Hour // after which what was due is given up
	maxAsks = 10             // tries at one verification mail
	atATime = 100            // of what expired
)

// serve does what is due for one recipient.
func (m *Mailer) serve(ctx context.Context, r recipient.Recipient) recipient.Done {
	done := recipient.Done{At: m.now()}
	wants := r.UnsubscribedAt.IsZero() && (m.o.Trusted || !r.VerifiedAt.IsZero())
	if !r.AskDue.IsZero() {
		m.ask(ctx, r, wants, &done)
	}
	if wants && done.Error == "" {
		m.release(ctx, r, &done)
	}
	return done
}

// fail says what went wrong, and when to try again.
func fail(done *recipient.Done, tries int, err error) {
	wait, _ := asksToWait(err)
	backoff := recipient.Backoff(tries + 1)
	if !mail.CanRetry(err) {
		backoff = recipient.Backoff(100) // it will hardly go better soon
	}
	done.Error, done.Again = oneLine(err.Error(), 500), done.At.Add(max(wait, backoff))
}

// ask sends a verification mail. The token is stored first: one that came and does not work would be worse than one that works and
// did not come.
func (m *Mailer) ask(ctx context.Context, r recipient.Recipient, wants bool, done *recipient.Done) {
	if wants {
		done.Drop = true
		return
	}
	sender, from, err := m.senderOf(ctx, r.Org, r.Via)
	if err != nil {
		fail(done, r.Tries, err)
		return
	}
	link, hash, err := m.verifyURL(r.Org, r.ID)
	if err != nil {
		fail(done, r.Tries, err)
		return
	}
	ok, err := m.o.Store.SetToken(ctx, r.Org, r.Address, hash, done.At)
	if err == nil && !ok {
		err = fmt.Errorf("%d other addresses were asked within a day, which is the most of an organisation", recipient.MaxAsksPerDay)
	}
	if err != nil {
		fail(done, 6, err) // an hour
		return
	}
	message, err := m.question(r, from, link, done.At)
	if err == nil {
		err = sender.Send(ctx, message)
		m.metrics.count("verification", err)
	}
	if err == nil {
		done.Asked = true
		return
	}
	fail(done, r.Tries, err)
	done.Drop = !mail.CanRetry(err) || r.Tries+1 >= maxAsks
}

// release sends what is held and due.
func (m *Mailer) release(ctx context.Context, r recipient.Recipient, done *recipient.Done) {
	all, err := m.o.Store.HeldMails(ctx, r.Org, r.Address)
	if err != nil {
		fail(done, r.Tries, err)
		return
	}
	var ready []recipient.Held
	due := false
	for _, h := range all {
		if at := dueOf(h, r.Preferences); !at.Equal(h.DueAt) {
			h.DueAt = at
			done.Later = append(done.Later, h)
		}
		ready = append(ready, h)
		due = due || !h.DueAt.After(done.At)
	}
	if !due {
		return
	}
	done.Later = nil // all that is held goes with what is due
	var digest []recipient.Held
	for _, h := range ready {
		if h.Message == nil {
			digest = append(digest, h)
			continue
		}
		m.deliver(ctx, r, []recipient.Held{h}, *h.Message, "alert", done)
	}
	if len(digest) == 0 {
		return
	}
	message, err := m.digest(ctx, r, digest, done.At)
	if err != nil {
		m.failed(ctx, r, digest, err, done)
		return
	}
	m.deliver(ctx, r, digest, message, "digest", done)
}

// dueOf is when something held is due by the preferences of now.
func dueOf(h recipient.Held, p recipient.Preferences) time.Time {
	if h.Reason != recipient.HeldForLater {
		return h.DueAt
	}
	var due time.Time
	for _, a := range h.Alerts {
		if at := p.Due(a.Labels[alert.LabelSeverity], h.HeldAt); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due
}

// deliver sends a message, which tells the held.
func (m *Mailer) deliver(ctx context.Context, r recipient.Recipient, held []recipient.Held, message mail.Message, kind string, done *recipient.Done) {
	sender, _, err := m.senderOf(ctx, r.Org, held[0].Via)
	began := m.now()
	if err == nil {
		err = sender.Send(ctx, message)
		m.metrics.count(kind, err)
	}
	if err != nil {
		m.failed(ctx, r, held, err, done)
		return
	}
	done.Told = append(done.Told, held...)
	for _, h := range held {
		m.record(ctx, r.Org, &h, outcome{over: true, attempts: r.Tries + 1, latency: m.now().Sub(began)})
	}
}

// failed writes down that the held was not told. What has been due for a day is given up.
func (m *Mailer) failed(ctx context.Context, r recipient.Recipient, held []recipient.Held, err error, done *recipient.Done) {
	fail(done, r.Tries, err)
	for _, h := range held {
		over := done.At.Sub(h.DueAt) > maxAge
		if over {
			done.Told = append(done.Told, h)
		}
		m.record(ctx, r.Org, &h, outcome{failed: err, over: over, attempts: r.Tries + 1})
	}
}

// digest writes one message of all that is held. What has recovered meanwhile is said to have.
func (m *Mailer) digest(ctx context.Context, r recipient.Recipient, held []recipient.Held, now time.Time) (mail.Message, error) {
	_, from, err := m.senderOf(ctx, r.Org, held[0].Via)
	if err != nil {
		return mail.Message{}, err
	}
	alerts, more, err := m.asOfNow(ctx, r, held, now)
	if err != nil {
		return mail.Message{}, err
	}
	unsubscribe, err := m.unsubscribeURL(r.Org, r.ID)
	if err != nil {
		return mail.Message{}, err
	}
	c := clock{now: now, loc: r.Preferences.Location()}
	v := view{
		Title: "Since " + c.at(held[0].HeldAt) + ": " + counts(alerts, "still firing"), Sections: sections(alerts, c, false), Address: r.Address,
		Unsubscribe: unsubscribe, Lead: leads(held),
	}
	if more > 0 {
		v.Sections[len(v.Sections)-1].More += more
	}
	html, err := v.html(m.pages)
	return mail.Message{
		From: from, To: mail.Address{Address: r.Address}, Date: now, Unsubscribe: unsubscribe,
		Subject: fmt.Sprintf("[digest] %s — %s", counts(alerts, "firing"), about(alerts, nil)), Text: v.text(), HTML: html,
		ID: digestID(r, held) + "@" + domainOf(from.Address),
	}, err
}

func leads(held []recipient.Held) string {
	if slices.ContainsFunc(held, func(h recipient.Held) bool { return h.Reason == recipient.HeldUnverified }) {
		return "This was kept for you while your address was not verified."
	}
	return ""
}

// asOfNow are the alerts of what is held, the oldest first, and how many were left out. One that fires no more has an end: the
// moment itself where nobody knows better.
func (m *Mailer) asOfNow(ctx context.Context, r recipient.Recipient, held []recipient.Held, now time.Time) (alerts []recipient.Alert, more int, err error) {
	for _, h := range held {
		n := 0
		if alerts, n = recipient.Merge(alerts, h.Alerts); n > 0 || h.More > 0 {
			more += n + h.More
		}
	}
	var fingerprints []string
	var incidents []uuid.UUID
	for _, a := range alerts {
		if a.EndsAt.IsZero() {
			fingerprints = append(fingerprints, a.Fingerprint)
			if id, err := uuid.Parse(a.Annotations[alert.AnnotationIncident]); err == nil {
				incidents = append(incidents, id)
			}
		}
	}
	ended, err := m.o.Store.EndedAlerts(ctx, r.Org, fingerprints, incidents, now)
	if err != nil {
		return nil, 0, err
	}
	for i, a := range alerts {
		if !a.EndsAt.IsZero() {
			continue
		}
		at, over := ended.ByFingerprint[a.Fingerprint]
		if id, err := uuid.Parse(a.Annotations[alert.AnnotationIncident]); err == nil {
			if resolved, ok := ended.ByIncident[id]; ok {
				at, over = resolved, true
			}
		}
		if over {
			if alerts[i].EndsAt = at; at.IsZero() {
				alerts[i].EndsAt = now
			}
		}
	}
	slices.SortStableFunc(alerts, func(a, b recipient.Alert) int { return a.StartsAt.Compare(b.StartsAt) })
	return alerts, more, nil
}

// expire gives up what was kept for addresses that were not verified in time.
func (m *Mailer) expire(ctx context.Context) {
	for {
		gone, err := m.o.Store.ExpireHeld(ctx, m.now().Add(-recipient.KeepUnverified), atATime)
		if err != nil {
			m.log.WarnContext(ctx, "mail: what was kept cannot be given up", "error", err)
			return
		}
		for _, e := range gone {
			m.record(ctx, e.Org, &e.Held, outcome{failed: errors.New("the address " + e.Address + " was not verified within 24 hours"), over: true})
		}
		if len(gone) < atATime {
			return
		}
	}
}
