package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// repeatAcknowledged is after how long something that fires and was acknowledged is told again: somebody knows.
const repeatAcknowledged = 30 * 24 * time.Hour

// mutes drops what one of the muters mutes, and marks it as inhibited.
type mutes []Muter

// Exec implements notify.Stage.
func (s mutes) Exec(ctx context.Context, _ *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	if len(s) == 0 {
		return ctx, alerts, nil
	}
	left := make([]*amalert.Alert, 0, len(alerts))
	for _, a := range alerts {
		if !s.mark(ctx, a) {
			left = append(left, a)
		}
	}
	return ctx, left, nil
}

// mark reports whether the alert is muted. If so, what mutes it is added to what the context's marker shows as inhibiting it.
func (s mutes) mark(ctx context.Context, a *amalert.Alert) bool {
	for _, m := range s {
		by, muted := m.Mutes(a)
		if !muted {
			continue
		}
		if shown, ok := marker.FromContext(ctx); ok {
			fp := a.Fingerprint()
			shown.SetInhibited(fp, append(shown.Status(fp).InhibitedBy, by))
		}
		return true
	}
	return false
}

// acknowledged lets a flush of which somebody has acknowledged everything that fires be repeated rarely.
type acknowledged struct{}

// Exec implements notify.Stage.
func (acknowledged) Exec(ctx context.Context, _ *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	members, firing := membersOf(ctx), 0
	for _, a := range alerts {
		if a.Resolved() {
			continue
		}
		if firing++; !members[a.Fingerprint()].acked {
			return ctx, alerts, nil
		}
	}
	if every, ok := notify.RepeatInterval(ctx); ok && firing > 0 {
		ctx = notify.WithRepeatInterval(ctx, max(every, repeatAcknowledged))
	}
	return ctx, alerts, nil
}

// firingFirst is one integration's part of the pipeline. What was resolved before the integration was told that it fires, it is told as
// firing first, and then as it is: Alertmanager would say nothing of it. That goes for what Tokiflow itself found out; what somebody
// posted is treated as Alertmanager does.
type firingFirst struct {
	next notify.Stage // asks the log, delivers, writes the log
	log  *logbook
	recv *nflogpb.Receiver
	late prometheus.Counter
}

// Exec implements notify.Stage.
func (s *firingFirst) Exec(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	unheard, err := s.unheard(ctx, alerts)
	if err != nil {
		return ctx, nil, err
	}
	if len(unheard) > 0 {
		first := make([]*amalert.Alert, len(alerts))
		for i, a := range alerts {
			first[i] = a
			if _, ok := unheard[a.Fingerprint()]; ok {
				copied := *a
				copied.EndsAt = time.Time{}
				first[i] = &copied
			}
		}
		if _, _, err := s.next.Exec(ctx, l, first...); err != nil {
			return ctx, nil, err
		}
		s.late.Add(float64(len(unheard)))
	}
	return s.next.Exec(ctx, l, alerts...)
}

// unheard returns the resolved alerts of which the integration was told neither that they fire nor that they are resolved.
func (s *firingFirst) unheard(ctx context.Context, alerts []*amalert.Alert) (map[model.Fingerprint]struct{}, error) {
	members := membersOf(ctx)
	out := map[model.Fingerprint]struct{}{}
	for _, a := range alerts {
		if m := members[a.Fingerprint()]; a.Resolved() && m.known && m.start != 0 {
			out[a.Fingerprint()] = struct{}{}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	group, ok := notify.GroupKey(ctx)
	if !ok {
		return nil, errors.New("group key missing")
	}
	entries, err := s.log.Query(nflog.QGroupKey(group), nflog.QReceiver(s.recv))
	if err != nil && !errors.Is(err, nflog.ErrNotFound) {
		return nil, fmt.Errorf("asking the notification log: %w", err)
	}
	heard := map[uint64]struct{}{}
	for _, e := range entries {
		for _, hash := range e.FiringAlerts {
			heard[hash] = struct{}{}
		}
		for _, hash := range e.ResolvedAlerts {
			heard[hash] = struct{}{}
		}
	}
	for fp := range out {
		if _, ok := heard[members[fp].hash]; ok {
			delete(out, fp)
		}
	}
	return out, nil
}
