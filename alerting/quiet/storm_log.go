package quiet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
)

// entries are what the receiver's integrations were told last of a group.
func (s *Storms) entries(receiver, group string) ([]*nflogpb.Entry, error) {
	var out []*nflogpb.Entry
	for _, i := range s.p.Integrations[receiver] {
		r := &nflogpb.Receiver{GroupName: receiver, Integration: i.Name(), Idx: uint32(i.Index())}
		list, err := s.p.Log.Query(nflog.QGroupKey(group), nflog.QReceiver(r))
		if err != nil && !errors.Is(err, nflog.ErrNotFound) {
			return nil, fmt.Errorf("asking the notification log: %w", err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// toldAlone reports whether somebody was told on its own of something of the group that fires.
func (s *Storms) toldAlone(f flush) (bool, error) {
	entries, err := s.entries(f.receiver, f.group)
	return slices.ContainsFunc(entries, func(e *nflogpb.Entry) bool { return len(e.FiringAlerts) > 0 }), err
}

// look reports whether a storm's message told of one of the alerts as it is. The first time it also finds a storm that another process
// had to leave. The lock is held.
func (s *Storms) look(ctx context.Context, r *receiver, f flush) (bool, error) {
	entries, err := s.entries(f.receiver, f.key)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	if _, again := r.looked[f.key]; !again {
		r.looked[f.key] = struct{}{}
		for _, e := range entries {
			if len(e.FiringAlerts) > 0 {
				r.storm.Resume(e.Timestamp.AsTime(), time.Now())
			}
		}
		s.note(r)
	}
	hashes := hashesOf(ctx, f.alerts)
	for _, e := range entries {
		at := e.Timestamp.AsTime()
		for i, a := range f.alerts {
			// What began after the message is another occurrence of an alert with the same labels.
			if a.StartsAt.After(at) {
				continue
			}
			if slices.Contains(e.FiringAlerts, hashes[i]) || a.Resolved() && slices.Contains(e.ResolvedAlerts, hashes[i]) {
				return true, nil
			}
		}
	}
	return false, nil
}

// hashesOf are what the log calls the alerts. Only Alertmanager's own stage can tell, and it tells those of alerts that fire.
func hashesOf(ctx context.Context, alerts []*amalert.Alert) []uint64 {
	firing := make([]*amalert.Alert, len(alerts))
	for i, a := range alerts {
		c := *a
		c.EndsAt = time.Time{}
		firing[i] = &c
	}
	stage := notify.NewDedupStage(sendsResolved{}, emptyLog{}, &nflogpb.Receiver{})
	ctx = notify.WithRepeatInterval(notify.WithGroupKey(ctx, stormPrefix), time.Hour)
	ctx, _, err := stage.Exec(ctx, nil, firing...)
	hashes, ok := notify.FiringAlerts(ctx)
	if err != nil || !ok || len(hashes) != len(alerts) {
		return make([]uint64, len(alerts)) // it does not come to this; then they are told as new
	}
	return hashes
}

type sendsResolved struct{}

// SendResolved implements notify.ResolvedSender.
func (sendsResolved) SendResolved() bool { return true }

// emptyLog is a notification log of nothing.
type emptyLog struct{}

// Query implements notify.NotificationLog.
func (emptyLog) Query(...nflog.QueryParam) ([]*nflogpb.Entry, error) { return nil, nflog.ErrNotFound }

// Log implements notify.NotificationLog.
func (emptyLog) Log(*nflogpb.Receiver, string, []uint64, []uint64, *nflog.Store, time.Duration) error {
	return nil
}
