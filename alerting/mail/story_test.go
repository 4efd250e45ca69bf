package mail_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/core/alert"
	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
)

func TestAnAlertAndItsRecovery(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("team@example.com")
	n := s.notifier("Team <team@example.com>")
	memory := nflog.NewStore(nil)
	s.tellIn(n, flush{notify.ReasonFirstNotification, memory}, missed("backup", time.Time{}))
	s.clock.to(night().Add(12 * time.Minute))
	s.tellIn(n, flush{notify.ReasonAllAlertsResolved, memory}, missed("backup", night().Add(12*time.Minute)))
	s.clock.to(night().Add(time.Hour))
	again := missed("backup", time.Time{})
	again.StartsAt = night().Add(time.Hour)
	s.tellIn(n, flush{notify.ReasonFirstNotification, memory}, again)

	got := s.letters()
	if len(got) != 3 {
		t.Fatalf("%d mails", len(got))
	}
	fired, recovered, next := got[0], got[1], got[2]
	if want := "[missed] backup (db) — since 02:05 UTC"; fired.subject != want {
		t.Errorf("subject %q, want %q", fired.subject, want)
	}
	if want := "[recovered] backup (db) — 02:17 UTC, after 12 min"; recovered.subject != want {
		t.Errorf("subject %q, want %q", recovered.subject, want)
	}
	id := fired.header.Get("Message-Id")
	if recovered.header.Get("In-Reply-To") != id || recovered.header.Get("References") != id || fired.header.Get("In-Reply-To") != "" {
		t.Errorf("the recovery is not in the thread: %v after %s", recovered.header, id)
	}
	if next.header.Get("In-Reply-To") != "" || next.header.Get("Message-Id") == id {
		t.Errorf("another incident is in the thread of the first: %v", next.header)
	}
	if fired.header.Get("From") != `"Tokiflow" <alerts@example.com>` || fired.header.Get("To") != `"Team" <team@example.com>` {
		t.Errorf("%v", fired.header)
	}
	link := linkIn(t, fired.text, "/api/recipients/unsubscribe")
	if fired.header.Get("List-Unsubscribe") != "<"+link+">" || fired.header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
		t.Errorf("unsubscribing: %v", fired.header)
	}
	for _, l := range got[:2] {
		for line := range strings.SplitSeq(l.text, "\n") {
			if len([]rune(line)) > 72 && !strings.HasPrefix(line, "https://") {
				t.Errorf("a line of %d: %s", len([]rune(line)), line)
			}
		}
	}
	golden(t, "fired.txt", fired.text)
	golden(t, "fired.html", fired.html)
	golden(t, "recovered.txt", recovered.text)
	golden(t, "recovered.html", recovered.html)
}

