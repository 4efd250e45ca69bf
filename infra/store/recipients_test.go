package store_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func mailTime() time.Time { return time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC) }

func via(receiver string) recipient.Via {
	return recipient.Via{Receiver: receiver, Kind: "email", Sender: "x"}
}

func (s *bundle) know(o owner, ask bool, addresses ...string) []recipient.Recipient {
	s.t.Helper()
	list, err := s.store.KnowRecipients(s.ctx, o.org, addresses, via("team"), ask, mailTime())
	s.must(err)
	return list
}

func (s *bundle) recipient(o owner, address string) recipient.Recipient {
	s.t.Helper()
	r, err := s.store.Recipient(s.ctx, o.org, address)
	s.must(err)
	return r
}

func (s *bundle) due(at time.Time) []string {
	s.t.Helper()
	list, err := s.store.ClaimRecipients(s.ctx, 10, at, time.Minute)
	s.must(err)
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.Address
	}
	slices.Sort(out)
	return out
}

func held(address string, reason recipient.Reason, due time.Time, alerts ...string) *recipient.Held {
	h := &recipient.Held{
		ID: uuid.New(), Address: address, Via: via("team"), Index: "email[0]", GroupKey: "{}:{project=\"db\"}", Group: map[string]string{"project": "db"},
		Reason: reason, Why: "first notification", HeldAt: mailTime(), DueAt: due,
	}
	for _, fp := range alerts {
		h.Alerts = append(h.Alerts, recipient.Alert{Fingerprint: fp, Labels: map[string]string{"alertname": "A"}, Annotations: map[string]string{}, StartsAt: mailTime()})
	}
	return h
}

func token(text string) []byte { sum := sha256.Sum256([]byte(text)); return sum[:] }

func TestRecipientsAreKnown(t *testing.T) {
	s := newBundle(t)
	got := s.know(s.a, true, "b@example.com", "a@example.com")
	if len(got) != 2 || got[0].Address != "b@example.com" || got[0].AskDue.IsZero() || !got[0].VerifiedAt.IsZero() || got[0].ID == got[1].ID {
		t.Fatalf("got %+v", got)
	}
	again := s.know(s.a, true, "a@example.com", "b@example.com", "c@example.com")
	if len(again) != 3 || again[1].ID != got[0].ID {
		t.Errorf("got %+v", again)
	}
	if _, err := s.store.KnowRecipients(s.ctx, s.a.org, []string{"a@example.com"}, via("other"), true, mailTime()); err != nil {
		t.Fatal(err)
	}
	if r := s.recipient(s.a, "a@example.com"); r.Via.Receiver != "other" {
		t.Errorf("named by %+v", r.Via)
	}
	trusted := s.know(s.b, false, "a@example.com")
	if !trusted[0].AskDue.IsZero() || trusted[0].ID == got[1].ID {
		t.Errorf("got %+v", trusted)
	}
	list, err := s.store.Recipients(s.ctx, s.a.org)
	s.must(err)
	if len(list) != 3 || list[0].Address != "a@example.com" || list[0].Preferences.Digest != recipient.Immediately {
		t.Errorf("got %+v", list)
	}
	if other, err := s.store.Recipients(s.ctx, s.b.org); err != nil || len(other) != 1 {
		t.Errorf("another organisation has %v, %v", other, err)
	}
	if _, err := s.store.Recipient(s.ctx, s.b.org, "b@example.com"); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("another organisation's: %v", err)
	}
}

func TestRecipientsAreBounded(t *testing.T) {
	s := newBundle(t)
	s.exec(`insert into recipients (org_id, address, id) select $1, 'a' || i || '@example.com', gen_random_uuid() from generate_series(1, $2) i`,
		s.a.org, recipient.MaxRecipients)
	if _, err := s.store.KnowRecipients(s.ctx, s.a.org, []string{"new@example.com"}, via(""), true, mailTime()); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("got %v", err)
	}
	s.know(s.b, true, "new@example.com")
	s.must(s.store.DeleteRecipient(s.ctx, s.a.org, "a7@example.com", mailTime()))
	s.know(s.a, true, "new@example.com")
}

