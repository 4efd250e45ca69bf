package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// maintenanceChannel is notified when a window was written.
const maintenanceChannel = "tokiflow_maintenance"

// planAhead is how long before it begins an occurrence is planned.
const planAhead = 24 * time.Hour

// CreateMaintenanceWindow stores a valid window of the organisation and plans what of it begins within a day of now. It gives the
// window its id and its times. A monitor or project of the scope that is not the organisation's is a *quiet.FieldError, and so is a window too
// many.
func (s *Store) CreateMaintenanceWindow(ctx context.Context, org tenant.OrgID, w quiet.Window, now time.Time) (quiet.Window, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return w, wrap("create maintenance window", err)
	}
	w.ID, w.Org = id, org
	scope, when, err := marshalWindow(w)
	if err != nil {
		return w, wrap("create maintenance window", err)
	}
	err = s.inTx(ctx, "create maintenance window", func(q *db.Queries) error {
		if err := q.LockMaintenance(ctx, org.String()); err != nil {
			return err
		}
		n, err := q.CountMaintenanceWindows(ctx, org)
		if err != nil {
			return err
		}
		if n >= quiet.MostWindows {
			return fault.New(fault.Invalid, fmt.Sprintf("an organisation may have %d maintenance windows: delete some that are over", quiet.MostWindows))
		}
		if err := scopeKnown(ctx, q, org, w.Scope); err != nil {
			return err
		}
		row, err := q.InsertMaintenanceWindow(ctx, db.InsertMaintenanceWindowParams{
			ID: w.ID, OrgID: org, Name: w.Name, Comment: w.Comment, Scope: scope, Time: when, CreatedBy: orNone(w.CreatedBy), NextAt: orNull(w.First(now)),
		})
		if err != nil {
			return err
		}
		w.CreatedAt, w.UpdatedAt = row.CreatedAt, row.UpdatedAt
		if err := planWindow(ctx, q, w, w.First(now), now.Add(planAhead)); err != nil {
			return err
		}
		return q.NotifyMaintenance(ctx)
	})
	return w, err
}

// ReplaceMaintenanceWindow puts a valid window in the place of the one of its id. What is on of the one before ends unless the new one has
// the same occurrence, what it planned does not come, and what is over stays as it was; but where the window comes once, it is as
// if it had never been otherwise. Errors are those of CreateMaintenanceWindow.
func (s *Store) ReplaceMaintenanceWindow(ctx context.Context, org tenant.OrgID, w quiet.Window, now time.Time) (quiet.Window, error) {
	w.Org = org
	scope, when, err := marshalWindow(w)
	if err != nil {
		return w, wrap("replace maintenance window", err)
	}
	err = s.inTx(ctx, "replace maintenance window", func(q *db.Queries) error {
		before, err := q.LockMaintenanceWindow(ctx, db.LockMaintenanceWindowParams{OrgID: org, ID: w.ID})
		if err != nil {
			return err
		}
		var was quiet.Time
		if err := json.Unmarshal(before, &was); err != nil {
			return err
		}
		if err := scopeKnown(ctx, q, org, w.Scope); err != nil {
			return err
		}
		row, err := q.ReplaceMaintenanceWindow(ctx, db.ReplaceMaintenanceWindowParams{
			OrgID: org, ID: w.ID, Name: w.Name, Comment: w.Comment, Scope: scope, Time: when, NextAt: orNull(w.First(now)),
		})
		if err != nil {
			return err
		}
		w.CreatedBy, w.CreatedAt, w.UpdatedAt = orNil(row.CreatedBy), row.CreatedAt, row.UpdatedAt
		cancel := db.CancelOccurrencesParams{OrgID: org, WindowID: w.ID, Now: now, Anew: was.Once() && w.Time.Once()}
		if err := q.CancelOccurrences(ctx, cancel); err != nil {
			return err
		}
		if err := planWindow(ctx, q, w, w.First(now), now.Add(planAhead)); err != nil {
			return err
		}
		return q.NotifyMaintenance(ctx)
	})
	return w, err
}

// DeleteMaintenanceWindow ends a window. The times it was on are kept.
func (s *Store) DeleteMaintenanceWindow(ctx context.Context, org tenant.OrgID, id uuid.UUID, now time.Time) error {
	return s.inTx(ctx, "delete maintenance window", func(q *db.Queries) error {
		n, err := q.DeleteMaintenanceWindow(ctx, db.DeleteMaintenanceWindowParams{OrgID: org, ID: id})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		if err := q.CancelOccurrences(ctx, db.CancelOccurrencesParams{OrgID: org, WindowID: id, Now: now}); err != nil {
			return err
		}
		return q.NotifyMaintenance(ctx)
	})
}

