package app

import (
	"context"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/infra/pg"
)

// figures are the installation's, the same in every process that has them: take the maximum over processes, not the sum.
type figures struct {
	unread        *prometheus.GaugeVec
	organisations prometheus.Gauge
	outbox        prometheus.Gauge
	changes       prometheus.Gauge
}

func newFigures(r prometheus.Registerer) *figures {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help + " The same in every process."})
	}
	f := &figures{
		unread: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tokiflow_log_unread_records",
			Help: "Records of a partition that a consumer has not dealt with. The same in every process.",
		}, []string{"consumer", "partition"}),
		organisations: gauge("tokiflow_organisations", "Organisations there are: how it grows is how many sign up."),
		outbox:        gauge("tokiflow_outbox_messages", "Messages about incidents that no process has taken up for its receivers yet."),
		changes:       gauge("tokiflow_control_queue_changes", "Changes of monitors that are not in the log yet."),
	}
	r.MustRegister(f.unread, f.organisations, f.outbox, f.changes)
	return f
}

func (a *App) takeFigures(ctx context.Context, f *figures) error {
	n, err := a.store.Figures(ctx)
	if err == nil {
		f.organisations.Set(float64(n.Organisations))
		f.outbox.Set(float64(n.OutboxWaiting))
		f.changes.Set(float64(n.ChangesWaiting))
	}
	errs := []error{err}
	for _, l := range a.logs() {
		errs = append(errs, f.measure(ctx, a.pool, l))
	}
	return errors.Join(errs...)
}

// measure shows how far each consumer of a log is behind its end.
func (f *figures) measure(ctx context.Context, pool *pg.Pool, l tended) error {
	// The offsets first: a record that comes in between counts as unread, which it is.
	offsets, err := pg.CommittedAll(ctx, pool, l.log.ID(), l.log.Partitions())
	if err != nil {
		return err
	}
	ends := make([]int64, l.log.Partitions())
	for n := range ends {
		if ends[n], err = l.log.End(ctx, n); err != nil {
			return err
		}
	}
	for _, o := range offsets {
		f.unread.WithLabelValues(o.Consumer, strconv.Itoa(o.Partition)).Set(float64(max(0, ends[o.Partition]-o.Next)))
	}
	return nil
}
