package receivers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
)

// TestAlert is the alertname of what Test sends.
const TestAlert = alert.TestName

// Test sends one firing alert to every integration of the receiver, each once and all at the same time, and returns what came of it, in
// the order of the configuration. It is not resolved afterwards. A receiver that does not exist is a fault of code not_found, one
// that cannot be built of code invalid. It takes AttemptTimeout at most, and is written down as notifications are.
func (r *Receivers) Test(ctx context.Context, c *config.Config, receiver string) ([]alert.Notification, error) {
	t, err := c.NewTemplate(r.o.ExternalURL)
	if err != nil {
		return nil, fmt.Errorf("the templates: %w", err)
	}
	for _, rc := range c.Alertmanager.Receivers {
		if rc.Name != receiver {
			continue
		}
		list, err := r.receiver(c, rc, t)
		if err != nil {
			return nil, &fault.Error{Code: fault.Invalid, Message: "the receiver cannot be used: " + newScrubber(nil).clean(err.Error()), Err: err}
		}
		return r.try(ctx, receiver, list), nil
	}
	return nil, fault.New(fault.NotFound, "there is no such receiver")
}

func (r *Receivers) try(ctx context.Context, receiver string, list []built) []alert.Notification {
	now := time.Now()
	a := testAlert(now)
	ctx, cancel := context.WithTimeout(ctx, r.o.AttemptTimeout+time.Second)
	defer cancel()
	ctx = notify.WithReceiverName(ctx, receiver)
	ctx = notify.WithGroupKey(ctx, "{}/test:{alertname=\""+TestAlert+"\"}")
	ctx = notify.WithGroupLabels(ctx, model.LabelSet{model.AlertNameLabel: TestAlert})
	ctx = notify.WithNotificationReason(ctx, notify.ReasonFirstNotification)
	ctx = notify.WithNow(ctx, now)
	ctx = notify.WithRepeatInterval(ctx, 4*time.Hour)
	ctx = notify.WithAggrGroupID(ctx, uuid.NewString())
	ctx = notify.WithFiringAlerts(ctx, []uint64{uint64(a.Fingerprint())})
	ctx = notify.WithResolvedAlerts(ctx, nil)
	out := make([]alert.Notification, len(list))
	var wait sync.WaitGroup
	for i, one := range list {
		wait.Go(func() {
			out[i], _, _ = one.attempts.attempt(notify.WithNflogStore(ctx, nflog.NewStore(nil)), []*amalert.Alert{a}, true) // it is all in the first
		})
	}
	wait.Wait()
	return out
}

func testAlert(now time.Time) *amalert.Alert {
	return &amalert.Alert{
		Alert: model.Alert{
			Labels: model.LabelSet{
				model.AlertNameLabel: TestAlert, alert.LabelMonitor: "test", alert.LabelProject: "test", alert.LabelSeverity: "warning",
			},
			Annotations: model.LabelSet{
				alert.AnnotationSummary:     "This is a test: no monitor is down",
				alert.AnnotationDescription: "Somebody asked Tokiflow to try this receiver. Nothing is to be done.",
			},
			StartsAt: now, EndsAt: now.Add(5 * time.Minute),
		},
		UpdatedAt: now,
	}
}