func TestAnAddressIsAskedFirst(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("known@example.com")
	n := s.notifier("new@example.com, known@example.com")
	s.tell(n, missed("backup", time.Time{}))
	if got := s.letters(); len(got) != 1 || got[0].to != "known@example.com" {
		t.Fatalf("told before it is verified: %+v", got)
	}
	if list := s.notifications(); len(list) != 1 || list[0].Status != alert.Retrying || !strings.Contains(list[0].Error, "address not verified: new@example.com") ||
		list[0].Integration != "email:new@example.com" || list[0].FiringCount != 1 {
		t.Errorf("taken down: %+v", list)
	}
	s.serve()
	question := s.last()
	if question.to != "new@example.com" || question.header.Get("List-Unsubscribe") != "" {
		t.Fatalf("the question: %+v", question)
	}
	golden(t, "question.txt", question.text)
	golden(t, "question.html", question.html)
	s.clock.to(night().Add(time.Hour))
	s.tell(n, missed("backup", time.Time{}), late("copy", time.Time{}))
	s.serve()
	if n := len(s.letters()); n != 3 { // known twice, one question
		t.Errorf("%d mails: it is asked again and again", n)
	}

	link := linkIn(t, question.text, "/api/recipients/verify")
	w := s.ask(http.MethodGet, link, nil)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<form method="post" action="/api/recipients/verify">`) {
		t.Fatalf("the page: %d %s", w.Code, w.Body)
	}
	for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if r, err := s.store.Recipient(s.ctx, s.org, "new@example.com"); err != nil || !r.VerifiedAt.IsZero() {
		t.Errorf("opening the link verified it: %+v, %v", r, err)
	}
	token := strings.TrimPrefix(link[strings.Index(link, "?t="):], "?t=")
	if w := s.ask(http.MethodPost, "/api/recipients/verify", url.Values{"t": {token}}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "new@example.com") {
		t.Fatalf("verifying: %d %s", w.Code, w.Body)
	}
	if w := s.ask(http.MethodPost, "/api/recipients/verify", url.Values{"t": {token}}); w.Code != http.StatusNotFound {
		t.Errorf("verifying twice: %d", w.Code)
	}
	s.serve()
	kept := s.last()
	if kept.to != "new@example.com" || !strings.Contains(kept.text, "kept for you while your address was not verified") ||
		!strings.Contains(kept.text, "backup") || !strings.Contains(kept.text, "copy") {
		t.Errorf("what was kept: %+v", kept)
	}
	golden(t, "kept.txt", kept.text)
	for _, one := range s.notifications() {
		if one.Status != alert.Delivered || one.Error != "" {
			t.Errorf("in the end: %+v", one)
		}
	}
	s.serve()
	if n := len(s.letters()); n != 4 {
		t.Errorf("%d mails", n)
	}
}

func TestWhatIsKeptForAnUnverifiedAddressIsGivenUpAfterADay(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.tell(s.notifier("new@example.com"), missed("backup", time.Time{}))
	s.serve()
	s.clock.to(night().Add(25 * time.Hour))
	s.serve()
	if list := s.notifications(); len(list) != 1 || list[0].Status != alert.Failed || list[0].EndedAt.IsZero() {
		t.Errorf("got %+v", list)
	}
	if n := len(s.letters()); n != 1 {
		t.Errorf("%d mails", n)
	}
}

func TestTrustedAddressesAreNotAsked(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	s.tell(s.notifier("new@example.com"), missed("backup", time.Time{}))
	s.serve()
	if got := s.letters(); len(got) != 1 || !strings.HasPrefix(got[0].subject, "[missed]") {
		t.Errorf("got %+v", got)
	}
}

func TestUnsubscribing(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("team@example.com", "other@example.com")
	n := s.notifier("team@example.com, other@example.com")
	s.tell(n, missed("backup", time.Time{}))
	var link string
	for _, l := range s.letters() {
		if l.to == "team@example.com" {
			link = strings.Trim(l.header.Get("List-Unsubscribe"), "<>")
		}
	}
	if w := s.ask(http.MethodGet, link, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Yes, no more") {
		t.Errorf("the page: %d %s", w.Code, w.Body)
	}
	s.clock.to(night().Add(time.Hour))
	s.tell(n, missed("backup", time.Time{}), late("copy", time.Time{}))
	if len(s.letters()) != 4 {
		t.Fatalf("opening the link unsubscribed: %d mails", len(s.letters()))
	}
	s.prefers("team@example.com", recipient.Preferences{Digest: recipient.Hourly})
	s.tell(n, late("third", time.Time{}))
	before := len(s.letters())
	// A mail client does it by itself (RFC 8058): no cookie, no page before it, the token in the address.
	if w := s.ask(http.MethodPost, link, url.Values{"List-Unsubscribe": {"One-Click"}}); w.Code != http.StatusOK {
		t.Fatalf("one click: %d %s", w.Code, w.Body)
	}
	s.clock.to(night().Add(48 * time.Hour))
	s.tell(n, missed("again", time.Time{}))
	s.serve()
	for _, l := range s.letters()[before:] {
		if l.to == "team@example.com" {
			t.Errorf("told after it unsubscribed: %s", l.subject)
		}
	}
	for _, bad := range []string{"", "?t=", "?t=x", link[strings.Index(link, "?"):] + "x", "?t=" + strings.Repeat("A", 90), "?t=" + strings.Repeat("A", 1000)} {
		for _, path := range []string{"/api/recipients/unsubscribe", "/api/recipients/verify"} {
			if w := s.ask(http.MethodPost, path+bad, url.Values{}); w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
				t.Errorf("POST %s%.30s: %d", path, bad, w.Code)
			}
		}
	}
}

func TestOneAddressThatFailsKeepsNoOtherFromBeingToldOnce(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	s := newBundle(t, mailtest.Options{AtRcpt: func(to string) error {
		switch {
		case to == "busy@example.com" && away.Load():
			return mailtest.Answer(451, "try later")
		case to == "gone@example.com":
			return mailtest.Answer(550, "no such user")
		}
		return nil
	}})
	s.verified("a@example.com", "b@example.com", "busy@example.com", "gone@example.com")
	memory := nflog.NewStore(nil)
	f := flush{notify.ReasonFirstNotification, memory}
	n := s.notifier("a@example.com, busy@example.com, gone@example.com, b@example.com")
	s.tellIn(n, f, missed("backup", time.Time{}))
	s.tellIn(n, f, missed("backup", time.Time{})) // as if another stage had failed and all were tried again
	byStatus := map[alert.NotificationStatus][]string{}
	for _, one := range s.notifications() {
		byStatus[one.Status] = append(byStatus[one.Status], one.Integration)
	}
	if len(byStatus[alert.Retrying]) != 1 || byStatus[alert.Retrying][0] != "email:busy@example.com" || len(byStatus[alert.Failed]) == 0 || byStatus[alert.Failed][0] != "email:gone@example.com" {
		t.Errorf("taken down: %v", byStatus)
	}
	s.serve()
	s.clock.to(night().Add(2 * time.Minute))
	s.serve() // fails again
	away.Store(false)
	s.clock.to(night().Add(time.Hour))
	s.serve()
	count := map[string]int{}
	for _, l := range s.letters() {
		count[l.to]++
		if !strings.HasPrefix(l.subject, "[missed] backup") || l.header.Get("List-Unsubscribe") == "" {
			t.Errorf("%s got %q", l.to, l.subject)
		}
	}
	if len(count) != 3 || count["a@example.com"] != 1 || count["b@example.com"] != 1 || count["busy@example.com"] != 1 {
		t.Errorf("told: %v", count)
	}
}

func TestOneAddressAloneIsTriedAgainByTheCaller(t *testing.T) {
	for code, want := range map[int]bool{421: true, 451: true, 550: false, 554: false} {
		s := mailtest.Options{AtMail: func(string) error { return mailtest.Answer(code, "no") }}
		t.Run("", func(t *testing.T) {
			s := newBundle(t, s)
			s.verified("team@example.com")
			retry, err := s.notifier("team@example.com").Notify(s.context(flush{reason: notify.ReasonFirstNotification}), missed("backup", time.Time{}))
			if err == nil || retry != want || core.CanRetry(err) != want {
				t.Errorf("%d: retry %t, %v", code, retry, err)
			}
			if list := s.notifications(); len(list) != 0 {
				t.Errorf("%d: what failed as a whole is taken down by the caller, not here: %+v", code, list)
			}
		})
	}
}

func TestADigest(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("team@example.com")
	s.prefers("team@example.com", recipient.Preferences{Digest: recipient.Daily, Zone: "Europe/Berlin"})
	n := s.notifier("team@example.com")
	known := func(name string, ends any) {
		a := late(name, time.Time{})
		s.exec(`insert into alerts (org_id, fingerprint, version, source, labels, annotations, starts_at, ends_at, updated_at)
			values ($1, $2, 1, 'api', '{}', '{}', $3, $4, $3)`, s.org, a.Fingerprint().String(), a.StartsAt, ends)
	}
	known("copy", nil)
	known("rotate", night().Add(90*time.Minute))
	s.tell(n, late("copy", time.Time{}), late("rotate", time.Time{}), missed("backup", time.Time{}))
	if got := s.letters(); len(got) != 1 || got[0].subject != "[missed] backup (db) — since 03:05 CET" {
		t.Fatalf("a critical alert is told at once, and alone: %+v", got)
	}
	s.clock.to(night().Add(10 * time.Minute))
	s.tell(n, late("copy", time.Time{}), late("vacuum", night().Add(9*time.Minute)))
	s.serve()
	s.clock.to(time.Date(2026, 11, 23, 6, 59, 0, 0, time.UTC))
	s.serve()
	if n := len(s.letters()); n != 1 {
		t.Fatalf("%d mails before eight", n)
	}
	s.clock.to(time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC))
	s.serve()
	digest := s.last()
	if want := "[digest] 1 firing, 2 recovered — copy, rotate, vacuum"; digest.subject != want {
		t.Errorf("subject %q, want %q", digest.subject, want)
	}
	golden(t, "digest.txt", digest.text)
	golden(t, "digest.html", digest.html)
	s.serve()
	if n := len(s.letters()); n != 2 {
		t.Errorf("%d mails", n)
	}
}

func TestHoursAndKinds(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("day@example.com", "kinds@example.com")
	s.prefers("day@example.com", recipient.Preferences{Hours: []recipient.Hours{{From: "09:00", To: "17:00"}}, Critical: recipient.CriticalHeld})
	s.prefers("kinds@example.com", recipient.Preferences{Kinds: []string{"late"}})
	n := s.notifier("day@example.com, kinds@example.com")
	memory := nflog.NewStore(nil)
	s.tellIn(n, flush{notify.ReasonFirstNotification, memory}, missed("backup", time.Time{}), late("copy", time.Time{}))
	if got := s.letters(); len(got) != 1 || got[0].to != "kinds@example.com" || got[0].subject != "[late] copy (db) — since 02:05 UTC" {
		t.Fatalf("at night: %+v", got)
	}
	// What it does not want has changed the group: nothing to tell it.
	s.tellIn(n, flush{notify.ReasonNewAlertsInGroup, memory}, missed("backup", time.Time{}), missed("dump", time.Time{}), late("copy", time.Time{}))
	s.serve()
	if n := len(s.letters()); n != 1 {
		t.Errorf("%d mails", n)
	}
	s.clock.to(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	s.serve()
	if got := s.last(); got.to != "day@example.com" || !strings.Contains(got.text, "dump") || len(s.letters()) != 2 {
		t.Errorf("in the morning: %+v", got)
	}
	s.prefers("day@example.com", recipient.Preferences{Hours: []recipient.Hours{{From: "20:00", To: "21:00"}}, Critical: recipient.CriticalHeld})
	s.tell(n, missed("third", time.Time{}))
	s.prefers("day@example.com", recipient.Preferences{})
	s.serve()
	if got := s.last(); !strings.Contains(got.text, "third") || len(s.letters()) != 3 {
		t.Errorf("after its preferences changed: %+v", got)
	}
}

func TestADeathBetweenSendingAndMarkingSendsTheSameOnceMore(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	s.prefers("team@example.com", recipient.Preferences{Digest: recipient.Hourly, Critical: recipient.CriticalHeld})
	s.tell(s.notifier("team@example.com"), missed("backup", time.Time{}))
	s.clock.to(night().Add(time.Hour))
	dying := s.o
	dying.Store = dead{s.store}
	s.mailerOf(dying).serve()
	if n := len(s.letters()); n != 1 {
		t.Fatalf("%d mails", n)
	}
	s.serve()
	if n := len(s.letters()); n != 1 {
		t.Fatalf("%d mails: the lease of the dead one does not hold", n)
	}
	s.clock.to(night().Add(time.Hour + 6*time.Minute))
	s.serve()
	got := s.letters()
	if len(got) != 2 || got[0].header.Get("Message-Id") != got[1].header.Get("Message-Id") {
		t.Errorf("%d mails, of one message or of several", len(got))
	}
	s.clock.to(night().Add(3 * time.Hour))
	s.serve()
	if n := len(s.letters()); n != 2 {
		t.Errorf("%d mails", n)
	}
}

// TestTheInstallationSpeaksForItself: an organisation's `from` is for its own server.
func TestTheInstallationSpeaksForItself(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*mail.Options){
		`"Tokiflow" <alerts@example.com>`: func(*mail.Options) {},
		`<ceo@bank.example>`:              trusting,
	} {
		t.Run(want, func(t *testing.T) {
			s := newBundle(t, mailtest.Options{}, change)
			s.verified("team@example.com")
			c := emailConfig("team@example.com")
			c.From = "ceo@bank.example"
			s.tell(s.notifierOf(c), missed("backup", time.Time{}))
			if got := s.last().header.Get("From"); got != want {
				t.Errorf("from %s", got)
			}
		})
	}
}

// TestAReceiverThatIsTriedSaysWhoIsNotTold: a test is told at once or not at all, and nothing of it is kept.
func TestAReceiverThatIsTriedSaysWhoIsNotTold(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	s.verified("gone@example.com", "told@example.com")
	s.exec(`update recipients set unsubscribed_at = now() where address = 'gone@example.com'`)
	try := func(to string) error {
		a := missed("test", time.Time{})
		a.Labels[model.AlertNameLabel] = alert.TestName
		_, err := s.notifier(to).Notify(s.context(flush{reason: notify.ReasonFirstNotification}), a)
		return err
	}
	for to, want := range map[string]string{"gone@example.com": "has unsubscribed", "new@example.com": "address not verified"} {
		if err := try(to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := try("told@example.com"); err != nil {
		t.Error(err)
	}
	s.exec(`delete from sent_notifications`)

	// An alert is not held up by who does not want it, and the list says so.
	s.tell(s.notifier("gone@example.com"), missed("backup", time.Time{}))
	if list := s.notifications(); len(list) != 1 || list[0].Status != alert.Failed || !strings.Contains(list[0].Error, "has unsubscribed") {
		t.Errorf("got %+v", list)
	}
}