// MaintenanceWindow returns one window.
func (s *Store) MaintenanceWindow(ctx context.Context, org tenant.OrgID, id uuid.UUID) (quiet.Window, error) {
	row, err := s.q.MaintenanceWindow(ctx, db.MaintenanceWindowParams{OrgID: org, ID: id})
	if err != nil {
		return quiet.Window{}, wrap("maintenance window", err)
	}
	w, err := toWindow(db.DueMaintenanceWindowsRow(row))
	return w, wrap("maintenance window", err)
}

// MaintenanceWindows returns the organisation's windows, the oldest first.
func (s *Store) MaintenanceWindows(ctx context.Context, org tenant.OrgID) ([]quiet.Window, error) {
	rows, err := s.q.MaintenanceWindows(ctx, org)
	if err != nil {
		return nil, wrap("maintenance windows", err)
	}
	out := make([]quiet.Window, len(rows))
	for i, row := range rows {
		if out[i], err = toWindow(db.DueMaintenanceWindowsRow(row)); err != nil {
			return nil, wrap("maintenance windows", err)
		}
	}
	return out, nil
}

func marshalWindow(w quiet.Window) (scope, when []byte, err error) {
	if scope, err = json.Marshal(w.Scope); err == nil {
		when, err = json.Marshal(w.Time)
	}
	return scope, when, err
}

func toWindow(r db.DueMaintenanceWindowsRow) (quiet.Window, error) {
	w := quiet.Window{
		ID: r.ID, Org: r.OrgID, Name: r.Name, Comment: r.Comment, CreatedBy: orNil(r.CreatedBy), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if err := errors.Join(json.Unmarshal(r.Scope, &w.Scope), json.Unmarshal(r.Time, &w.Time)); err != nil {
		return w, fmt.Errorf("maintenance window %s: %w", r.ID, err)
	}
	return w, nil
}

// scopeKnown refuses what is not the organisation's.
func scopeKnown(ctx context.Context, q *db.Queries, org tenant.OrgID, s quiet.Scope) error {
	if len(s.Monitors) > 0 {
		known, err := q.KnownMonitors(ctx, db.KnownMonitorsParams{OrgID: org, Ids: s.Monitors})
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(s.Monitors, func(id uuid.UUID) bool { return !slices.Contains(known, id) }); i >= 0 {
			return &quiet.FieldError{Field: fmt.Sprintf("scope.monitors[%d]", i), Reason: fmt.Sprintf("there is no monitor %s", s.Monitors[i])}
		}
	}
	if len(s.Projects) == 0 {
		return nil
	}
	rows, err := q.ProjectNames(ctx, db.ProjectNamesParams{OrgID: org, Ids: s.Projects})
	if err != nil {
		return err
	}
	for i, id := range s.Projects {
		if !slices.ContainsFunc(rows, func(r db.ProjectNamesRow) bool { return r.ID.UUID == id }) {
			return &quiet.FieldError{Field: fmt.Sprintf("scope.projects[%d]", i), Reason: fmt.Sprintf("there is no project %s", id)}
		}
	}
	return nil
}

// planWindow stores the occurrences from next on that begin before the horizon.
func planWindow(ctx context.Context, q *db.Queries, w quiet.Window, next, horizon time.Time) error {
	scope, err := json.Marshal(w.Scope)
	if err != nil {
		return err
	}
	if next.IsZero() {
		return nil
	}
	list, after := w.Plan(next, horizon)
	for _, o := range list {
		err := q.PlanOccurrence(ctx, db.PlanOccurrenceParams{
			OrgID: w.Org, WindowID: w.ID, DueAt: o.StartsAt, Name: w.Name, Scope: scope, EndsAt: o.EndsAt,
		})
		if err != nil {
			return err
		}
	}
	return q.SetNextOccurrence(ctx, db.SetNextOccurrenceParams{OrgID: w.Org, ID: w.ID, NextAt: orNull(after)})
}

// ListenMaintenance calls wake once it hears of written windows, and then with each. It holds one connection of its own. It returns
// ctx's error when ctx ends and another when the connection is lost; wake is called from this goroutine only and must not block.
func (s *Store) ListenMaintenance(ctx context.Context, wake func()) error {
	return s.listen(ctx, "listen for maintenance", maintenanceChannel, func(string) { wake() })
}

// InMaintenanceTurn runs f while no other process does. done is false where another was at it.
func (s *Store) InMaintenanceTurn(ctx context.Context, f func(ctx context.Context) error) (done bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		mine, err := s.q.WithTx(tx).TryLockMaintenanceTurn(ctx)
		if err != nil || !mine {
			return err
		}
		done = true
		return f(ctx)
	})
	return done, wrap("maintenance", err)
}

func orNone(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}
