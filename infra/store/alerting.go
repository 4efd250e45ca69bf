package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// alertingChannel carries the id of an organisation whose alerting has changed.
const alertingChannel = "tokiflow_alerting"

const (
	resolvedLife     = 24 * time.Hour      // of an alert that was resolved, told or not
	notificationLife = 90 * 24 * time.Hour // of what was told
)

// changeAlerting raises the organisation's version and calls f within the same transaction, with the versions after; whoever follows
// the organisation is then told.
func (s *Store) changeAlerting(ctx context.Context, what string, org tenant.OrgID, f func(q *db.Queries, now db.RaiseAlertingRow) error) error {
	return s.inTx(ctx, what, func(q *db.Queries) error {
		now, err := q.RaiseAlerting(ctx, org)
		if err != nil {
			return err
		}
		if err := f(q, now); err != nil {
			return err
		}
		return q.NotifyAlerting(ctx, org.String())
	})
}

// execAll ends a batch and returns the first error in it.
func execAll(exec func(func(int, error))) error {
	var first error
	exec(func(_ int, err error) {
		if first == nil {
			first = err
		}
	})
	return first
}

// snapshot calls f with queries that all see the same instant.
func (s *Store) snapshot(ctx context.Context, what string, f func(q *db.Queries) error) error {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return wrap(what, pgx.BeginTxFunc(ctx, s.pool, o, func(tx pgx.Tx) error { return f(s.q.WithTx(tx)) }))
}

// AlertingState reads all that an organisation's Alertmanager begins with, as of one version. What has expired at now is left out.
func (s *Store) AlertingState(ctx context.Context, org tenant.OrgID, now time.Time) (alert.State, error) {
	var out alert.State
	err := s.snapshot(ctx, "alerting state", func(q *db.Queries) error {
		var err error
		if out, err = readChanges(ctx, q, org, -1, now); err != nil {
			return err
		}
		rows, err := q.NotificationLog(ctx, db.NotificationLogParams{OrgID: org, Now: now})
		out.Log = make([]alert.LogEntry, len(rows))
		for i, r := range rows {
			out.Log[i] = alert.LogEntry{GroupKey: r.GroupKey, Receiver: r.Receiver, LoggedAt: r.LoggedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), Body: r.Body}
		}
		return err
	})
	return out, err
}

// AlertingChanges reads the alerts and silences that changed after the version since, as of one version. Log is empty.
func (s *Store) AlertingChanges(ctx context.Context, org tenant.OrgID, since int64) (alert.State, error) {
	var out alert.State
	err := s.snapshot(ctx, "alerting changes", func(q *db.Queries) error {
		var err error
		out, err = readChanges(ctx, q, org, since, time.Unix(0, 0))
		return err
	})
	return out, err
}

func readChanges(ctx context.Context, q *db.Queries, org tenant.OrgID, since int64, now time.Time) (alert.State, error) {
	v, err := q.AlertingVersion(ctx, org)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // nothing was ever changed
		return alert.State{}, err
	}
	out := alert.State{Version: v.Version, ConfigVersion: v.ConfigVersion}
	alerts, err := q.ChangedAlerts(ctx, db.ChangedAlertsParams{OrgID: org, Since: since})
	if err != nil {
		return alert.State{}, err
	}
	out.Alerts = make([]alert.Routed, len(alerts))
	for i, r := range alerts {
		if out.Alerts[i], err = toRouted(r); err != nil {
			return alert.State{}, err
		}
	}
	silences, err := q.ChangedSilences(ctx, db.ChangedSilencesParams{OrgID: org, Since: since, Now: now})
	if err != nil {
		return alert.State{}, err
	}
	out.Silences = make([]alert.StoredSilence, len(silences))
	for i, r := range silences {
		out.Silences[i] = alert.StoredSilence{ID: r.ID, Version: r.Version, EndsAt: r.EndsAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), Body: r.Body}
	}
	return out, nil
}

// BusyAlerting lists the organisations that have alerts.
func (s *Store) BusyAlerting(ctx context.Context) ([]alert.Busy, error) {
	rows, err := s.q.BusyAlerting(ctx)
	if err != nil {
		return nil, wrap("busy alerting", err)
	}
	out := make([]alert.Busy, len(rows))
	for i, r := range rows {
		out[i] = alert.Busy{Org: r.OrgID, Version: r.Version}
	}
	return out, nil
}