func TestKnownAtOnce(t *testing.T) {
	s := newBundle(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.store.KnowRecipients(s.ctx, s.a.org, []string{"b@example.com", "a@example.com"}, via("team"), true, mailTime()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.count(`select count(*) from recipients`); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestVerifying(t *testing.T) {
	s := newBundle(t)
	r := s.know(s.a, true, "a@example.com")[0]
	if got := s.due(mailTime()); !cmp.Equal(got, []string{"a@example.com"}) {
		t.Fatalf("claimed %v", got)
	}
	if got := s.due(mailTime()); len(got) != 0 {
		t.Errorf("claimed twice: %v", got)
	}
	if got := s.due(mailTime().Add(2 * time.Minute)); len(got) != 1 {
		t.Error("a lease that ended is not claimed again")
	}
	ok, err := s.store.SetToken(s.ctx, s.a.org, r.Address, token("one"), mailTime())
	s.must(err)
	s.must(s.store.FinishRecipient(s.ctx, s.a.org, r.Address, recipient.Done{At: mailTime(), Asked: true}))
	if got := s.recipient(s.a, r.Address); !ok || got.Asks != 1 || !got.AskedAt.Equal(mailTime()) || !got.AskDue.IsZero() {
		t.Errorf("asked: %+v", got)
	}
	s.must(s.store.HoldMail(s.ctx, s.a.org, held(r.Address, recipient.HeldUnverified, time.Time{}, "x")))
	if got := s.due(mailTime().Add(time.Hour)); len(got) != 0 {
		t.Errorf("due while unverified: %v", got)
	}
	for name, c := range map[string]struct {
		org  tenant.OrgID
		hash []byte
		at   time.Time
	}{
		"another token":        {s.a.org, token("two"), mailTime()},
		"no token":             {s.a.org, nil, mailTime()},
		"another organisation": {s.b.org, token("one"), mailTime()},
		"too late":             {s.a.org, token("one"), mailTime().Add(recipient.TokenLife)},
	} {
		if _, err := s.store.VerifyRecipient(s.ctx, c.org, r.ID, c.hash, c.at); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("%s: got %v", name, err)
		}
	}
	at := mailTime().Add(time.Hour)
	got, err := s.store.VerifyRecipient(s.ctx, s.a.org, r.ID, token("one"), at)
	if err != nil || !got.VerifiedAt.Equal(at) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := s.store.VerifyRecipient(s.ctx, s.a.org, r.ID, token("one"), at); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a token works twice: %v", err)
	}
	if got := s.due(at); len(got) != 1 {
		t.Error("what was kept is not due")
	}
	kept, err := s.store.HeldMails(s.ctx, s.a.org, r.Address)
	if err != nil || len(kept) != 1 || !kept[0].DueAt.Equal(at) {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	if _, err := s.store.WantAsk(s.ctx, s.a.org, r.Address, at); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("asking who is verified: %v", err)
	}
}

func TestAskingHasLimits(t *testing.T) {
	s := newBundle(t)
	r := s.know(s.a, true, "a@example.com")[0]
	asked := func(at time.Time) {
		t.Helper()
		s.must(s.store.FinishRecipient(s.ctx, s.a.org, r.Address, recipient.Done{At: at, Asked: true}))
	}
	asked(mailTime())
	at := mailTime()
	for _, wait := range []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute} {
		next, err := s.store.WantAsk(s.ctx, s.a.org, r.Address, at.Add(time.Minute))
		if err != nil || !next.Equal(at.Add(wait)) {
			t.Errorf("too soon: may again at %v, %v", next, err)
		}
		if len(s.due(at.Add(wait))) != 0 {
			t.Error("asked too soon")
		}
		at = at.Add(wait)
		if next, err := s.store.WantAsk(s.ctx, s.a.org, r.Address, at); err != nil || !next.IsZero() || len(s.due(at)) != 1 {
			t.Errorf("in time: %v, %v", next, err)
		}
		asked(at)
	}
	if _, err := s.store.WantAsk(s.ctx, s.b.org, r.Address, at); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("another organisation's: %v", err)
	}
	// Deleting it does not make asking possible again.
	s.must(s.store.DeleteRecipient(s.ctx, s.a.org, r.Address, at))
	if got := s.know(s.a, true, r.Address)[0]; !got.AskDue.IsZero() || got.Asks != 4 || got.ID != r.ID {
		t.Errorf("back: %+v", got)
	}
	s.exec(`insert into recipients (org_id, address, id, asked_at) select $1, 'a' || i || '@example.com', gen_random_uuid(), $3 from generate_series(1, $2) i`,
		s.b.org, recipient.MaxAsksPerDay, mailTime())
	s.know(s.b, true, "z@example.com")
	if ok, err := s.store.SetToken(s.ctx, s.b.org, "z@example.com", token("x"), mailTime().Add(time.Hour)); ok || err != nil {
		t.Errorf("beyond the day's: %t, %v", ok, err)
	}
	if ok, err := s.store.SetToken(s.ctx, s.b.org, "z@example.com", token("x"), mailTime().Add(25*time.Hour)); !ok || err != nil {
		t.Errorf("the next day: %t, %v", ok, err)
	}
}

