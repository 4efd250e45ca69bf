package mail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func newID() uuid.UUID { return uuid.New() }

// outcome is what came of telling something held. The zero value: it is held.
type outcome struct {
	failed   error
	over     bool // it will not be tried again
	attempts int
	latency  time.Duration
}

// record takes down how something held stands. What cannot be taken down is logged: it is told all the same.
func (m *Mailer) record(ctx context.Context, org tenant.OrgID, h *recipient.Held, o outcome) {
	n := alert.Notification{
		ID: h.ID, Org: org, Receiver: h.Via.Receiver, Integration: h.Index + ":" + h.Address, GroupKey: h.GroupKey, Reason: h.Why,
		AlertCount: len(h.Alerts) + h.More, StartedAt: h.HeldAt, Attempts: o.attempts, Latency: o.latency, Status: alert.Retrying,
	}
	for _, a := range h.Alerts {
		if a.EndsAt.IsZero() {
			n.FiringCount++
		}
		if len(n.Alerts) < alert.MaxTold {
			n.Alerts = append(n.Alerts, toldOf(a))
		}
	}
	switch {
	case o.failed != nil:
		n.Error = o.failed.Error()
		if e, ok := errors.AsType[*mail.Error](o.failed); ok {
			n.StatusCode = e.Code
		}
	case o.over:
		n.Status = alert.Delivered
	case h.Reason == recipient.HeldUnverified && h.DueAt.IsZero():
		n.Error = "address not verified: " + h.Address + " was sent a mail with a link; what was not told is kept for 24 hours"
	default:
		n.Error = fmt.Sprintf("held for %s until %s", h.Address, h.DueAt.UTC().Format(time.RFC3339))
	}
	if o.over {
		n.EndedAt = m.now()
		if o.failed != nil {
			n.Status = alert.Failed
		}
	}
	if err := m.o.Log.SaveNotification(context.WithoutCancel(ctx), org, n); err != nil {
		m.log.WarnContext(ctx, "mail: a notification cannot be taken down", "org", org.String(), "receiver", n.Receiver, "error", err)
	}
}

func toldOf(a recipient.Alert) alert.Told {
	t := alert.Told{Fingerprint: a.Fingerprint, Status: "firing", Labels: a.Labels, StartsAt: a.StartsAt}
	if !a.EndsAt.IsZero() {
		t.Status, t.EndsAt = "resolved", &a.EndsAt
	}
	if id, err := uuid.Parse(a.Annotations[alert.AnnotationIncident]); err == nil {
		t.Incident = &id
	}
	return t
}
