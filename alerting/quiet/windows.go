package quiet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// WindowStore keeps maintenance windows and their occurrences, of all organisations. Safe for use from many processes.
type WindowStore interface {
	// PlanMaintenance plans what begins within a day, of up to limit windows, and returns of how many.
	PlanMaintenance(ctx context.Context, now time.Time, limit int) (int, error)
	// UntoldOccurrences returns those that changed since silences of them were stored, those of one organisation together.
	UntoldOccurrences(ctx context.Context, limit int) ([]quiet.Untold, error)
	// MarkOccurrence says for which kinds of things they have been stored.
	MarkOccurrence(ctx context.Context, org tenant.OrgID, u quiet.Untold, silenced []string) error
	// InMaintenanceTurn runs f unless another process is at it.
	InMaintenanceTurn(ctx context.Context, f func(ctx context.Context) error) (done bool, err error)
	// ListenMaintenance calls wake with every window that is written.
	ListenMaintenance(ctx context.Context, wake func()) error
}

// SilenceStore takes silences: every instance of the organisation gets to know them.
type SilenceStore interface {
	SaveSilences(ctx context.Context, org tenant.OrgID, silences []alert.StoredSilence) error
}

const (
	windowsEvery = 30 * time.Second
	listenAgain  = 2 * time.Second
	planBatch    = 100
	untoldBatch  = 500
)

// WindowOptions are what Windows needs. A nil clock is time.Now, a nil logger none.
type WindowOptions struct {
	Windows  WindowStore
	Silences SilenceStore
	Now      func() time.Time
	Logger   *slog.Logger
}

// Windows keeps a silence for every occurrence of a maintenance window that begins within the next day.
type Windows struct {
	o    WindowOptions
	wake chan struct{}
}

// NewWindows makes one that does nothing until it runs.
func NewWindows(o WindowOptions) *Windows {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Windows{o: o, wake: make(chan struct{}, 1)}
}

// Run works until ctx ends: at once when a window is written, and every 30 s. Any number of processes may run one.
func (w *Windows) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		w.listen(ctx)
	}()
	defer func() { cancel(); <-listened }()

	tick := time.NewTicker(windowsEvery)
	defer tick.Stop()
	for {
		if _, err := w.o.Windows.InMaintenanceTurn(ctx, w.Once); err != nil && ctx.Err() == nil {
			w.o.Logger.ErrorContext(ctx, "maintenance windows could not be turned into silences; trying again", "error", err, "in", windowsEvery)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-w.wake:
		}
	}
}

func (w *Windows) listen(ctx context.Context) {
	for {
		err := w.o.Windows.ListenMaintenance(ctx, func() { loop.Poke(w.wake) })
		if ctx.Err() != nil {
			return
		}
		w.o.Logger.WarnContext(ctx, "cannot hear of written maintenance windows; looking for them now and then", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
	}
}

// Once plans what is to be planned and stores the silences of what changed.
func (w *Windows) Once(ctx context.Context) error {
	for {
		n, err := w.o.Windows.PlanMaintenance(ctx, w.o.Now(), planBatch)
		if err != nil {
			return err
		}
		if n < planBatch {
			break
		}
	}
	for {
		untold, err := w.o.Windows.UntoldOccurrences(ctx, untoldBatch)
		if err != nil {
			return err
		}
		var failed []error
		all := len(untold) < untoldBatch
		for len(untold) > 0 {
			n := 1
			for n < len(untold) && untold[n].Org == untold[0].Org {
				n++
			}
			if err := w.silence(ctx, untold[0].Org, untold[:n]); err != nil {
				failed = append(failed, err) // one organisation's trouble is not another's
			}
			untold = untold[n:]
		}
		if all || len(failed) > 0 {
			return errors.Join(failed...)
		}
	}
}

// silence stores the silences of occurrences of one organisation.
func (w *Windows) silence(ctx context.Context, org tenant.OrgID, list []quiet.Untold) error {
	now := w.o.Now()
	var all []alert.StoredSilence
	silenced := make([][]string, len(list))
	for i := range list {
		u := &list[i]
		if len(u.Silenced) == 0 && (u.Cancelled || !u.EndsAt.After(now)) {
			continue // it never was, or is over: there is nothing to be silenced
		}
		s, kinds, err := silencesOf(u, now)
		if err != nil {
			return fmt.Errorf("silences of maintenance window %s: %w", u.Window, err)
		}
		all, silenced[i] = append(all, s...), kinds
	}
	if len(all) > 0 {
		if err := w.o.Silences.SaveSilences(ctx, org, all); err != nil {
			return err
		}
	}
	for i, u := range list {
		if err := w.o.Windows.MarkOccurrence(ctx, org, u, silenced[i]); err != nil {
			return err
		}
		if len(silenced[i]) > 0 {
			w.o.Logger.InfoContext(ctx, "maintenance window silenced", "org_id", org, "window_id", u.Window, "name", u.Name,
				"starts_at", u.StartsAt, "ends_at", u.EndsAt, "cancelled", u.Cancelled)
		}
	}
	return nil
}
