package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// maxPushGroups is how many groups an organisation may have: each is written again every minute, whether anybody pushes or not.
const maxPushGroups = 10_000

// ChangePushGroup locks the organisation's group of those labels, which must be sorted, has f change it, and stores what came of
// it. What f writes to the log it writes under the lock, so the times of a group's samples follow its changes. After an error
// of f, which is returned as it is, the group is as it was.
func (s *Store) ChangePushGroup(
	ctx context.Context, org tenant.OrgID, labels []series.Label, f func(g *series.LockedGroup) error,
) error {
	var own error // of f
	err := s.inTx(ctx, "change pushed group", func(q *db.Queries) error {
		g, err := lockPushGroup(ctx, q, org, labels)
		if err != nil {
			return err
		}
		g.TypeElsewhere = func(ctx context.Context, metrics map[string]string) (string, string, error) {
			return pushTypeElsewhere(ctx, q, g, metrics)
		}
		if own = f(g); own != nil {
			return own
		}
		return storePushGroup(ctx, q, g)
	})
	if own != nil {
		return own
	}
	return err
}

// lockPushGroup makes the row where there is none, so that there is one to be locked.
func lockPushGroup(ctx context.Context, q *db.Queries, org tenant.OrgID, labels []series.Label) (*series.LockedGroup, error) {
	key := series.GroupKey(labels)
	lock := db.LockPushGroupParams{OrgID: org, Key: key[:]}
	row, err := q.LockPushGroup(ctx, lock)
	found := err == nil
	if errors.Is(err, pgx.ErrNoRows) {
		if found, err = insertPushGroup(ctx, q, org, key[:], labels); err != nil {
			return nil, err
		}
		row, err = q.LockPushGroup(ctx, lock)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.Unavailable, "the group was deleted at this moment, try again")
	}
	if err != nil {
		return nil, err
	}
	beat, err := q.PushBeat(ctx)
	if err != nil {
		return nil, err
	}
	g := &series.LockedGroup{
		Group: series.Group{
			Org: org, Labels: labels, Body: row.Body, TTL: time.Duration(row.TtlMs) * time.Millisecond,
			PushedAt: timeOf(row.PushedAt), FailedAt: timeOf(row.FailedAt), ExpiresAt: timeOf(row.ExpiresAt), LastAt: row.LastAt.UTC(),
		},
		Found: found,
	}
	g.After = g.LastAt
	if beat.After(g.After) {
		g.After = beat.UTC()
	}
	return g, nil
}

// insertPushGroup reports whether another has inserted it meanwhile.
func insertPushGroup(ctx context.Context, q *db.Queries, org tenant.OrgID, key []byte, labels []series.Label) (found bool, err error) {
	named := make(map[string]string, len(labels))
	for _, l := range labels {
		named[l.Name] = l.Value
	}
	text, err := json.Marshal(named)
	if err != nil {
		return false, err
	}
	n, err := q.InsertPushGroup(ctx, db.InsertPushGroupParams{OrgID: org, Key: key, Labels: text})
	if err != nil || n == 0 {
		return true, err
	}
	all, err := q.CountPushGroups(ctx, org)
	if err == nil && all > maxPushGroups {
		err = fault.New(fault.Invalid, fmt.Sprintf("an organisation may have %d pushed groups: delete some, or give them a time to live", maxPushGroups))
	}
	return false, err
}

func storePushGroup(ctx context.Context, q *db.Queries, g *series.LockedGroup) error {
	key := series.GroupKey(g.Labels)
	if g.Drop {
		return q.DeletePushGroup(ctx, db.DeletePushGroupParams{OrgID: g.Org, Key: key[:]})
	}
	err := q.UpdatePushGroup(ctx, db.UpdatePushGroupParams{
		OrgID: g.Org, Key: key[:], Body: g.Body, TtlMs: g.TTL.Milliseconds(),
		PushedAt: orNull(g.PushedAt), FailedAt: orNull(g.FailedAt), ExpiresAt: orNull(g.ExpiresAt), LastAt: g.LastAt,
	})
	if err != nil || g.Metrics == nil {
		return err
	}
	if err := q.DeletePushMetrics(ctx, db.DeletePushMetricsParams{OrgID: g.Org, Key: key[:]}); err != nil {
		return err
	}
	names, types := pairs(g.Metrics)
	return q.InsertPushMetrics(ctx, db.InsertPushMetricsParams{OrgID: g.Org, Key: key[:], Names: names, Types: types})
}

func pushTypeElsewhere(ctx context.Context, q *db.Queries, g *series.LockedGroup, metrics map[string]string) (string, string, error) {
	key := series.GroupKey(g.Labels)
	names, types := pairs(metrics)
	rows, err := q.PushTypesElsewhere(ctx, db.PushTypesElsewhereParams{OrgID: g.Org, Key: key[:], Names: names, Types: types})
	if err != nil || len(rows) == 0 {
		return "", "", err
	}
	return rows[0].Name, rows[0].Type, nil
}

