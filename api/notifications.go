package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Notifications reads what was told to an organisation's receivers, the newest first.
type Notifications interface {
	Notifications(ctx context.Context, org tenant.OrgID, f alert.NotificationFilter) ([]alert.Notification, error)
}

// notificationView is a notification in an answer.
type notificationView struct {
	ID             uuid.UUID                `json:"id" format:"uuid" doc:"A signed webhook has it in its message id."`
	Receiver       string                   `json:"receiver"`
	Integration    string                   `json:"integration" doc:"The entry of the receiver: webhook[0] is the first of its webhook_configs."`
	GroupKey       string                   `json:"group_key"`
	Reason         string                   `json:"reason" doc:"Why the group was told: first notification, new alerts added, …"`
	Alerts         []toldView               `json:"alerts" nullable:"false" doc:"The first hundred."`
	AlertCount     int                      `json:"alert_count"`
	FiringCount    int                      `json:"firing_count"`
	StartedAt      time.Time                `json:"started_at" doc:"When it was first tried."`
	EndedAt        *time.Time               `json:"ended_at" doc:"null: it is being tried."`
	Attempts       int                      `json:"attempts"`
	Status         alert.NotificationStatus `json:"status" enum:"delivered,retrying,failed" doc:"failed: given up until the group's next flush, which is another notification."`
	StatusCode     int                      `json:"status_code" doc:"HTTP or SMTP status of the last answer; 0: none is known."`
	Error          string                   `json:"error" doc:"Of the last attempt, without secrets; empty: it went well."`
	LatencySeconds float64                  `json:"latency_seconds" doc:"Of the last attempt."`
}

// toldView is an alert as it was told.
type toldView struct {
	Fingerprint string            `json:"fingerprint"`
	Status      string            `json:"status" enum:"firing,resolved"`
	Labels      map[string]string `json:"labels" nullable:"false"`
	StartsAt    time.Time         `json:"starts_at"`
	EndsAt      *time.Time        `json:"ends_at"`
	IncidentID  *uuid.UUID        `json:"incident_id" format:"uuid" nullable:"true"`
}

func viewNotification(n alert.Notification) notificationView {
	v := notificationView{
		ID: n.ID, Receiver: n.Receiver, Integration: n.Integration, GroupKey: n.GroupKey, Reason: n.Reason,
		Alerts: make([]toldView, len(n.Alerts)), AlertCount: n.AlertCount, FiringCount: n.FiringCount,
		StartedAt: n.StartedAt.UTC(), EndedAt: orNull(n.EndedAt.UTC()), Attempts: n.Attempts, Status: n.Status, StatusCode: n.StatusCode,
		Error: n.Error, LatencySeconds: n.Latency.Seconds(),
	}
	for i, a := range n.Alerts {
		v.Alerts[i] = toldView{
			Fingerprint: a.Fingerprint, Status: a.Status, Labels: a.Labels, StartsAt: a.StartsAt.UTC(), EndsAt: a.EndsAt, IncidentID: a.Incident,
		}
		if a.Labels == nil {
			v.Alerts[i].Labels = map[string]string{}
		}
	}
	return v
}

func (a *API) notificationOperations(h huma.API) {
	operation(a, h, huma.Operation{
		OperationID: "list-notifications", Method: http.MethodGet, Path: "/api/v1/notifications", Tags: []string{"Alerting"},
		Summary: "List notifications",
		Description: "What was told to the receivers of the organisation's alerting configuration, the youngest first; from and to limit started_at. " +
			"One flush of a group to one integration is one notification, with all its attempts.",
	}, tenant.ScopeRead, a.listNotifications)
}

type listNotificationsInput struct {
	Paging
	Span
	Receiver string     `query:"receiver" maxLength:"1000" doc:"The receiver's name."`
	Status   []string   `query:"status,explode" nullable:"false" enum:"delivered,retrying,failed" doc:"Any of them; may be repeated."`
	Incident optionalID `query:"incident" format:"uuid" doc:"The id of an incident that it told of."`
}

func (a *API) listNotifications(ctx context.Context, who tenant.Identity, in *listNotificationsInput) (*list[notificationView], error) {
	c, err := decodeCursor("notifications", in.Cursor)
	if err != nil {
		return nil, err
	}
	w, err := in.window(allTime())
	if err != nil {
		return nil, err
	}
	f := alert.NotificationFilter{
		Receiver: in.Receiver, Incident: in.Incident.id, From: w.From, To: w.To,
		Before: alert.NotificationKey{StartedAt: c.At, ID: c.ID}, Limit: in.Limit + 1,
	}
	for _, s := range in.Status {
		f.Statuses = append(f.Statuses, alert.NotificationStatus(s))
	}
	rows, err := a.store.Notifications(ctx, who.Org, f)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewNotification, func(n alert.Notification) cursor {
		return cursor{Of: "notifications", At: n.StartedAt, ID: n.ID}
	})
}
