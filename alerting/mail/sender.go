package mail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// senderOf finds what sends for an entry of the configuration, as it is now. Where the entry is gone, another of its receiver sends,
// else the installation: what is held is rather told by another way than not at all.
func (m *Mailer) senderOf(ctx context.Context, org tenant.OrgID, via recipient.Via) (mail.Sender, mail.Address, error) {
	entries, err := m.entriesOf(ctx, org, via)
	if err != nil {
		return nil, mail.Address{}, err
	}
	for _, exactly := range []bool{true, false} {
		for _, e := range entries {
			if e.sender == nil || exactly && (e.key != via.Sender || e.kind != via.Kind) {
				continue
			}
			text := e.from
			if strings.Contains(text, "{{") { // what it would be made of is not there
				text = ""
			}
			if from, err := m.fromOf(text); err == nil {
				return e.sender, from, nil
			}
		}
	}
	if m.o.Sender == nil || m.o.From.Address == "" {
		return nil, mail.Address{}, errNoSender
	}
	return m.o.Sender, m.o.From, nil
}

// entriesOf are the entries of a receiver that mail.
func (m *Mailer) entriesOf(ctx context.Context, org tenant.OrgID, via recipient.Via) ([]entry, error) {
	if via.Receiver == "" {
		return nil, nil
	}
	c, _, err := m.o.Config(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	var out []entry
	if c.Alertmanager != nil {
		for _, r := range c.Alertmanager.Receivers {
			if r.Name != via.Receiver {
				continue
			}
			for _, one := range r.EmailConfigs {
				if e, err := m.emailEntry(one); err == nil {
					out = append(out, e)
				}
			}
		}
	}
	for _, one := range c.Entries {
		if one.Kind == Name && one.Receiver == via.Receiver {
			if e, err := m.resendEntry(one); err == nil {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// digestID is the same as long as the same is held, so that a digest sent twice can be known for one.
func digestID(r recipient.Recipient, held []recipient.Held) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "digest\x00%s\x00%s\x00", r.Org, r.Address)
	for _, one := range held {
		_, _ = fmt.Fprintf(h, "%s %d\x00", one.ID, one.Version)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// question writes a verification mail.
func (m *Mailer) question(r recipient.Recipient, from mail.Address, link string, now time.Time) (mail.Message, error) {
	v := view{
		Title: "Shall alerts be sent to this address?",
		Lead: "Somebody who uses Tokiflow at " + m.base.Host + " wants its alerts to reach you at " + r.Address + ". Nothing is sent before you say so: " +
			"open this link within 7 days. If you do not know what this is about, leave it; you will not be asked again.",
		URL: link, Address: r.Address,
	}
	html, err := v.html(m.pages)
	sum := sha256.Sum256([]byte(link))
	return mail.Message{
		From: from, To: mail.Address{Address: r.Address}, Subject: "Shall alerts of Tokiflow be sent to this address?", Text: v.text(), HTML: html,
		Date: now, ID: hex.EncodeToString(sum[:12]) + "@" + domainOf(from.Address),
	}, err
}
