package instance

import (
	"context"
	"errors"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/provider"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
)

// maxAlerts bounds how many alerts somebody can post to an organisation that has them.
const maxAlerts = 20_000

// posted is the provider as the API has it: what is posted is saved before it counts, and alerts are shown as they are to be shown.
type posted struct {
	provider.Alerts
	i *Instance
}

// Put saves alerts and takes them in. One with the labels of an alert of Tokiflow's own is left out: it would speak for it.
func (p *posted) Put(ctx context.Context, alerts ...*amalert.Alert) error {
	i := p.i
	i.feeding.Lock()
	defer i.feeding.Unlock()
	merged := map[model.Fingerprint]*amalert.Alert{}
	rows := make([]alert.Routed, 0, len(alerts))
	for _, a := range alerts {
		storable(a)
		fp := a.Fingerprint()
		if known, ok := i.book.get(fp); ok && known.Source != alert.FromAPI {
			i.o.Logger.Debug("an alert was posted with the labels of one of ours", "fingerprint", fp)
			continue
		}
		for _, ours := range []model.LabelName{alert.AnnotationIncident, alert.AnnotationEvidence, alert.AnnotationSlug, alert.AnnotationAckBy, alert.AnnotationAckAt} {
			delete(a.Annotations, ours)
		}
		a.UpdatedAt = i.book.now()
		before, ok := merged[fp]
		if !ok {
			before, _ = p.Get(fp) // nil where there is none
		}
		merged[fp] = join(before, a)
	}
	if len(merged) == 0 {
		return nil
	}
	if err := i.book.room(merged); err != nil {
		return err
	}
	put := make([]*amalert.Alert, 0, len(merged))
	for fp, a := range merged {
		put, rows = append(put, a), append(rows, i.row(fp, a))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveRequest)
	defer cancel()
	if err := i.o.Store.SaveAlerts(ctx, i.o.Org, rows); err != nil {
		i.o.Metrics.saveFailures.WithLabelValues("posted").Inc()
		i.o.Logger.Error("posted alerts could not be saved", "err", err)
		return errors.New("the alerts could not be saved, try again")
	}
	return p.Alerts.Put(ctx, put...)
}

// row gives a posted alert as it is stored. What somebody acknowledged stays so while it fires.
func (i *Instance) row(fp model.Fingerprint, a *amalert.Alert) alert.Routed {
	r := alert.Routed{
		Org: i.o.Org, Fingerprint: fp.String(), Source: alert.FromAPI, Labels: plain(a.Labels), Annotations: plain(a.Annotations),
		GeneratorURL: a.GeneratorURL, StartsAt: a.StartsAt, EndsAt: a.EndsAt, Timeout: a.Timeout, UpdatedAt: a.UpdatedAt,
	}
	if known, ok := i.book.get(fp); ok && !known.put.ResolvedAt(a.UpdatedAt) {
		r.AcknowledgedAt, r.AcknowledgedBy = known.AcknowledgedAt, known.AcknowledgedBy
	}
	return r
}

// join makes one of an alert and what was there before it, as Alertmanager's provider does where the two overlap in time.
func join(before, a *amalert.Alert) *amalert.Alert {
	if before == nil {
		return a
	}
	if (a.EndsAt.After(before.StartsAt) && a.EndsAt.Before(before.EndsAt)) ||
		(a.StartsAt.After(before.StartsAt) && a.StartsAt.Before(before.EndsAt)) {
		return before.Merge(a)
	}
	return a
}

// GetPending returns all alerts as they are to be shown.
func (p *posted) GetPending() provider.AlertIterator {
	now, timeout := time.Now(), resolveTimeout(p.i.graph.Load().config)
	it := p.Alerts.GetPending()
	defer it.Close()
	var all []*provider.Alert
	for a := range it.Next() {
		all = append(all, &provider.Alert{Header: a.Header, Data: shown(a.Data, now, timeout)})
	}
	out := make(chan *provider.Alert, len(all))
	for _, a := range all {
		out <- a
	}
	close(out)
	return provider.NewAlertIterator(out, make(chan struct{}), nil)
}