func pairs(m map[string]string) (names, values []string) {
	names, values = make([]string, 0, len(m)), make([]string, 0, len(m))
	for n, v := range m {
		names, values = append(names, n), append(values, v)
	}
	return names, values
}

// PushGroups returns up to limit of the organisation's groups, in the order of their keys, behind the one of that key; nil: from
// the first.
func (s *Store) PushGroups(ctx context.Context, org tenant.OrgID, after []byte, limit int) ([]series.Group, error) {
	if after == nil {
		after = []byte{}
	}
	rows, err := s.q.PushGroups(ctx, db.PushGroupsParams{OrgID: org, AfterKey: after, MaxRows: rowLimit(limit)})
	if err != nil {
		return nil, wrap("list pushed groups", err)
	}
	out, err := pushGroups(rows)
	return out, wrap("list pushed groups", err)
}

// ClaimPushBeat makes the instant at, by the caller's clock, the one for which the values of all groups are to be written next, if the
// last one is at least every before it. true: the caller is the one to write them.
func (s *Store) ClaimPushBeat(ctx context.Context, at time.Time, every time.Duration) (bool, error) {
	n, err := s.q.ClaimPushBeat(ctx, db.ClaimPushBeatParams{At: at, Due: at.Add(-every)})
	return n > 0, wrap("claim the beat of pushed groups", err)
}

// BeatPushGroups hands f up to limit groups behind the cursor, ordered by organisation, that stood unchanged at the instant claimed.
// While f works nobody changes them. It moves the cursor when f returned no error; false: there are no more groups.
func (s *Store) BeatPushGroups(ctx context.Context, at time.Time, c *series.GroupCursor, limit int, f func([]series.Group) error) (more bool, err error) {
	next := *c
	err = s.inTx(ctx, "beat of pushed groups", func(q *db.Queries) error {
		key := c.Key
		if key == nil {
			key = []byte{}
		}
		rows, err := q.LockStandingPushGroups(ctx, db.LockStandingPushGroupsParams{At: at, AfterOrg: c.Org.UUID, AfterKey: key, MaxRows: rowLimit(limit)})
		if err != nil || len(rows) == 0 {
			return err
		}
		last := rows[len(rows)-1]
		more = len(rows) == limit
		next = series.GroupCursor{Org: last.OrgID, Key: last.Key}
		groups, err := pushGroups(rows)
		if err != nil {
			return err
		}
		return f(groups)
	})
	if err == nil {
		*c = next
	}
	return more, err
}

// ExpirePushGroups hands f up to limit groups that have expired by now, and deletes them when f returned no error.
func (s *Store) ExpirePushGroups(ctx context.Context, now time.Time, limit int, f func([]series.Group) error) (n int, err error) {
	err = s.inTx(ctx, "expire pushed groups", func(q *db.Queries) error {
		rows, err := q.LockExpiredPushGroups(ctx, db.LockExpiredPushGroupsParams{Now: &now, MaxRows: rowLimit(limit)})
		if err != nil || len(rows) == 0 {
			return err
		}
		groups, err := pushGroups(rows)
		if err != nil {
			return err
		}
		if err := f(groups); err != nil {
			return err
		}
		for _, r := range rows {
			if err := q.DeletePushGroup(ctx, db.DeletePushGroupParams{OrgID: r.OrgID, Key: r.Key}); err != nil {
				return err
			}
		}
		n = len(rows)
		return nil
	})
	return n, err
}

// NextPushExpiry is when the first group expires; the zero time where none ever will.
func (s *Store) NextPushExpiry(ctx context.Context) (time.Time, error) {
	at, err := s.q.NextPushExpiry(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return timeOf(at), wrap("look for the next pushed group to expire", err)
}

func pushGroups(rows []db.PushGroup) ([]series.Group, error) {
	out := make([]series.Group, len(rows))
	for i, r := range rows {
		var named map[string]string
		if err := json.Unmarshal(r.Labels, &named); err != nil {
			return nil, fmt.Errorf("labels of a pushed group: %w", err)
		}
		labels := make([]series.Label, 0, len(named))
		for n, v := range named {
			labels = append(labels, series.Label{Name: n, Value: v})
		}
		series.Sort(labels)
		out[i] = series.Group{
			Org: r.OrgID, Labels: labels, Body: r.Body, TTL: time.Duration(r.TtlMs) * time.Millisecond,
			PushedAt: timeOf(r.PushedAt), FailedAt: timeOf(r.FailedAt), ExpiresAt: timeOf(r.ExpiresAt), LastAt: r.LastAt.UTC(),
		}
	}
	return out, nil
}

// timeOf is the time in UTC, the zero time for none.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