func TestUnsubscribing(t *testing.T) {
	s := newBundle(t)
	r := s.know(s.a, true, "a@example.com")[0]
	s.must(s.store.HoldMail(s.ctx, s.a.org, held(r.Address, recipient.HeldForLater, mailTime(), "x")))
	if _, err := s.store.UnsubscribeRecipient(s.ctx, s.b.org, r.ID, mailTime()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("by another organisation: %v", err)
	}
	gone, err := s.store.UnsubscribeRecipient(s.ctx, s.a.org, r.ID, mailTime())
	if err != nil || len(gone) != 1 {
		t.Errorf("got %v, %v", gone, err)
	}
	if gone, err := s.store.UnsubscribeRecipient(s.ctx, s.a.org, r.ID, mailTime().Add(time.Hour)); err != nil || len(gone) != 0 {
		t.Errorf("twice: %v, %v", gone, err)
	}
	s.must(s.store.HoldMail(s.ctx, s.a.org, held(r.Address, recipient.HeldForLater, mailTime(), "x")))
	if n := s.count(`select count(*) from held_mails`); n != 0 || len(s.due(mailTime().Add(time.Hour))) != 0 {
		t.Errorf("%d are held, or it is claimed", n)
	}
	s.must(s.store.DeleteRecipient(s.ctx, s.a.org, r.Address, mailTime()))
	if got := s.know(s.a, true, r.Address)[0]; !got.UnsubscribedAt.Equal(mailTime()) || !got.AskDue.IsZero() {
		t.Errorf("a no is forgotten with the recipient: %+v", got)
	}
	if next, err := s.store.WantAsk(s.ctx, s.a.org, r.Address, mailTime()); err != nil || !next.IsZero() {
		t.Errorf("asked by a person: %v, %v", next, err)
	}
	if _, err := s.store.SetToken(s.ctx, s.a.org, r.Address, token("back"), mailTime()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.store.VerifyRecipient(s.ctx, s.a.org, r.ID, token("back"), mailTime()); err != nil || !got.UnsubscribedAt.IsZero() {
		t.Errorf("a yes after a no: %+v, %v", got, err)
	}
	if got := s.recipient(s.a, r.Address); !got.UnsubscribedAt.IsZero() || got.VerifiedAt.IsZero() {
		t.Errorf("stored: %+v", got)
	}
}

func TestHeldMailsAreMerged(t *testing.T) {
	s := newBundle(t)
	s.know(s.a, false, "a@example.com", "b@example.com")
	first := held("a@example.com", recipient.HeldForLater, mailTime().Add(2*time.Hour), "x", "y")
	first.Message = &mail.Message{Subject: "s"}
	s.must(s.store.HoldMail(s.ctx, s.a.org, first))
	got, err := s.store.HeldMails(s.ctx, s.a.org, "a@example.com")
	s.must(err)
	want := *first
	want.Version = 1
	if diff := cmp.Diff([]recipient.Held{want}, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	second := held("a@example.com", recipient.HeldForLater, mailTime().Add(time.Hour), "y", "z")
	second.Alerts[0].EndsAt, second.Why = mailTime().Add(time.Minute), "some alerts resolved"
	s.must(s.store.HoldMail(s.ctx, s.a.org, second))
	if second.ID != first.ID {
		t.Error("the notification of one that was merged is another")
	}
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("a@example.com", recipient.HeldToRetry, mailTime().Add(time.Hour), "x")))
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("b@example.com", recipient.HeldForLater, mailTime().Add(time.Hour), "x")))
	got, err = s.store.HeldMails(s.ctx, s.a.org, "a@example.com")
	s.must(err)
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	i := slices.IndexFunc(got, func(h recipient.Held) bool { return h.Reason == recipient.HeldForLater })
	h := got[i]
	if h.Version != 2 || len(h.Alerts) != 3 || h.Alerts[1].EndsAt.IsZero() || h.Message != nil || !h.DueAt.Equal(mailTime().Add(time.Hour)) || h.Why != second.Why {
		t.Errorf("merged: %+v", h)
	}
	if other, err := s.store.HeldMails(s.ctx, s.b.org, "a@example.com"); err != nil || len(other) != 0 {
		t.Errorf("another organisation's: %v, %v", other, err)
	}
	if r := s.recipient(s.a, "a@example.com"); r.Held != 2 {
		t.Errorf("%d held", r.Held)
	}
}

