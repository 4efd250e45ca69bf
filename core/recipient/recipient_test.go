package recipient_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/recipient"
)

func TestKey(t *testing.T) {
	for in, want := range map[string]string{
		" Team@Example.COM ": "team@example.com", "a+b.c@x.example": "a+b.c@x.example", "grüße@bücher.example": "grüße@bücher.example", "root@localhost": "root@localhost",
		"o'brien@example.com": "o'brien@example.com",
	} {
		if got, err := recipient.Key(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{
		"", "a", "@b", "a@", "a@b@c", "a b@c.d", "a@b c", ".a@b.c", "a.@b.c", "a..b@c.d", "a@.b", "a@b.", "a@b..c", "a@-b.c", "a@b-.c", "<a@b.c>", "a@b.c>", "A <a@b.c>", `"a b"@c.d`,
		"a\r\n@b.c", "a@b.c\x00d", "a@b\u202ec.d", "a,b@c.d", "a@b_c.d", "a@[127.0.0.1]", "\xff@b.c", strings.Repeat("a", 65) + "@b.c", "a@" + strings.Repeat("b", 64) + ".c",
		"a@" + strings.Repeat("b.", 130) + "c",
	} {
		if got, err := recipient.Key(bad); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"a@b.c", "ÄÖ@ü.example", "a@b@c", "K@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := recipient.Key(s)
		if err != nil {
			return
		}
		if again, err := recipient.Key(key); err != nil || again != key {
			t.Errorf("%q gave %q, which gives %q, %v", s, key, again, err)
		}
		if strings.ContainsAny(key, "\r\n\x00 <>,;:\"\\()[]") || strings.Count(key, "@") != 1 {
			t.Errorf("%q gave %q", s, key)
		}
	})
}

func TestNextAsk(t *testing.T) {
	if got := recipient.NextAsk(time.Time{}, 0); !got.IsZero() {
		t.Errorf("never asked: %s", got)
	}
	asked := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	for asks, want := range map[int]time.Duration{1: 10 * time.Minute, 2: 20 * time.Minute, 3: 40 * time.Minute, 8: 1280 * time.Minute, 9: 24 * time.Hour, 1000: 24 * time.Hour} {
		if got := recipient.NextAsk(asked, asks); got.Sub(asked) != want {
			t.Errorf("after %d: %s", asks, got.Sub(asked))
		}
	}
}

func TestBackoff(t *testing.T) {
	for tries, want := range map[int]time.Duration{-1: time.Minute, 0: time.Minute, 1: time.Minute, 2: 2 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 1000: time.Hour} {
		if got := recipient.Backoff(tries); got != want {
			t.Errorf("after %d: %s", tries, got)
		}
	}
}

func TestWants(t *testing.T) {
	all, some, other := recipient.Preferences{}, recipient.Preferences{Kinds: []string{"missed", "fail"}}, recipient.Preferences{Kinds: []string{"other"}}
	for _, c := range []struct {
		p    recipient.Preferences
		kind string
		want bool
	}{
		{all, "missed", true},
		{all, "anything", true},
		{some, "fail", true},
		{some, "late", false},
		{some, "other", false},
		{some, "", false},
		{other, "missed", false},
		{other, "other", true},
		{other, "new-kind", true},
		{other, "", true},
	} {
		if got := c.p.Wants(c.kind); got != c.want {
			t.Errorf("%v, %q: got %t", c.p.Kinds, c.kind, got)
		}
	}
}

func TestPreferences(t *testing.T) {
	want := recipient.Preferences{Zone: "UTC", Digest: recipient.Immediately, Critical: recipient.CriticalNow}
	if diff := cmp.Diff(want, recipient.Preferences{DigestAt: "09:00"}.Normalise()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := (recipient.Preferences{Digest: recipient.Daily}).Normalise(); got.DigestAt != "08:00" || len(got.Validate()) != 0 {
		t.Errorf("got %+v, %v", got, got.Validate())
	}
	if got := (recipient.Preferences{Zone: "no/where"}).Location(); got != time.UTC {
		t.Errorf("an unknown zone is %s", got)
	}
	var many []recipient.Hours
	for range recipient.MaxHours + 1 {
		many = append(many, recipient.Hours{From: "09:00", To: "10:00"})
	}
	for field, p := range map[string]recipient.Preferences{
		"kinds[1]": {Kinds: []string{"missed", "x"}}, "zone": {Zone: "x"}, "digest": {Digest: "x"}, "digest_at": {Digest: recipient.Daily, DigestAt: "8:00"},
		"critical": {Critical: "x"}, "hours": {Hours: many}, "hours[0].from": {Hours: []recipient.Hours{{From: "24:00", To: "10:00"}}},
		"hours[0].to": {Hours: []recipient.Hours{{From: "09:00", To: "09:60"}}}, "hours[0].days[0]": {Hours: []recipient.Hours{{Days: []string{"Mon"}, From: "09:00", To: "10:00"}}},
	} {
		faults := p.Normalise().Validate()
		if len(faults) != 1 || faults[0].Field != field || faults[0].Message == "" {
			t.Errorf("%s: got %+v", field, faults)
		}
	}
	text, err := json.Marshal(recipient.Preferences{})
	if err != nil || string(text) != "{}" {
		t.Errorf("stored as %s, %v", text, err)
	}
}

func TestMerge(t *testing.T) {
	start := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	fires := func(fp string, n int) recipient.Alert {
		return recipient.Alert{Fingerprint: fp, StartsAt: start.Add(time.Duration(n) * time.Hour)}
	}
	ended := fires("a", 0)
	ended.EndsAt = start.Add(time.Minute)
	got, more := recipient.Merge([]recipient.Alert{fires("a", 0), fires("b", 0)}, []recipient.Alert{ended, fires("a", 1), fires("c", 0)})
	if diff := cmp.Diff([]recipient.Alert{ended, fires("b", 0), fires("a", 1), fires("c", 0)}, got); diff != "" || more != 0 {
		t.Errorf("%d more (-want +got)\n%s", more, diff)
	}
	var many []recipient.Alert
	for i := range recipient.MaxAlerts + 7 {
		many = append(many, fires(fmt.Sprint(i), 0))
	}
	again := many[3]
	again.EndsAt = start.Add(time.Minute)
	got, more = recipient.Merge(many, []recipient.Alert{again})
	if len(got) != recipient.MaxAlerts || more != 7 || got[3].EndsAt.IsZero() {
		t.Errorf("%d, %d more, %v", len(got), more, got[3])
	}
	if got, more := recipient.Merge(nil, nil); len(got) != 0 || more != 0 {
		t.Errorf("nothing and nothing: %v", got)
	}
}
