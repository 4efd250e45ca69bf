package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/store"
)

// publisher takes the queued changes of monitors into the log, in order with their pings.
type publisher struct {
	store      *store.Store
	log        *eventlog.Appender
	partitions int
	logger     *slog.Logger
	watch      *watch // of this process's ingest; nil: it takes no pings
}

// sweepInterval is how long a change may wait whose own request did not get it into the log.
const sweepInterval = time.Second

// noticeTimeout is how long a change that is in the log is waited for to take effect in this process.
const noticeTimeout = 500 * time.Millisecond

// Publish takes the changes of one monitor, and waits a moment for this process's ingest to know them.
func (p *publisher) Publish(ctx context.Context, monitor uuid.UUID) error {
	var known <-chan struct{}
	if p.watch != nil {
		known = p.watch.expect(monitor)
	}
	n, err := p.store.DrainControls(ctx, &monitor, p.append)
	if err != nil || n == 0 || p.watch == nil {
		return err
	}
	t := time.NewTimer(noticeTimeout)
	defer t.Stop()
	select {
	case <-known:
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

func (p *publisher) append(ctx context.Context, c record.Control) error {
	_, err := p.log.Append(ctx, record.Partition(c.Monitor, p.partitions), record.AppendControl(nil, &c))
	return err
}

// run takes what requests left behind: of a process that crashed, or while the log was away.
func (p *publisher) run(ctx context.Context) error {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		_, err := p.store.DrainControls(ctx, nil, p.append)
		if err != nil && ctx.Err() == nil && !failing {
			p.logger.Warn("changes of monitors wait for the log", "error", err)
		}
		failing = err != nil
	}
}

// creator makes monitors for ?create=1, ready to take pings.
type creator struct {
	store     *store.Store
	publisher *publisher
}

// Create makes the monitor and sees its first control record into the log, so that it stands before its first ping.
func (c creator) Create(ctx context.Context, p tenant.ProjectKey, slug string) (tenant.PingTarget, bool, error) {
	t, err := c.store.CreateBySlug(ctx, p.Org, p.Project, slug)
	created := true
	if fault.CodeOf(err) == fault.Conflict {
		created, err = false, nil
	}
	if err != nil {
		return t, false, err
	}
	return t, created, c.publisher.Publish(ctx, t.Monitor)
}