func TestWhatChangedMeanwhileStays(t *testing.T) {
	s := newBundle(t)
	s.know(s.a, false, "a@example.com")
	due := mailTime().Add(time.Hour)
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("a@example.com", recipient.HeldForLater, due, "x")))
	if len(s.due(due)) != 1 {
		t.Fatal("not due")
	}
	told, err := s.store.HeldMails(s.ctx, s.a.org, "a@example.com")
	s.must(err)
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("a@example.com", recipient.HeldForLater, due.Add(time.Hour), "y")))
	s.must(s.store.FinishRecipient(s.ctx, s.a.org, "a@example.com", recipient.Done{At: due, Told: told}))
	left, err := s.store.HeldMails(s.ctx, s.a.org, "a@example.com")
	if err != nil || len(left) != 1 || len(left[0].Alerts) != 2 {
		t.Fatalf("left: %+v, %v", left, err)
	}
	if len(s.due(due)) != 1 {
		t.Error("what changed is not due again")
	}
	later := left[0]
	later.DueAt = due.Add(3 * time.Hour)
	s.must(s.store.FinishRecipient(s.ctx, s.a.org, "a@example.com", recipient.Done{At: due, Later: []recipient.Held{later}}))
	if len(s.due(due.Add(time.Hour))) != 0 || len(s.due(later.DueAt)) != 1 {
		t.Error("it is not due when it was put off to")
	}
	again := later.DueAt.Add(time.Minute)
	s.must(s.store.FinishRecipient(s.ctx, s.a.org, "a@example.com", recipient.Done{At: later.DueAt, Error: "550 no", Again: again}))
	if r := s.recipient(s.a, "a@example.com"); r.Error != "550 no" || r.Tries != 1 || len(s.due(later.DueAt)) != 0 || len(s.due(again)) != 1 {
		t.Errorf("after a failure: %+v", r)
	}
	s.must(s.store.FinishRecipient(s.ctx, s.a.org, "a@example.com", recipient.Done{At: again, Told: left}))
	if r := s.recipient(s.a, "a@example.com"); r.Error != "" || r.Tries != 0 || r.Held != 0 || len(s.due(again.Add(24*time.Hour))) != 0 {
		t.Errorf("in the end: %+v", r)
	}
}

