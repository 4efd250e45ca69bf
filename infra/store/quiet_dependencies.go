package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// Dependencies returns what each of the organisation's monitors depends on, and the version of its alerting at which that changed last.
// Where that is the one known, no edges come back: they are as they were. Known is -1 where nothing is.
func (s *Store) Dependencies(ctx context.Context, org tenant.OrgID, known int64) (quiet.Edges, int64, error) {
	version, err := s.q.DependenciesVersion(ctx, org)
	if errors.Is(err, pgx.ErrNoRows) {
		version, err = 0, nil
	}
	if err != nil || version == known {
		return nil, version, wrap("dependencies", err)
	}
	rows, err := s.q.Dependencies(ctx, org)
	return toEdges(rows), version, wrap("dependencies", err)
}

func toEdges(rows []db.DependenciesRow) quiet.Edges {
	e := make(quiet.Edges, len(rows))
	for _, r := range rows {
		e[r.MonitorID] = append(e[r.MonitorID], r.ParentID)
	}
	return e
}

// MonitorDependencies returns what a monitor depends on, by id.
func (s *Store) MonitorDependencies(ctx context.Context, org tenant.OrgID, monitor uuid.UUID) ([]uuid.UUID, error) {
	known, err := s.q.KnownMonitors(ctx, db.KnownMonitorsParams{OrgID: org, Ids: []uuid.UUID{monitor}})
	if err != nil {
		return nil, wrap("dependencies", err)
	}
	if len(known) == 0 {
		return nil, ErrNotFound
	}
	list, err := s.q.DependenciesOf(ctx, db.DependenciesOfParams{OrgID: org, MonitorID: monitor})
	return list, wrap("dependencies", err)
}

// PutMonitorDependencies makes a monitor depend on those and no others, and raises the organisation's alerting version. A parent that is not
// the organisation's, or one too many, is a *quiet.FieldError; a cycle is a fault of code invalid that names it.
func (s *Store) PutMonitorDependencies(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, parents []uuid.UUID) error {
	parents = slices.Clone(parents)
	if len(parents) > quiet.MostParents {
		return &quiet.FieldError{Field: "depends_on", Reason: fmt.Sprintf("names %d monitors; allowed: %d", len(parents), quiet.MostParents)}
	}
	return s.inTx(ctx, "put dependencies", func(q *db.Queries) error {
		if err := q.LockDependencies(ctx, org.String()); err != nil {
			return err
		}
		if err := parentsKnown(ctx, q, org, monitor, parents); err != nil {
			return err
		}
		rows, err := q.Dependencies(ctx, org)
		if err != nil {
			return err
		}
		if cycle := toEdges(rows).Cycle(monitor, parents); cycle != nil {
			return cycleFault(ctx, q, org, cycle)
		}
		if err := q.DeleteDependencies(ctx, db.DeleteDependenciesParams{OrgID: org, MonitorID: monitor}); err != nil {
			return err
		}
		slices.SortFunc(parents, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
		parents = slices.Compact(parents)
		if err := q.InsertDependencies(ctx, db.InsertDependenciesParams{OrgID: org, MonitorID: monitor, Parents: parents}); err != nil {
			return err
		}
		if _, err := q.RaiseAlerting(ctx, org); err != nil {
			return err
		}
		if err := q.SetDependenciesVersion(ctx, org); err != nil {
			return err
		}
		return q.NotifyAlerting(ctx, org.String())
	})
}

func parentsKnown(ctx context.Context, q *db.Queries, org tenant.OrgID, monitor uuid.UUID, parents []uuid.UUID) error {
	known, err := q.KnownMonitors(ctx, db.KnownMonitorsParams{OrgID: org, Ids: append([]uuid.UUID{monitor}, parents...)})
	if err != nil {
		return err
	}
	if !slices.Contains(known, monitor) {
		return ErrNotFound
	}
	if i := slices.IndexFunc(parents, func(id uuid.UUID) bool { return !slices.Contains(known, id) }); i >= 0 {
		return &quiet.FieldError{Field: fmt.Sprintf("depends_on[%d]", i), Reason: fmt.Sprintf("there is no monitor %s", parents[i])}
	}
	return nil
}

// cycleFault names the monitors of a cycle.
func cycleFault(ctx context.Context, q *db.Queries, org tenant.OrgID, cycle []uuid.UUID) error {
	rows, err := q.MonitorNames(ctx, db.MonitorNamesParams{OrgID: org, Ids: cycle})
	if err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	words := make([]string, len(cycle))
	for i, id := range cycle {
		words[i] = fmt.Sprintf("%s (%s)", names[id], id)
	}
	return fault.New(fault.Invalid, "this would be a cycle, each monitor depending on the next: "+strings.Join(words, " → "))
}
