package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/recipient"
)

func TestRecipientsAreMadeAndRead(t *testing.T) {
	now := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	s := newBundle(t, func(o *api.Options) { o.Clock = func() time.Time { return now } })
	const path = "/api/v1/recipients/Team%40Example.com"
	made := s.do(s.a.all, http.MethodPut, path, `{"kinds":["missed","fail"],"zone":"Europe/Berlin","digest":"daily","critical":"held",
		"hours":[{"days":["mon","fri"],"from":"09:00","to":"17:30"},{"from":"22:00","to":"02:00"}]}`).want(http.StatusCreated)
	want := map[string]any{
		"address": "team@example.com", "status": "unverified", "verified_at": nil, "unsubscribed_at": nil, "asked_at": nil, "receiver": "", "held": 0.0,
		"last_error": "", "last_error_at": nil, "kinds": []any{"missed", "fail"}, "zone": "Europe/Berlin", "digest": "daily", "digest_at": "08:00", "critical": "held",
		"hours": []any{
			map[string]any{"days": []any{"mon", "fri"}, "from": "09:00", "to": "17:30"},
			map[string]any{"from": "22:00", "to": "02:00"},
		},
	}
	got := made.body
	delete(got, "created_at")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	s.do(s.a.all, http.MethodPut, "/api/v1/recipients/team@example.com", `{}`).want(http.StatusOK)
	read := s.do(s.a.read, http.MethodGet, "/api/v1/recipients/TEAM@example.com", nil).want(http.StatusOK).body
	if read["digest"] != "immediately" || read["zone"] != "UTC" || read["critical"] != "now" || len(read["kinds"].([]any)) != 0 {
		t.Errorf("what was left out is not as by default: %v", read)
	}
	if n := len(s.do(s.a.read, http.MethodGet, "/api/v1/recipients", nil).want(http.StatusOK).items()); n != 1 {
		t.Errorf("%d in the list", n)
	}

	// Another organisation's are not found, and a key that may only read changes nothing.
	if n := len(s.do(s.b.all, http.MethodGet, "/api/v1/recipients", nil).want(http.StatusOK).items()); n != 0 {
		t.Errorf("another organisation sees %d", n)
	}
	for _, c := range [][2]string{{http.MethodGet, ""}, {http.MethodDelete, ""}, {http.MethodPost, "/verify"}} {
		s.do(s.b.all, c[0], "/api/v1/recipients/team@example.com"+c[1], nil).want(http.StatusNotFound)
	}
	s.do(s.a.read, http.MethodPut, path, `{}`).want(http.StatusForbidden)
	s.do(s.a.read, http.MethodPost, path+"/verify", nil).want(http.StatusForbidden)

	s.do(s.a.all, http.MethodDelete, path, nil).want(http.StatusNoContent)
	s.do(s.a.all, http.MethodDelete, path, nil).want(http.StatusNotFound)
	s.do(s.a.all, http.MethodGet, "/api/v1/recipients/no-address", nil).want(http.StatusNotFound)
}

func TestRecipientsAreAskedNotTooOften(t *testing.T) {
	now := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	s := newBundle(t, func(o *api.Options) { o.Clock = func() time.Time { return now } })
	const path = "/api/v1/recipients/team@example.com"
	s.do(s.a.all, http.MethodPost, path+"/verify", nil).want(http.StatusNotFound)
	s.do(s.a.all, http.MethodPut, path, `{}`).want(http.StatusCreated)
	s.do(s.a.all, http.MethodPost, path+"/verify", nil).want(http.StatusAccepted) // the first is about to be sent
	if err := s.store.FinishRecipient(s.ctx, s.a.org, "team@example.com", recipient.Done{At: now, Asked: true}); err != nil {
		t.Fatal(err)
	}
	late := s.do(s.a.all, http.MethodPost, path+"/verify", nil).want(http.StatusTooManyRequests)
	if got := late.header.Get("Retry-After"); got != "601" {
		t.Errorf("Retry-After %q", got)
	}
	now = now.Add(11 * time.Minute)
	s.do(s.a.all, http.MethodPost, path+"/verify", nil).want(http.StatusAccepted)
	if list, err := s.store.ClaimRecipients(s.ctx, 5, now, time.Minute); err != nil || len(list) != 1 {
		t.Errorf("to be asked: %v, %v", list, err)
	}
	s.exec(`update recipients set verified_at = now(), unsubscribed_at = null`)
	s.do(s.a.all, http.MethodPost, path+"/verify", nil).want(http.StatusConflict)
	if got := s.do(s.a.read, http.MethodGet, path, nil).body["status"]; got != "verified" {
		t.Errorf("status %v", got)
	}
	s.exec(`update recipients set unsubscribed_at = now()`)
	if got := s.do(s.a.read, http.MethodGet, path, nil).body["status"]; got != "unsubscribed" {
		t.Errorf("status %v", got)
	}
}

func TestPreferencesThatCannotBe(t *testing.T) {
	s := newBundle(t)
	for body, want := range map[string]string{
		`{"kinds":["everything"]}`:                                    "body.kinds[0]",
		`{"zone":"Mars/Olympus"}`:                                     "body.zone",
		`{"zone":"Local"}`:                                            "body.zone",
		`{"digest":"weekly"}`:                                         "body.digest",
		`{"digest":"daily","digest_at":"8 o'c"}`:                      "body.digest_at",
		`{"digest":"daily","digest_at":"24:00"}`:                      "body.digest_at",
		`{"critical":"never"}`:                                        "body.critical",
		`{"hours":[{"from":"9","to":"17:00"}]}`:                       "body.hours[0].from",
		`{"hours":[{"from":"09:00","to":"09:00"}]}`:                   "body.hours[0].to",
		`{"hours":[{"from":"09:00","to":"25:00"}]}`:                   "body.hours[0].to",
		`{"hours":[{"days":["monday"],"from":"09:00","to":"10:00"}]}`: "body.hours[0].days[0]",
		`{"surprise":1}`:                                              "body.surprise",
	} {
		a := s.do(s.a.all, http.MethodPut, "/api/v1/recipients/a@example.com", body).want(http.StatusUnprocessableEntity)
		if !strings.Contains(string(a.raw), want) {
			t.Errorf("%s: got %s", body, a.raw)
		}
	}
	for _, address := range []string{"x", "a@b@c", "a b@example.com", "a@-x.com", strings.Repeat("a", 65) + "@example.com"} {
		s.do(s.a.all, http.MethodPut, "/api/v1/recipients/"+strings.ReplaceAll(address, " ", "%20"), `{}`).want(http.StatusUnprocessableEntity)
	}
}
