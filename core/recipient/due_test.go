package recipient_test

import (
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/recipient"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func hours(list ...recipient.Hours) recipient.Preferences {
	return recipient.Preferences{Zone: "Europe/Berlin", Hours: list, Critical: recipient.CriticalHeld}
}

func TestDue(t *testing.T) {
	office := hours(recipient.Hours{Days: []string{"mon", "tue", "wed", "thu", "fri"}, From: "09:00", To: "17:30"})
	nights := hours(recipient.Hours{Days: []string{"fri", "sat"}, From: "22:00", To: "06:00"})
	gap := hours(recipient.Hours{From: "02:30", To: "05:00"})      // 02:30 is skipped in March, and comes twice in October
	inGap := hours(recipient.Hours{From: "02:15", To: "02:45"})    // all of it is skipped in March
	twice := hours(recipient.Hours{From: "02:00", To: "02:30"})    // comes twice in October
	midnight := hours(recipient.Hours{From: "00:00", To: "24:00"}) // always
	daily := recipient.Preferences{Zone: "Europe/Berlin", Digest: recipient.Daily, DigestAt: "02:30", Critical: recipient.CriticalHeld}
	hourly := recipient.Preferences{Zone: "Asia/Kolkata", Digest: recipient.Hourly, Critical: recipient.CriticalHeld}
	both := office
	both.Digest = recipient.Hourly
	now := office
	now.Critical = recipient.CriticalNow
	for _, c := range []struct {
		name      string
		p         recipient.Preferences
		severity  string
		from, due string
	}{
		{"everything at once", recipient.Preferences{}, "warning", "2026-11-23T02:05:00Z", "2026-11-23T02:05:00Z"},
		{"within the hours", office, "warning", "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"},
		{"the first minute is in them", office, "warning", "2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"},
		{"the last is not", office, "warning", "2026-11-23T16:30:00Z", "2026-11-24T08:00:00Z"},
		{"before them", office, "warning", "2026-11-23T02:05:00Z", "2026-11-23T08:00:00Z"},
		{"over the weekend", office, "warning", "2026-11-27T20:00:00Z", "2026-11-30T08:00:00Z"},
		{"critical, held", office, "critical", "2026-11-27T20:00:00Z", "2026-11-30T08:00:00Z"},
		{"critical, now", now, "critical", "2026-11-27T20:00:00Z", "2026-11-27T20:00:00Z"},
		{"critical now does not hasten others", now, "warning", "2026-11-27T20:00:00Z", "2026-11-30T08:00:00Z"},
		{"always", midnight, "warning", "2026-11-23T22:59:59Z", "2026-11-23T22:59:59Z"},
		{"past midnight, the next morning", nights, "warning", "2026-11-28T04:00:00Z", "2026-11-28T04:00:00Z"},
		{"past midnight, Monday morning is Sunday's", nights, "warning", "2026-11-30T04:00:00Z", "2026-12-04T21:00:00Z"},
		{"past midnight, Sunday morning is Saturday's", nights, "warning", "2026-11-29T04:59:00Z", "2026-11-29T04:59:00Z"},

		// 2026-03-29: 02:00 CET becomes 03:00 CEST at 01:00 UTC. 2026-10-25: 03:00 CEST becomes 02:00 CET at 01:00 UTC.
		{"spring: their start is skipped, they begin with the change", gap, "warning", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"},
		{"spring: all of them is skipped", inGap, "warning", "2026-03-29T00:30:00Z", "2026-03-30T00:15:00Z"},
		{"spring: nine o'clock is an hour earlier", office, "warning", "2026-03-28T12:00:00Z", "2026-03-30T07:00:00Z"},
		{"autumn: nine o'clock is an hour later", office, "warning", "2026-10-24T12:00:00Z", "2026-10-26T08:00:00Z"},
		{"autumn: they come twice, the first time", twice, "warning", "2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z"},
		{"autumn: they come twice, between", twice, "warning", "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"},
		{"autumn: from the first half past to the end", gap, "warning", "2026-10-25T00:29:00Z", "2026-10-25T00:30:00Z"},
		{"autumn: the clock is before half past again", gap, "warning", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"},

		{"daily", daily, "warning", "2026-11-23T02:05:00Z", "2026-11-24T01:30:00Z"},
		{"daily, at the moment: the next", daily, "warning", "2026-11-23T01:30:00Z", "2026-11-24T01:30:00Z"},
		{"daily, spring: skipped, with the change", daily, "warning", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"daily, autumn: the first of two", daily, "warning", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"daily, autumn: once", daily, "warning", "2026-10-25T00:45:00Z", "2026-10-26T01:30:00Z"},
		{"hourly, where the zone has a half hour", hourly, "warning", "2026-11-23T02:05:00Z", "2026-11-23T02:30:00Z"},
		{"hourly, at the full hour: the next", hourly, "warning", "2026-11-23T02:30:00Z", "2026-11-23T03:30:00Z"},
		{"hourly, within hours", both, "warning", "2026-11-23T15:10:00Z", "2026-11-23T16:00:00Z"},
		{"hourly, the hour is outside of hours", both, "warning", "2026-11-23T16:10:00Z", "2026-11-24T08:00:00Z"},
		{"hours that cannot be read are none", hours(recipient.Hours{From: "x", To: "y"}), "warning", "2026-11-23T02:05:00Z", "2026-11-23T02:05:00Z"},
		{"a day that cannot be read never comes", hours(recipient.Hours{Days: []string{"x"}, From: "09:00", To: "10:00"}), "warning", "2026-11-23T02:05:00Z", "2026-11-23T02:05:00Z"},
	} {
		if got := c.p.Due(c.severity, at(t, c.from)); !got.Equal(at(t, c.due)) {
			t.Errorf("%s: got %s, want %s", c.name, got.UTC().Format(time.RFC3339), c.due)
		}
	}
}

// FuzzDue holds what must be so of any preferences: nothing is due before it came, nothing is put off for longer than a week and a day,
// and what is due is due then when it is asked again.
func FuzzDue(f *testing.F) {
	f.Add("Europe/Berlin", "02:30", "05:00", "mon", "daily", "02:30", int64(1774746000))
	f.Add("Australia/Lord_Howe", "22:00", "01:45", "", "hourly", "", int64(1791000000))
	f.Add("Pacific/Apia", "09:00", "17:30", "fri", "immediately", "", int64(1325200000)) // a day that was left out
	f.Fuzz(func(t *testing.T, zone, from, to, on, digest, digestAt string, unix int64) {
		p := recipient.Preferences{Zone: zone, Hours: []recipient.Hours{{From: from, To: to}}, Digest: recipient.Digest(digest), DigestAt: digestAt, Critical: recipient.CriticalHeld}
		if on != "" {
			p.Hours[0].Days = []string{on}
		}
		p = p.Normalise()
		if len(p.Validate()) > 0 {
			return
		}
		came := time.Unix(unix%(1<<33), 0)
		due := p.Due("warning", came)
		if due.Before(came) || due.Sub(came) > 10*24*time.Hour {
			t.Errorf("%+v: came %s, due %s", p, came.UTC(), due.UTC())
		}
		p.Digest = recipient.Immediately
		if again := p.Due("warning", due); !again.Equal(due) {
			t.Errorf("%+v: due %s, and then %s", p, due.UTC(), again.UTC())
		}
	})
}
