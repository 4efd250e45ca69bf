package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// ClaimRuleGroups leases up to limit groups whose instant is not after the horizon, of all organisations: nobody else gets them
// before the lease is over or they were committed or released. One that cannot be read is left out, and told in the error, which
// comes with the others.
func (s *Store) ClaimRuleGroups(ctx context.Context, horizon time.Time, limit int, lease time.Duration) ([]rule.Claim, error) {
	rows, err := s.q.ClaimRuleGroups(ctx, db.ClaimRuleGroupsParams{Horizon: horizon, MaxRows: rowLimit(limit), LeaseSeconds: lease.Seconds()})
	if err != nil {
		return nil, wrap("claim rule groups", err)
	}
	var out []rule.Claim
	var errs []error
	for _, r := range rows {
		c := rule.Claim{Org: r.OrgID, Deleted: r.Deleted, Revision: r.Revision, Evaluations: r.Evaluations, Due: r.NextEvalAt}
		c.Group, err = toRuleGroup(r.Definition)
		if err == nil {
			c.Progress, err = toProgress(r.Progress, r.Series)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("organisation %s: %w", r.OrgID, err))
			continue
		}
		out = append(out, c)
	}
	return out, wrap("claim rule groups", errors.Join(errs...))
}

// ReleaseRuleGroup ends a lease: the group may be claimed again after a while.
func (s *Store) ReleaseRuleGroup(ctx context.Context, org tenant.OrgID, c rule.Claim, after time.Duration) error {
	return wrap("release rule group", s.q.ReleaseRuleGroup(ctx, db.ReleaseRuleGroupParams{
		OrgID: org, Name: c.Group.Name, Revision: c.Revision, Evaluations: c.Evaluations, AfterSeconds: after.Seconds(),
	}))
}

// CommitRuleGroup stores what an evaluation gave, and what must be said of it. A group that was changed or evaluated by another since
// it was claimed stays as it is: stored is then false.
func (s *Store) CommitRuleGroup(ctx context.Context, org tenant.OrgID, e rule.Evaluated) (stored bool, err error) {
	progress, err := json.Marshal(e.Progress)
	if err != nil {
		return false, fmt.Errorf("store: commit rule group: %w", err)
	}
	var given []byte // nil: as they are
	if !e.SameSeries {
		if given, err = seriesOf(e.Progress); err != nil {
			return false, fmt.Errorf("store: commit rule group: %w", err)
		}
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		var n int64
		if c := e.Claim; e.GroupIsGone {
			n, err = q.RemoveRuleGroup(ctx, db.RemoveRuleGroupParams{OrgID: org, Name: c.Group.Name, Revision: c.Revision, Evaluations: c.Evaluations})
		} else {
			n, err = q.CommitRuleGroup(ctx, db.CommitRuleGroupParams{
				OrgID: org, Name: c.Group.Name, Revision: c.Revision, Evaluations: c.Evaluations, EvaluatedAt: &e.At,
				TookSeconds: e.Took.Seconds(), Missed: e.Missed, NextEvalAt: e.Next, Progress: progress, Series: given,
			})
		}
		if stored = n > 0; err != nil || !stored {
			return err
		}
		say, err := withoutThoseOfOthers(ctx, tx, org, e.MustBeSaid)
		if err != nil {
			return err
		}
		return sayOfRules(ctx, tx, org, say)
	})
	return stored && err == nil, wrap("commit rule group", err)
}

// withoutThoseOfOthers leaves out that alerts are resolved of which another rule, of this group or another, still fires one of the
// same labels: a group that was renamed, or a rule that has moved, would else end with an alert that fires and is said to be over. It
// sees what the transaction has stored.
func withoutThoseOfOthers(ctx context.Context, tx pgx.Tx, org tenant.OrgID, messages []rule.Said) ([]rule.Said, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	// One group after the other, so that each sees what the one before has said.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('alerts ' || $1, 0))`, org.String()); err != nil {
		return nil, err
	}
	var over []string
	for _, m := range messages {
		if m.Message.Type == rule.TypeResolved {
			labels, err := json.Marshal(m.Labels)
			if err != nil {
				return nil, err
			}
			over = append(over, string(labels))
		}
	}
	if len(over) == 0 {
		return messages, nil
	}
	rows, err := tx.Query(ctx, `
		select distinct a -> 'labels'
		from rule_groups g cross join lateral jsonb_path_query(g.progress, 'lax $[*].alerts[*] ? (@.state == "firing")') as a
		where g.org_id = $1 and a -> 'labels' = any(select l::jsonb from unnest($2::text[]) as l)`, org.UUID, over)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[[]series.Label])
	if err != nil {
		return nil, err
	}
	firing := make(map[string]bool, len(found))
	for _, labels := range found {
		firing[rule.Key(labels)] = true
	}
	return slices.DeleteFunc(slices.Clone(messages), func(m rule.Said) bool {
		return m.Message.Type == rule.TypeResolved && firing[rule.Key(m.Labels)]
	}), nil
}

// sayOfRules puts messages into the outbox, in order.
func sayOfRules(ctx context.Context, tx pgx.Tx, org tenant.OrgID, messages []rule.Said) error {
	if len(messages) == 0 {
		return nil
	}
	say := &pgx.Batch{}
	for _, m := range messages {
		payload, err := json.Marshal(m.Message)
		if err != nil {
			return err
		}
		say.Queue(insertOutbox, org.UUID, m.ID, m.Message.Type, payload)
	}
	say.Queue(`select pg_notify('tokiflow_outbox', '')`)
	return tx.SendBatch(ctx, say).Close()
}

// storedLabels are a series' labels in few bytes: name, value, name, value.
type storedLabels []string

// seriesOf is the JSON of what each rule recorded.
func seriesOf(progress []rule.Progress) ([]byte, error) {
	out := make([][]storedLabels, len(progress))
	for i, p := range progress {
		out[i] = make([]storedLabels, len(p.Series))
		for j, labels := range p.Series {
			for _, l := range labels {
				out[i][j] = append(out[i][j], l.Name, l.Value)
			}
		}
	}
	return json.Marshal(out)
}

// toProgress reads progress, and the series that go with it.
func toProgress(progress, given []byte) (out []rule.Progress, err error) {
	if err := json.Unmarshal(progress, &out); err != nil {
		return nil, fmt.Errorf("progress of a rule group: %w", err)
	}
	if given == nil {
		return out, nil
	}
	var stored [][]storedLabels
	if err := json.Unmarshal(given, &stored); err != nil {
		return nil, fmt.Errorf("series of a rule group: %w", err)
	}
	for i := range min(len(stored), len(out)) {
		for _, labels := range stored[i] {
			var l []series.Label
			for j := 0; j+1 < len(labels); j += 2 {
				l = append(l, series.Label{Name: labels[j], Value: labels[j+1]})
			}
			out[i].Series = append(out[i].Series, l)
		}
	}
	return out, nil
}
