package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// SaveNotification writes a notification down, or what came of a further attempt at it. One of an earlier attempt changes nothing. A
// fault of code invalid says that it can never be.
func (s *Store) SaveNotification(ctx context.Context, org tenant.OrgID, n alert.Notification) error {
	told := n.Alerts[:min(len(n.Alerts), alert.MaxTold)]
	if told == nil {
		told = []alert.Told{}
	}
	alerts, err := json.Marshal(told)
	if err != nil {
		return &fault.Error{Code: fault.Invalid, Message: "the alerts of a notification cannot be written", Err: err}
	}
	p := db.SaveNotificationParams{
		ID: n.ID, OrgID: org, Receiver: n.Receiver, Integration: n.Integration, GroupKey: n.GroupKey, Reason: n.Reason,
		Alerts: alerts, AlertCount: count32(n.AlertCount), FiringCount: count32(n.FiringCount), StartedAt: n.StartedAt,
		Attempts: count32(n.Attempts), Status: string(n.Status), Error: n.Error, LatencySeconds: n.Latency.Seconds(),
	}
	if n.StatusCode != 0 {
		code := count32(n.StatusCode)
		p.StatusCode = &code
	}
	if !n.EndedAt.IsZero() {
		p.EndedAt = &n.EndedAt
	}
	return wrapRefused("save notification", s.q.SaveNotification(ctx, p))
}

// Notifications lists what was told, the newest first.
func (s *Store) Notifications(ctx context.Context, org tenant.OrgID, f alert.NotificationFilter) ([]alert.Notification, error) {
	p := db.NotificationsParams{
		OrgID: org, Receiver: f.Receiver, Statuses: texts(f.Statuses), IncidentID: f.Incident, FromAt: f.From, ToAt: f.To,
		BeforeAt: f.Before.StartedAt, BeforeID: f.Before.ID, MaxRows: rowLimit(f.Limit),
	}
	if f.To.IsZero() {
		p.ToAt = endOfTime()
	}
	if f.Before == (alert.NotificationKey{}) {
		p.BeforeAt = endOfTime()
	}
	rows, err := s.q.Notifications(ctx, p)
	if err != nil {
		return nil, wrap("notifications", err)
	}
	out := make([]alert.Notification, len(rows))
	for i, r := range rows {
		if out[i], err = toNotification(r); err != nil {
			return nil, wrap("notifications", err)
		}
	}
	return out, nil
}

func toNotification(r db.SentNotification) (alert.Notification, error) {
	n := alert.Notification{
		ID: r.ID, Org: r.OrgID, Receiver: r.Receiver, Integration: r.Integration, GroupKey: r.GroupKey, Reason: r.Reason,
		AlertCount: int(r.AlertCount), FiringCount: int(r.FiringCount), StartedAt: r.StartedAt.UTC(), Attempts: int(r.Attempts),
		Status: alert.NotificationStatus(r.Status), Error: r.Error,
		Latency: time.Duration(r.LatencySeconds * float64(time.Second)).Round(time.Microsecond),
	}
	if r.StatusCode != nil {
		n.StatusCode = int(*r.StatusCode)
	}
	if r.EndedAt != nil {
		n.EndedAt = r.EndedAt.UTC()
	}
	if err := json.Unmarshal(r.Alerts, &n.Alerts); err != nil {
		return alert.Notification{}, fmt.Errorf("alerts of notification %s: %w", r.ID, err)
	}
	return n, nil
}

// count32 is n where it fits, which it always should.
func count32(n int) int32 { return int32(max(0, min(n, 1<<30))) }
