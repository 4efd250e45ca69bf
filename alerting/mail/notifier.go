package mail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// maxTo is how many addresses one entry may name.
const maxTo = 100

// notifier tells groups of alerts as one entry says.
type notifier struct {
	m   *Mailer
	org tenant.OrgID
	entry
	t *template.Template
}

func (m *Mailer) notifier(org tenant.OrgID, e entry, t *template.Template) (notify.Notifier, error) {
	return &notifier{m: m, org: org, entry: e, t: t}, nil
}

// flush is one call of Notify.
type flush struct {
	*notifier
	ctx      context.Context // of one call
	now      time.Time
	receiver string
	group    string
	labels   map[string]string
	why      string
	repeat   bool
	alerts   []*amalert.Alert
	store    *nflog.Store // may be nil
	from     mail.Address
	via      recipient.Via
}

// Notify is notify.Notifier's. Each address gets a message of its own, or what it would have said is stored first. One that cannot
// be told now does not keep others from being told, and is not a reason to tell those again: it is told later, by Run. Where nobody
// could be told, and nothing was stored, the error is that of the last address.
func (n *notifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	f := &flush{notifier: n, ctx: ctx, now: n.m.now(), alerts: alerts, labels: map[string]string{}}
	if at, ok := notify.Now(ctx); ok {
		f.now = at
	}
	f.receiver, _ = notify.ReceiverName(ctx)
	f.group, _ = notify.GroupKey(ctx)
	f.store, _ = notify.NflogStore(ctx)
	set, _ := notify.GroupLabels(ctx)
	for name, value := range set {
		f.labels[string(name)] = string(value)
	}
	reason, _ := notify.NotificationReason(ctx)
	f.why, f.repeat = reason.String(), reason == notify.ReasonRepeatIntervalElapsed || reason == notify.ReasonUnknown
	f.via = recipient.Via{Receiver: f.receiver, Kind: n.kind, Sender: n.key}
	if n.sender == nil {
		return false, errNoSender
	}
	return f.tell()
}

func (f *flush) tell() (retry bool, err error) {
	to, err := f.addresses()
	if err != nil {
		return false, err
	}
	var keys []string
	names := map[string]mail.Address{}
	for _, a := range to {
		key, err := recipient.Key(a.Address)
		if err != nil {
			return false, fmt.Errorf("to %.100q: %w", a.Address, err)
		}
		if _, twice := names[key]; !twice {
			keys, names[key] = append(keys, key), mail.Address(*a)
		}
	}
	known, err := f.m.o.Store.KnowRecipients(f.ctx, f.org, keys, f.via, !f.m.o.Trusted, f.now)
	if err != nil {
		return fault.CodeOf(err) != fault.Conflict, fmt.Errorf("the recipients cannot be read: %w", err)
	}
	done, failed := 0, error(nil)
	for _, r := range known {
		told, again, err := f.one(r, names[r.Address], len(known) == 1)
		if told {
			done++
		}
		if err != nil {
			failed, retry = err, retry || again
		}
	}
	if failed == nil || done > 0 && !retry {
		return false, nil
	}
	return retry, failed
}

// isTest reports whether somebody tries the receiver.
func (f *flush) isTest() bool {
	return len(f.alerts) == 1 && f.alerts[0].Labels[model.AlertNameLabel] == alert.TestName
}

// addresses reads `to` and `from`.
func (f *flush) addresses() ([]*netmail.Address, error) {
	var failed error
	data := notify.GetTemplateData(f.ctx, f.t, f.alerts, f.m.log)
	text := notify.TmplText(f.t, data, &failed)
	given := f.entry
	from, to := text(given.from), text(given.to)
	if failed != nil {
		return nil, fmt.Errorf("the template of to or from: %w", failed)
	}
	var err error
	if f.from, err = f.m.fromOf(from); err != nil {
		return nil, err
	}
	list, err := netmail.ParseAddressList(to)
	if err != nil {
		return nil, fmt.Errorf("to must be an address, or several with commas between: %.100q", to)
	}
	if len(list) > maxTo {
		return nil, fmt.Errorf("to names %d addresses: at most %d are told", len(list), maxTo)
	}
	return list, nil
}

// one tells one recipient, or stores what it is to be told. told: it was told, is to be told nothing, or it was stored. alone: a
// failure may be tried again by the caller, since nobody else would be told twice.
func (f *flush) one(r recipient.Recipient, to mail.Address, alone bool) (told, retry bool, err error) {
	now, held := f.parted(r)
	switch {
	case f.isTest() && !r.UnsubscribedAt.IsZero():
		return false, false, fmt.Errorf("%s %w", r.Address, errUnsubscribed)
	case f.isTest() && held != nil && held.Reason == recipient.HeldUnverified:
		return false, false, fmt.Errorf("address not verified: %s was sent a mail with a link", r.Address)
	case f.isTest():
		now, held = f.alerts, nil
	case !r.UnsubscribedAt.IsZero():
		h := f.held(r.Address, recipient.HeldForLater, f.now, plain(f.alerts))
		f.m.record(f.ctx, f.org, h, outcome{failed: fmt.Errorf("%s %w", r.Address, errUnsubscribed), over: true})
		return true, false, nil
	}
	if held != nil {
		if err := f.hold(held); err != nil {
			return false, true, err
		}
	}
	if len(now) == 0 || f.toldAlready(r.Address, now) {
		return true, false, nil
	}
	message, err := f.message(r, to, now)
	if err != nil {
		return false, false, err
	}
	err = f.sender.Send(f.ctx, message)
	f.m.metrics.count("alert", err)
	if err == nil {
		f.remember(r.Address, now, message)
		return true, false, nil
	}
	wait, asked := asksToWait(err)
	if mail.CanRetry(err) && (!alone || asked) {
		h := f.held(r.Address, recipient.HeldToRetry, f.now.Add(max(wait, recipient.Backoff(1))), plain(now))
		h.Message = &message
		if failed := f.hold(h); failed != nil {
			return false, true, errors.Join(err, failed)
		}
		f.remember(r.Address, now, message)
		return true, false, nil
	}
	if !mail.CanRetry(err) && !alone { // alone: the notification itself has failed, and says so
		f.m.record(f.ctx, f.org, f.held(r.Address, recipient.HeldToRetry, f.now, plain(now)), outcome{failed: err, over: true})
	}
	return false, mail.CanRetry(err), err
}

