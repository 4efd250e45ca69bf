package mail_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/mail"
	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
)

// TestRun has the loop itself ask and tell: it is woken, since it looks by itself once an hour only.
func TestRun(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- s.mailer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.tell(s.notifier("new@example.com"), missed("backup", time.Time{}))
	question := open(t, s.server.Wait(1)[0])
	link := linkIn(t, question.text, "/api/recipients/verify")
	if w := s.ask(http.MethodPost, link, url.Values{}); w.Code != http.StatusOK {
		t.Fatalf("verifying: %d %s", w.Code, w.Body)
	}
	if kept := open(t, s.server.Wait(2)[1]); !strings.Contains(kept.text, "backup") {
		t.Errorf("what was kept: %s", kept.text)
	}
}

func TestTwoMailersTellOnce(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	n := s.notifier("a@example.com, b@example.com, c@example.com, d@example.com")
	for _, a := range []string{"a", "b", "c", "d"} {
		s.prefers(a+"@example.com", recipient.Preferences{Digest: recipient.Hourly, Critical: recipient.CriticalHeld})
	}
	s.tell(n, missed("backup", time.Time{}))
	s.clock.to(night().Add(time.Hour))
	second, err := mail.New(s.o)
	s.must(err)
	done := make(chan error, 2)
	for _, m := range []*mail.Mailer{s.mailer, second} {
		go func() { done <- m.Serve(s.ctx) }()
	}
	s.must(<-done)
	s.must(<-done)
	if n := len(s.letters()); n != 4 {
		t.Errorf("%d mails", n)
	}
}

func TestAVerificationMailThatCannotBeSent(t *testing.T) {
	s := newBundle(t, mailtest.Options{AtRcpt: func(to string) error {
		if strings.HasPrefix(to, "busy") {
			return mailtest.Answer(451, "later")
		}
		return mailtest.Answer(550, "no such user")
	}})
	s.tell(s.notifier("busy@example.com, nobody@example.com"), missed("backup", time.Time{}))
	s.serve()
	for address, again := range map[string]bool{"busy@example.com": true, "nobody@example.com": false} {
		r, err := s.store.Recipient(s.ctx, s.org, address)
		s.must(err)
		if r.Error == "" || r.AskDue.IsZero() == again || r.Asks != 0 {
			t.Errorf("%s: %+v", address, r)
		}
	}
	s.clock.to(night().Add(2 * time.Minute))
	list, err := s.store.ClaimRecipients(s.ctx, 5, s.clock.now(), time.Minute)
	if err != nil || len(list) != 1 || list[0].Address != "busy@example.com" {
		t.Errorf("to be tried again: %+v, %v", list, err)
	}
}

func TestWhatCannotBeSentForADayIsGivenUp(t *testing.T) {
	s := newBundle(t, mailtest.Options{AtMail: func(string) error { return mailtest.Answer(451, "later") }}, trusting)
	s.prefers("team@example.com", recipient.Preferences{Digest: recipient.Hourly, Critical: recipient.CriticalHeld})
	s.tell(s.notifier("team@example.com"), missed("backup", time.Time{}))
	for at := night(); at.Before(night().Add(27 * time.Hour)); at = at.Add(time.Hour) {
		s.clock.to(at)
		s.serve()
	}
	list := s.notifications()
	if len(list) != 1 || list[0].Status != "failed" || list[0].StatusCode != 451 || list[0].Attempts < 20 {
		t.Errorf("got %+v", list)
	}
	if r, err := s.store.Recipient(s.ctx, s.org, "team@example.com"); err != nil || r.Held != 0 || r.Error == "" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	for name, edit := range map[string]func(*mail.Options){
		"no store": func(o *mail.Options) { o.Store = nil }, "no base URL": func(o *mail.Options) { o.BaseURL = "" },
		"a path as base URL": func(o *mail.Options) { o.BaseURL = "/tokiflow" }, "no sealer": func(o *mail.Options) { o.Sealer = nil },
	} {
		o := s.o
		edit(&o)
		if _, err := mail.New(o); err == nil {
			t.Errorf("%s: it was made", name)
		}
	}
	o := s.o
	o.From = core.Address{}
	m, err := mail.New(o)
	s.must(err)
	n, err := m.Email(s.org)(emailConfig("team@example.com"), s.template(""))
	s.must(err)
	if retry, err := n.Notify(s.context(flush{}), missed("x", time.Time{})); err == nil || retry || !strings.Contains(err.Error(), "--smtp-from") {
		t.Errorf("without an address of its own: %t, %v", retry, err)
	}
}

func TestAHangingServerDelaysNoOtherOrganisation(t *testing.T) {
	release := make(chan struct{})
	s := newBundle(t, mailtest.Options{AtRcpt: func(to string) error {
		if strings.HasPrefix(to, "hang") {
			<-release
		}
		return nil
	}}, trusting)
	other := tenant.OrgID{UUID: uuid.New()}
	s.exec(`insert into organisations (id, name) values ($1, 'other')`, other)
	hold := func(org tenant.OrgID, name string) {
		address := name + "@example.com"
		_, err := s.store.PutRecipient(s.ctx, org, address, recipient.Preferences{Digest: recipient.Hourly, Critical: recipient.CriticalHeld}.Normalise(), s.clock.now())
		s.must(err)
		n, err := s.mailer.Email(org)(emailConfig(address), s.template(""))
		s.must(err)
		s.tell(n, missed(name, time.Time{}))
	}
	for i := range 100 { // more than are claimed at once
		hold(s.org, fmt.Sprintf("hang%d", i))
	}
	hold(other, "well")
	s.exec(`update recipients set due_at = due_at + interval '1 second' where org_id = $1`, other)
	s.clock.to(night().Add(2 * time.Hour))
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- s.mailer.Run(ctx) }()
	if got := s.server.Wait(1); got[0].To != "well@example.com" {
		t.Errorf("first came %s", got[0].To)
	}
	close(release)
	s.server.Wait(10)
	cancel()
	s.must(<-done)
}
