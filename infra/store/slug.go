package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// slugDefaults are the schedule and grace of a monitor made by its first ping, as Healthchecks has them.
const slugDefaults = `{"schedule":{"interval":"1d"},"grace":"1h"}`

// CreateBySlug makes the monitor that a slug URL with create=1 names. Where it exists already the error is ErrConflict,
// and the target returned with it is the existing one; where several share the slug it is ErrAmbiguousSlug, and for an
// unknown project ErrNotFound. Of two callers at once one makes the monitor. A monitor just made, or made by another
// caller a moment ago, takes effect when its controls are drained.
func (s *Store) CreateBySlug(ctx context.Context, org tenant.OrgID, project tenant.ProjectID, slug string) (tenant.PingTarget, error) {
	if !monitor.ValidSlug(slug) {
		return tenant.PingTarget{}, fault.New(fault.Invalid, "a slug has the characters a-z, 0-9, - and _")
	}
	c := monitor.DefaultConfig()
	if err := json.Unmarshal([]byte(slugDefaults), &c); err != nil {
		return tenant.PingTarget{}, wrap("create by slug", err)
	}
	c.Name, c.Slug = slug, slug

	target := tenant.PingTarget{Org: org, Project: project, Slug: slug}
	err := s.inTx(ctx, "create by slug", func(q *db.Queries) error {
		if err := q.LockSlug(ctx, db.LockSlugParams{ProjectID: project.String(), Slug: slug}); err != nil {
			return err
		}
		have, err := q.MonitorsBySlug(ctx, db.MonitorsBySlugParams{OrgID: org, ProjectID: project, Slug: slug})
		switch {
		case err != nil:
			return err
		case len(have) > 1:
			return ErrAmbiguousSlug
		case len(have) == 1:
			target.Monitor, target.Key = have[0].ID, have[0].PingKey
			return ErrConflict
		}
		target.Monitor, target.Key, err = insertMonitor(ctx, q, org, project, c)
		return err
	})
	if err != nil && !errors.Is(err, ErrConflict) {
		return tenant.PingTarget{}, err
	}
	return target, err
}

// freeSlug is the slug wanted, or where it is taken the first of slug-2, slug-3, … that is free. Whoever else wants one
// waits until this transaction ends.
func freeSlug(ctx context.Context, q *db.Queries, org tenant.OrgID, project tenant.ProjectID, wanted string) (string, error) {
	if err := q.LockSlug(ctx, db.LockSlugParams{ProjectID: project.String(), Slug: wanted}); err != nil {
		return "", err
	}
	have, err := q.SlugsLike(ctx, db.SlugsLikeParams{OrgID: org, ProjectID: project, Prefix: wanted})
	if err != nil {
		return "", err
	}
	slug := wanted
	for n := 2; slices.Contains(have, slug); n++ {
		slug = wanted + "-" + strconv.Itoa(n)
	}
	return slug, nil
}