func asksToWait(err error) (time.Duration, bool) {
	if e, ok := errors.AsType[*mail.Error](err); ok && e.After > 0 {
		return e.After, true
	}
	return 0, false
}

// parted says which of the alerts the recipient is told now, and which are held for it.
func (f *flush) parted(r recipient.Recipient) (now []*amalert.Alert, held *recipient.Held) {
	if !r.UnsubscribedAt.IsZero() {
		return nil, nil
	}
	var later []recipient.Alert
	var due time.Time
	verified := f.m.o.Trusted || !r.VerifiedAt.IsZero()
	for _, a := range f.alerts {
		p := toldAs(a)
		if !r.Preferences.Wants(kindOf(p)) {
			continue
		}
		at := r.Preferences.Due(p.Labels["severity"], f.now)
		if verified && !at.After(f.now) {
			now = append(now, a)
			continue
		}
		later = append(later, p)
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	switch {
	case len(later) == 0:
		return now, nil
	case !verified:
		return nil, f.held(r.Address, recipient.HeldUnverified, time.Time{}, later)
	}
	return now, f.held(r.Address, recipient.HeldForLater, due, later)
}

func (f *flush) held(address string, reason recipient.Reason, due time.Time, alerts []recipient.Alert) *recipient.Held {
	merged, more := recipient.Merge(nil, alerts)
	return &recipient.Held{
		ID: newID(), Address: address, Via: f.via, Index: f.index, GroupKey: heldKey(f.group), Group: f.labels, Reason: reason, Why: f.why,
		HeldAt: f.now, DueAt: due, Alerts: merged, More: more,
	}
}

// hold stores what is not told now, and writes down that it was not.
func (f *flush) hold(h *recipient.Held) error {
	if err := f.m.o.Store.HoldMail(f.ctx, f.org, h); err != nil {
		return fmt.Errorf("what %s is to be told later cannot be stored: %w", h.Address, err)
	}
	f.m.metrics.held.WithLabelValues(string(h.Reason)).Inc()
	f.m.record(f.ctx, f.org, h, outcome{})
	f.m.nudge()
	return nil
}

// content is what a recipient is told, in few characters: the same in every attempt at it, and in every process.
func (f *flush) content(address string, alerts []*amalert.Alert) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00%s\x00", f.org, f.group, f.receiver, f.index, address)
	for _, a := range alerts {
		_, _ = fmt.Fprintf(h, "%s %t %d\x00", a.Fingerprint(), a.Resolved(), a.StartsAt.UnixNano())
	}
	if f.repeat {
		_, _ = fmt.Fprintf(h, "%d", f.now.UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func place(of, address string) string {
	sum := sha256.Sum256([]byte(address))
	return of + ":" + hex.EncodeToString(sum[:6])
}

// toldAlready reports whether the recipient was told just this: in an earlier attempt at the same flush, or before alerts that it does
// not want changed the group.
func (f *flush) toldAlready(address string, alerts []*amalert.Alert) bool {
	if f.store == nil {
		return false
	}
	was, ok := f.store.GetStr(place("told", address))
	return ok && was == f.content(address, alerts)
}

// remember writes down, with what Alertmanager remembers of the group, what the recipient was told and in which thread.
func (f *flush) remember(address string, alerts []*amalert.Alert, m mail.Message) {
	if f.store == nil {
		return
	}
	f.store.SetStr(place("told", address), f.content(address, alerts))
	thread := place("thread", address)
	if _, begun := f.store.GetStr(thread); !begun {
		f.store.SetStr(thread, m.ID)
	}
	for _, a := range alerts {
		if !a.Resolved() {
			return
		}
	}
	f.store.Delete(thread) // what comes next is another story
}

// maxGroupKey is how long the key of a group may be where it is stored, in bytes: an index holds it. Labels may be longer.
const maxGroupKey = 1000

// heldKey is the key of a group as it is stored: itself, or how it begins and its hash.
func heldKey(group string) string {
	if len(group) <= maxGroupKey {
		return group
	}
	sum := sha256.Sum256([]byte(group))
	return strings.ToValidUTF8(group[:maxGroupKey-1-hex.EncodedLen(len(sum))], "") + "#" + hex.EncodeToString(sum[:])
}
