package store_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestNotificationsAreWrittenDown(t *testing.T) {
	s := newBundle(t)
	subject, ended := uuid.New(), t0.Add(time.Minute)
	n := alert.Notification{
		ID: uuid.New(), Org: s.a.org, Receiver: "ops", Integration: "webhook[0]", GroupKey: "{}:{}", Reason: "first notification",
		Alerts: []alert.Told{
			{Fingerprint: "00ff", Status: "firing", Labels: map[string]string{"a": "b"}, StartsAt: t0, Incident: &subject},
			{Fingerprint: "00fe", Status: "resolved", Labels: map[string]string{"a": "c"}, StartsAt: t0, EndsAt: &ended},
		},
		AlertCount: 2, FiringCount: 1, StartedAt: t0, Attempts: 1, Status: alert.Retrying, StatusCode: 503, Error: "answered 503", Latency: 1500 * time.Microsecond,
	}
	first := n
	s.must(s.store.SaveNotification(s.ctx, s.a.org, n))
	n.Attempts, n.Status, n.StatusCode, n.Error, n.EndedAt = 2, alert.Delivered, 0, "", t0.Add(time.Minute)
	s.must(s.store.SaveNotification(s.ctx, s.a.org, n))
	s.must(s.store.SaveNotification(s.ctx, s.a.org, first)) // comes late
	stranger := n
	stranger.Attempts, stranger.Status = 9, alert.Failed
	s.must(s.store.SaveNotification(s.ctx, s.b.org, stranger))
	got, err := s.store.Notifications(s.ctx, s.a.org, alert.NotificationFilter{})
	s.must(err)
	if diff := cmp.Diff([]alert.Notification{n}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := s.store.Notifications(s.ctx, s.b.org, alert.NotificationFilter{}); err != nil || len(got) != 0 {
		t.Errorf("another organisation has %+v, %v", got, err)
	}
	many := alert.Notification{ID: uuid.New(), StartedAt: t0.Add(time.Hour), Alerts: make([]alert.Told, 3000), AlertCount: 3000, Status: alert.Delivered}
	s.must(s.store.SaveNotification(s.ctx, s.a.org, many))
	got, err = s.store.Notifications(s.ctx, s.a.org, alert.NotificationFilter{Limit: 1})
	if s.must(err); len(got) != 1 || len(got[0].Alerts) != alert.MaxTold || got[0].AlertCount != 3000 {
		t.Errorf("%d notifications, %d alerts of %d", len(got), len(got[0].Alerts), got[0].AlertCount)
	}
}

// What can never be written down is told from what a database in trouble does not take.
func TestNotificationsThatCannotBeWrittenDown(t *testing.T) {
	s := newBundle(t)
	good := alert.Notification{ID: uuid.New(), Receiver: "ops", StartedAt: t0, Status: alert.Delivered}
	long := make([]byte, 20_000) // does not fit into an index, however compressed
	for i := range long {
		long[i] = "0123456789abcdef"[rand.IntN(16)] //nolint:gosec // no secret
	}
	ended, end := context.WithCancel(s.ctx)
	end()
	for name, c := range map[string]struct {
		ctx    context.Context
		org    tenant.OrgID
		change func(*alert.Notification)
		want   fault.Code
	}{
		"good":           {s.ctx, s.a.org, func(*alert.Notification) {}, ""},
		"NUL":            {s.ctx, s.a.org, func(n *alert.Notification) { n.Error = "a\x00b" }, fault.Invalid},
		"NUL in a label": {s.ctx, s.a.org, func(n *alert.Notification) { n.Alerts = []alert.Told{{Labels: map[string]string{"a": "\x00"}}} }, fault.Invalid},
		"not UTF-8":      {s.ctx, s.a.org, func(n *alert.Notification) { n.GroupKey = "\xff" }, fault.Invalid},
		"no such org":    {s.ctx, tenant.OrgID{UUID: uuid.New()}, func(*alert.Notification) {}, fault.Invalid},
		"the year 10000": {s.ctx, s.a.org, func(n *alert.Notification) {
			n.Alerts = []alert.Told{{StartsAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}}
		}, fault.Invalid},
		"the caller left": {ended, s.a.org, func(*alert.Notification) {}, ""},
	} {
		n := good
		n.ID = uuid.New()
		c.change(&n)
		err := s.store.SaveNotification(c.ctx, c.org, n)
		if got := fault.CodeOf(err); got != c.want || (err == nil) != (name == "good") {
			t.Errorf("%s: %v is of code %q, want %q", name, err, got, c.want)
		}
	}
	entry := alert.LogEntry{GroupKey: "g", Receiver: "r", LoggedAt: t0, ExpiresAt: t0.Add(time.Hour), Body: []byte{1}}
	for name, c := range map[string]func(*alert.LogEntry){
		"NUL":  func(e *alert.LogEntry) { e.Receiver = "\x00" },
		"long": func(e *alert.LogEntry) { e.GroupKey = string(long) },
	} {
		bad := entry
		c(&bad)
		if err := s.store.SaveLog(s.ctx, s.a.org, []alert.LogEntry{entry, bad}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.count(`select count(*) from notification_log`); n != 0 {
		t.Errorf("%d entries of a batch were taken", n)
	}
}

func TestNotificationsAreFound(t *testing.T) {
	s := newBundle(t)
	subject := uuid.New()
	ids := make([]uuid.UUID, 6)
	for i := range ids {
		ids[i] = uuid.UUID{0: byte(i + 1)}
		n := alert.Notification{
			ID: ids[i], Receiver: []string{"ops", "dev"}[i%2], StartedAt: t0.Add(time.Duration(i/2) * time.Hour),
			Status: []alert.NotificationStatus{alert.Delivered, alert.Retrying, alert.Failed}[i%3],
		}
		if i == 3 || i == 4 {
			n.Alerts = []alert.Told{{Fingerprint: "x"}, {Fingerprint: "y", Incident: &subject}}
		}
		s.must(s.store.SaveNotification(s.ctx, s.a.org, n))
	}
	for name, c := range map[string]struct {
		f    alert.NotificationFilter
		want []int
	}{
		"all":      {alert.NotificationFilter{}, []int{5, 4, 3, 2, 1, 0}},
		"receiver": {alert.NotificationFilter{Receiver: "ops"}, []int{4, 2, 0}},
		"status":   {alert.NotificationFilter{Statuses: []alert.NotificationStatus{alert.Delivered, alert.Failed}}, []int{5, 3, 2, 0}},
		"from":     {alert.NotificationFilter{From: t0.Add(time.Hour)}, []int{5, 4, 3, 2}},
		"to":       {alert.NotificationFilter{To: t0.Add(time.Hour)}, []int{1, 0}},
		"incident": {alert.NotificationFilter{Incident: &subject}, []int{4, 3}},
		"page":     {alert.NotificationFilter{Limit: 2, Before: alert.NotificationKey{StartedAt: t0.Add(2 * time.Hour), ID: ids[5]}}, []int{4, 3}},
		"nothing":  {alert.NotificationFilter{Receiver: "nobody"}, nil},
	} {
		got, err := s.store.Notifications(s.ctx, s.a.org, c.f)
		s.must(err)
		var want, found []uuid.UUID
		for _, i := range c.want {
			want = append(want, ids[i])
		}
		for _, n := range got {
			found = append(found, n.ID)
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
