package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// PlanMaintenance plans the occurrences, of any organisation, that begin within a day of now, of up to limit windows, and returns of how many
// windows. Safe to call from many processes.
func (s *Store) PlanMaintenance(ctx context.Context, now time.Time, limit int) (n int, err error) {
	horizon := now.Add(planAhead)
	err = s.inTx(ctx, "plan maintenance", func(q *db.Queries) error {
		rows, err := q.DueMaintenanceWindows(ctx, db.DueMaintenanceWindowsParams{Horizon: horizon, MaxRows: rowLimit(limit)})
		n = len(rows)
		if err != nil {
			return err
		}
		for _, row := range rows {
			w, err := toWindow(row)
			if err != nil {
				return err
			}
			if err := planWindow(ctx, q, w, *row.NextAt, horizon); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// UntoldOccurrences returns up to limit occurrences, of any organisation, that changed since silences of them were stored, those of one
// organisation together. Projects in a scope carry their names.
func (s *Store) UntoldOccurrences(ctx context.Context, limit int) ([]quiet.Untold, error) {
	rows, err := s.q.UntoldOccurrences(ctx, rowLimit(limit))
	if err != nil {
		return nil, wrap("untold occurrences", err)
	}
	out := make([]quiet.Untold, len(rows))
	for i, r := range rows {
		u := quiet.Untold{
			Planned: quiet.Planned{
				Occurrence: quiet.Occurrence{StartsAt: r.StartsAt.UTC(), EndsAt: r.EndsAt.UTC()},
				Org:        r.OrgID, Window: r.WindowID, Name: r.Name, DueAt: r.DueAt.UTC(), Cancelled: r.Cancelled,
			},
			Silenced: r.Silenced, Revision: r.Revision,
		}
		if err := json.Unmarshal(r.Scope, &u.Scope); err != nil {
			return nil, fmt.Errorf("store: scope of maintenance window %s: %w", r.WindowID, err)
		}
		if len(u.Scope.Projects) > 0 {
			names, err := s.q.ProjectNames(ctx, db.ProjectNamesParams{OrgID: r.OrgID, Ids: u.Scope.Projects})
			if err != nil {
				return nil, wrap("untold occurrences", err)
			}
			for _, p := range names {
				u.ProjectNames = append(u.ProjectNames, p.Name)
			}
		}
		out[i] = u
	}
	return out, nil
}

// MarkOccurrence says for which kinds of things silences of the occurrence, as it stood at its revision, have been stored.
func (s *Store) MarkOccurrence(ctx context.Context, org tenant.OrgID, u quiet.Untold, silenced []string) error {
	if silenced == nil {
		silenced = []string{}
	}
	return wrap("mark occurrence", s.q.MarkOccurrence(ctx, db.MarkOccurrenceParams{
		OrgID: org, WindowID: u.Window, DueAt: u.DueAt, Revision: u.Revision, Silenced: silenced,
	}))
}

// MaintenanceTimes returns the times within w in which each of the monitors, or of all if none is named, was in maintenance, in order
// and without overlap. A monitor that never was is left out. Tags and projects are those the monitors have now.
func (s *Store) MaintenanceTimes(ctx context.Context, org tenant.OrgID, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID][]history.Window, error) {
	rows, err := s.q.OccurrencesWithin(ctx, db.OccurrencesWithinParams{OrgID: org, Since: w.From, Until: w.To})
	if err != nil || len(rows) == 0 {
		return nil, wrap("maintenance times", err)
	}
	type times struct {
		scope quiet.Scope
		list  []history.Window
	}
	scopes := map[string]*times{} // the occurrences of one window have one scope
	for _, r := range rows {
		t := scopes[string(r.Scope)]
		if t == nil {
			t = &times{}
			if err := json.Unmarshal(r.Scope, &t.scope); err != nil {
				return nil, fmt.Errorf("store: scope of a maintenance window: %w", err)
			}
			scopes[string(r.Scope)] = t
		}
		t.list = append(t.list, history.Window{From: r.StartsAt.UTC(), To: r.EndsAt.UTC()})
	}
	if monitors == nil {
		monitors = []uuid.UUID{}
	}
	all, err := s.q.MonitorsForScopes(ctx, db.MonitorsForScopesParams{OrgID: org, Ids: monitors})
	if err != nil {
		return nil, wrap("maintenance times", err)
	}
	out := map[uuid.UUID][]history.Window{}
	for _, m := range all {
		var list []history.Window
		for _, t := range scopes {
			if t.scope.Holds(m.ID, m.ProjectID.UUID, m.Tags) {
				list = append(list, t.list...)
			}
		}
		if list = quiet.Union(list, w); len(list) > 0 {
			out[m.ID] = list
		}
	}
	return out, nil
}