// AlertingVersions tells the versions of these organisations. One whose alerting never changed is left out.
func (s *Store) AlertingVersions(ctx context.Context, orgs []tenant.OrgID) (map[tenant.OrgID]int64, error) {
	ids := make([]uuid.UUID, len(orgs))
	for i, org := range orgs {
		ids[i] = org.UUID
	}
	rows, err := s.q.AlertingVersions(ctx, ids)
	if err != nil {
		return nil, wrap("alerting versions", err)
	}
	out := make(map[tenant.OrgID]int64, len(rows))
	for _, r := range rows {
		out[r.OrgID] = r.Version
	}
	return out, nil
}

// AlertingConfig reads the configuration that was put, sealed as it was given, with its hash, the version at which it was put and
// when. Where nobody put one all of them are zero: the default counts.
func (s *Store) AlertingConfig(ctx context.Context, org tenant.OrgID) (sealed []byte, hash string, version int64, at time.Time, err error) {
	r, err := s.q.AlertingConfig(ctx, org)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", 0, time.Time{}, nil
	}
	if r.ConfigAt != nil {
		at = r.ConfigAt.UTC()
	}
	return r.Config, r.ConfigHash, r.ConfigVersion, at, wrap("alerting configuration", err)
}

// PutAlertingConfig stores a configuration and returns its version; sealed is nil to return to the default. by is the API key. Where
// ifVersion is not negative, another version in the database is a conflict.
func (s *Store) PutAlertingConfig(ctx context.Context, org tenant.OrgID, sealed []byte, hash string, by uuid.UUID, ifVersion int64) (version int64, err error) {
	err = s.changeAlerting(ctx, "put alerting configuration", org, func(q *db.Queries, now db.RaiseAlertingRow) error {
		if ifVersion >= 0 && now.ConfigVersion != ifVersion {
			return fault.New(fault.Conflict, fmt.Sprintf("the alerting configuration is at version %d, not %d: read it again", now.ConfigVersion, ifVersion))
		}
		version = now.Version
		return q.PutAlertingConfig(ctx, db.PutAlertingConfigParams{OrgID: org, Config: sealed, ConfigHash: hash, ConfigBy: &by})
	})
	return version, err
}

// ListenAlerting calls wake with each organisation whose alerting has changed, and with the zero value when it begins: any may have
// changed before. It holds one connection of its own. It returns ctx's error when ctx ends and another when the connection is lost;
// wake is called from this goroutine only and must not block.
func (s *Store) ListenAlerting(ctx context.Context, wake func(org tenant.OrgID)) error {
	return s.listen(ctx, "listen for alerting", alertingChannel, func(payload string) {
		id, err := uuid.Parse(payload)
		if err != nil {
			id = uuid.Nil // whoever it was of
		}
		wake(tenant.OrgID{UUID: id})
	})
}

// PruneAlerting removes up to limit rows each of what has expired at now: silences, entries of the notification log, alerts resolved
// a day ago, notifications older than 90 days. It returns how many it removed at most of one sort, so that limit means: there is more.
func (s *Store) PruneAlerting(ctx context.Context, now time.Time, limit int) (int, error) {
	most := int64(0)
	var errs []error
	note := func(what string, n int64, err error) {
		most = max(most, n)
		errs = append(errs, wrap("prune "+what, err))
	}
	n, err := s.q.PruneSilences(ctx, db.PruneSilencesParams{Now: now, MaxRows: rowLimit(limit)})
	note("silences", n, err)
	n, err = s.q.PruneNotificationLog(ctx, db.PruneNotificationLogParams{Now: now, MaxRows: rowLimit(limit)})
	note("the notification log", n, err)
	n, err = s.q.PruneAlerts(ctx, db.PruneAlertsParams{Before: now.Add(-resolvedLife), MaxRows: rowLimit(limit)})
	note("alerts", n, err)
	n, err = s.q.PruneNotifications(ctx, db.PruneNotificationsParams{Before: now.Add(-notificationLife), MaxRows: rowLimit(limit)})
	note("notifications", n, err)
	return int(most), errors.Join(errs...)
}