func TestWhatIsKeptExpires(t *testing.T) {
	s := newBundle(t)
	s.know(s.a, true, "a@example.com", "b@example.com")
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("a@example.com", recipient.HeldUnverified, time.Time{}, "x")))
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("b@example.com", recipient.HeldForLater, mailTime(), "x")))
	if gone, err := s.store.ExpireHeld(s.ctx, mailTime(), 10); err != nil || len(gone) != 0 {
		t.Errorf("too early: %v, %v", gone, err)
	}
	gone, err := s.store.ExpireHeld(s.ctx, mailTime().Add(time.Second), 10)
	if err != nil || len(gone) != 1 || gone[0].Org != s.a.org || gone[0].Address != "a@example.com" || len(gone[0].Alerts) != 1 {
		t.Errorf("got %+v, %v", gone, err)
	}
	if n := s.count(`select count(*) from held_mails`); n != 1 {
		t.Errorf("%d left", n)
	}
}

func TestPreferencesAreKept(t *testing.T) {
	s := newBundle(t)
	p := recipient.Preferences{Kinds: []string{"missed"}, Zone: "Europe/Berlin", Digest: recipient.Daily}.Normalise()
	created, err := s.store.PutRecipient(s.ctx, s.a.org, "a@example.com", p, mailTime())
	if err != nil || !created {
		t.Fatal(created, err)
	}
	r := s.recipient(s.a, "a@example.com")
	if diff := cmp.Diff(p, r.Preferences); diff != "" || r.AskDue.IsZero() {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s.exec(`update recipients set due_at = null, ask_due = null`)
	s.must(s.store.HoldMail(s.ctx, s.a.org, held("a@example.com", recipient.HeldForLater, mailTime().Add(9*time.Hour), "x")))
	if created, err := s.store.PutRecipient(s.ctx, s.a.org, "a@example.com", recipient.Preferences{}, mailTime()); err != nil || created {
		t.Fatal(created, err)
	}
	if len(s.due(mailTime())) != 1 {
		t.Error("what is held is not looked at again")
	}
	if err := s.store.DeleteRecipient(s.ctx, s.b.org, "a@example.com", mailTime()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("by another organisation: %v", err)
	}
	s.must(s.store.DeleteRecipient(s.ctx, s.a.org, "a@example.com", mailTime()))
	if err := s.store.DeleteRecipient(s.ctx, s.a.org, "a@example.com", mailTime()); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("twice: %v", err)
	}
	if n := s.count(`select count(*) from held_mails`); n != 0 {
		t.Errorf("%d are held", n)
	}
	if _, err := s.store.RecipientByID(s.ctx, s.a.org, r.ID); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("by its id: %v", err)
	}
}

func TestEndedAlerts(t *testing.T) {
	s := newBundle(t)
	for fp, ends := range map[string]any{"fires": nil, "ended": mailTime(), "ends": mailTime().Add(time.Hour)} {
		s.exec(`insert into alerts (org_id, fingerprint, version, source, labels, annotations, starts_at, ends_at, updated_at)
			values ($1, $2, 1, 'api', '{}', '{}', $3, $4, $3)`, s.a.org, fp, mailTime().Add(-time.Hour), ends)
	}
	m := s.create(s.a, "backup")
	open, resolved := s.open(m, incident.Missed, mailTime().Add(-time.Hour)), s.open(m, incident.Fail, mailTime().Add(-time.Hour))
	s.exec(`update incidents set resolved_at = $2 where id = $1`, resolved, mailTime())
	got, err := s.store.EndedAlerts(s.ctx, s.a.org, []string{"fires", "ended", "ends", "gone"}, []uuid.UUID{open, resolved}, mailTime().Add(time.Minute))
	s.must(err)
	want := recipient.Ended{ByFingerprint: map[string]time.Time{"ended": mailTime(), "gone": {}}, ByIncident: map[uuid.UUID]time.Time{resolved: mailTime()}}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	other, err := s.store.EndedAlerts(s.ctx, s.b.org, []string{"fires"}, []uuid.UUID{resolved}, mailTime())
	if err != nil || len(other.ByIncident) != 0 || fmt.Sprint(other.ByFingerprint) != fmt.Sprint(map[string]time.Time{"fires": {}}) {
		t.Errorf("another organisation's: %+v, %v", other, err)
	}
}
