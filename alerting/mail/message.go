package mail

import (
	"fmt"
	"strings"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
)

// message writes the mail.
func (f *flush) message(r recipient.Recipient, to mail.Address, alerts []*amalert.Alert) (mail.Message, error) {
	list := plain(alerts)
	c := clock{now: f.now, loc: r.Preferences.Location()}
	unsubscribe, err := f.m.unsubscribeURL(f.org, r.ID)
	if err != nil {
		return mail.Message{}, err
	}
	v := view{
		Title: headline(list[0], c) + inProject(list[0]), Sections: sections(list, c, true), Receiver: oneLine(f.receiver, 100), Group: groupText(f.labels),
		Address: r.Address, Unsubscribe: unsubscribe,
	}
	if len(list) > 1 {
		v.Title = counts(list, "firing") + ": " + about(list, f.labels)
	}
	if len(list) > 1 && f.t.ExternalURL != nil {
		v.URL = link(f.t.ExternalURL.String())
	}
	m := mail.Message{
		From: f.from, To: mail.Address{Name: to.Name, Address: r.Address}, Date: f.now, Unsubscribe: unsubscribe, Headers: map[string]string{},
		ID: f.content(r.Address, alerts) + "@" + domainOf(f.from.Address),
	}
	if f.store != nil {
		if thread, ok := f.store.GetStr(place("thread", r.Address)); ok {
			m.InReplyTo, m.References = thread, []string{thread}
		}
	}
	return m, f.write(&m, v, subject(list, f.labels, c), alerts)
}

// write fills in the texts: those of the entry's templates, with ours in their place.
func (f *flush) write(m *mail.Message, v view, ourLine string, alerts []*amalert.Alert) error {
	data := notify.GetTemplateData(f.ctx, f.t, alerts, f.m.log)
	var failed error
	text, html := notify.TmplText(f.t, data, &failed), notify.TmplHTML(f.t, data, &failed)
	m.Subject = ourLine
	if f.subject != "" {
		m.Subject = fill(text(f.subject), ourSubject, ourLine)
	}
	for name, value := range f.headers {
		m.Headers[name] = oneLine(text(value), 2000)
	}
	if m.Text = v.text(); f.text != "" {
		m.Text = text(f.text)
	}
	if !f.onlyText {
		ours, err := v.html(f.m.pages)
		if err != nil {
			return err
		}
		m.HTML = fill(html(f.html), ourHTML, ours)
	}
	if failed != nil {
		return fmt.Errorf("a template: %w", failed)
	}
	if m.Subject = oneLine(m.Subject, 250); m.Subject == "" {
		m.Subject = ourLine
	}
	if strings.TrimSpace(m.Text) == "" && strings.TrimSpace(m.HTML) == "" {
		m.Text = v.text()
	}
	return nil
}

// toldAs is the alert as it is now.
func toldAs(a *amalert.Alert) recipient.Alert {
	out := recipient.Alert{
		Fingerprint: a.Fingerprint().String(), Labels: make(map[string]string, len(a.Labels)), Annotations: make(map[string]string, len(a.Annotations)),
		StartsAt: a.StartsAt.UTC(), GeneratorURL: a.GeneratorURL,
	}
	for name, value := range a.Labels {
		out.Labels[string(name)] = string(value)
	}
	for name, value := range a.Annotations {
		out.Annotations[string(name)] = string(value)
	}
	if a.Resolved() {
		out.EndsAt = a.EndsAt.UTC()
	}
	return out
}

func plain(alerts []*amalert.Alert) []recipient.Alert {
	out := make([]recipient.Alert, len(alerts))
	for i, a := range alerts {
		out[i] = toldAs(a)
	}
	return out
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	if domain == "" || strings.ContainsFunc(domain, func(r rune) bool { return r >= 0x80 }) {
		return "tokiflow.invalid"
	}
	return domain
}
