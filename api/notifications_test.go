package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
)

func TestNotificationsAreListed(t *testing.T) {
	s := newBundle(t)
	incident := uuid.New()
	save := func(o owner, minute int, n alert.Notification) {
		n.ID, n.StartedAt, n.EndedAt, n.Attempts = uuid.New(), at(minute), at(minute).Add(time.Second), 1
		if err := s.store.SaveNotification(s.ctx, o.org, n); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		save(s.a, i, alert.Notification{Receiver: "ops", Integration: "webhook[0]", Status: alert.Delivered, AlertCount: 1, FiringCount: 1})
	}
	save(s.a, 10, alert.Notification{
		Receiver: "night", Integration: "slack_app[1]", GroupKey: `{}:{project="a"}`, Reason: "first notification", Status: alert.Failed, StatusCode: 503,
		Error: "answered 503 Service Unavailable", Latency: 1500 * time.Millisecond, AlertCount: 1, FiringCount: 1,
		Alerts: []alert.Told{{Fingerprint: "ab", Status: "firing", Labels: map[string]string{"alertname": "MonitorMissed"}, StartsAt: at(9), Incident: &incident}},
	})
	save(s.b, 11, alert.Notification{Receiver: "ops", Integration: "webhook[0]", Status: alert.Delivered})

	const path = "/api/v1/notifications"
	one := s.do(s.a.read, http.MethodGet, path+"?receiver=night", nil).want(http.StatusOK).items()
	if len(one) != 1 {
		t.Fatalf("%d of the receiver", len(one))
	}
	delete(one[0], "id")
	if d := cmp.Diff(map[string]any{
		"receiver": "night", "integration": "slack_app[1]", "group_key": `{}:{project="a"}`, "reason": "first notification", "alert_count": 1.0, "firing_count": 1.0,
		"started_at": "2026-01-01T00:10:00Z", "ended_at": "2026-01-01T00:10:01Z", "attempts": 1.0, "status": "failed", "status_code": 503.0,
		"error": "answered 503 Service Unavailable", "latency_seconds": 1.5,
		"alerts": []any{map[string]any{
			"fingerprint": "ab", "status": "firing", "labels": map[string]any{"alertname": "MonitorMissed"}, "starts_at": "2026-01-01T00:09:00Z",
			"ends_at": nil, "incident_id": incident.String(),
		}},
	}, one[0]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	for query, want := range map[string]int{
		"": 6, "?status=delivered": 5, "?status=failed&status=retrying": 1, "?incident=" + incident.String(): 1, "?incident=" + uuid.NewString(): 0,
		"?from=2026-01-01T00:02:00Z": 4, "?to=2026-01-01T00:02:00Z": 2, "?receiver=nobody": 0,
	} {
		if got := len(s.do(s.a.read, http.MethodGet, path+query, nil).want(http.StatusOK).items()); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	var seen []string
	for next, pages := "", 0; ; pages++ {
		a := s.do(s.a.read, http.MethodGet, fmt.Sprintf("%s?limit=4&cursor=%s", path, next), nil).want(http.StatusOK)
		for _, n := range a.items() {
			seen = append(seen, n["started_at"].(string)[14:16])
		}
		if next = a.text("next_cursor"); next == "" || pages > 5 {
			break
		}
	}
	if d := cmp.Diff([]string{"10", "04", "03", "02", "01", "00"}, seen); d != "" {
		t.Errorf("pages (-want +got)\n%s", d)
	}
	if n := len(s.do(s.b.read, http.MethodGet, path, nil).items()); n != 1 {
		t.Errorf("the other organisation sees %d", n)
	}
	s.do(s.a.write, http.MethodGet, path, nil).want(http.StatusForbidden)
	s.do(s.a.read, http.MethodGet, path+"?status=lost", nil).want(http.StatusUnprocessableEntity)
	s.do(s.a.read, http.MethodGet, path+"?cursor=x", nil).want(http.StatusUnprocessableEntity)
}
