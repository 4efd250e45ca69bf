package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// maxRuleGroups is how many groups an organisation may have.
const maxRuleGroups = 1000

// PutRuleGroup stores a valid group, in place of the one of its name if there is one. A rule that stays the same keeps its alerts; a
// group that stays the same is not touched. now decides when a new group, or one with another interval, is evaluated first.
func (s *Store) PutRuleGroup(ctx context.Context, org tenant.OrgID, g rule.Group, now time.Time) (created bool, err error) {
	definition, err := json.Marshal(g)
	if err != nil {
		return false, fmt.Errorf("store: put rule group: %w", err)
	}
	next := rule.NextSlot(org, g.Name, g.Every(), now)
	err = s.inTx(ctx, "put rule group", func(q *db.Queries) error {
		n, err := q.InsertRuleGroup(ctx, db.InsertRuleGroupParams{OrgID: org, Name: g.Name, Definition: definition, NextEvalAt: next})
		if err != nil {
			return err
		}
		if created = n > 0; created {
			return ruleGroupsWithin(ctx, q, org)
		}
		old, err := q.LockRuleGroup(ctx, db.LockRuleGroupParams{OrgID: org, Name: g.Name})
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.Unavailable, "the group was taken away at this moment, try again")
		}
		if err != nil {
			return err
		}
		was, same, err := sameGroup(old.Definition, definition)
		if err != nil {
			return err
		}
		if created = old.Deleted; created {
			if err := ruleGroupsWithin(ctx, q, org); err != nil {
				return err
			}
		} else if same {
			return nil
		}
		if was.Every() == g.Every() {
			next = old.NextEvalAt
		}
		return q.ReplaceRuleGroup(ctx, db.ReplaceRuleGroupParams{OrgID: org, Name: g.Name, Definition: definition, NextEvalAt: next})
	})
	return created, err
}

func ruleGroupsWithin(ctx context.Context, q *db.Queries, org tenant.OrgID) error {
	n, err := q.CountRuleGroups(ctx, org)
	if err == nil && n > maxRuleGroups {
		err = fault.New(fault.Invalid, fmt.Sprintf("an organisation may have %d rule groups", maxRuleGroups))
	}
	return err
}

// sameGroup reads a stored definition and compares it to another.
func sameGroup(stored, definition []byte) (rule.Group, bool, error) {
	g, err := toRuleGroup(stored)
	if err != nil {
		return g, false, err
	}
	again, err := json.Marshal(g)
	return g, bytes.Equal(again, definition), err
}

func toRuleGroup(definition []byte) (g rule.Group, err error) {
	if err = json.Unmarshal(definition, &g); err != nil {
		err = fmt.Errorf("definition of a rule group: %w", err)
	}
	return g, err
}

// DeleteRuleGroup removes a group. What its alerts say ends with its next evaluation.
func (s *Store) DeleteRuleGroup(ctx context.Context, org tenant.OrgID, name string) error {
	n, err := s.q.DeleteRuleGroup(ctx, db.DeleteRuleGroupParams{OrgID: org, Name: name})
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return wrap("delete rule group", err)
}

// RuleDefinition reads one group as it was configured.
func (s *Store) RuleDefinition(ctx context.Context, org tenant.OrgID, name string) (rule.Group, error) {
	definition, err := s.q.RuleDefinition(ctx, db.RuleDefinitionParams{OrgID: org, Name: name})
	if err != nil {
		return rule.Group{}, wrap("rule definition", err)
	}
	g, err := toRuleGroup(definition)
	return g, wrap("rule definition", err)
}

// RuleDefinitions lists the groups as they were configured, by name.
func (s *Store) RuleDefinitions(ctx context.Context, org tenant.OrgID) ([]rule.Group, error) {
	rows, err := s.q.RuleDefinitions(ctx, org)
	if err != nil {
		return nil, wrap("rule definitions", err)
	}
	out := make([]rule.Group, len(rows))
	for i, definition := range rows {
		if out[i], err = toRuleGroup(definition); err != nil {
			return nil, wrap("rule definitions", err)
		}
	}
	return out, nil
}

// RuleGroups lists the groups with what became of them, by name. Series of recording rules are left out.
func (s *Store) RuleGroups(ctx context.Context, org tenant.OrgID) ([]rule.Status, error) {
	rows, err := s.q.RuleGroups(ctx, org)
	if err != nil {
		return nil, wrap("rule groups", err)
	}
	out := make([]rule.Status, len(rows))
	for i, r := range rows {
		g, err := toRuleGroup(r.Definition)
		if err != nil {
			return nil, wrap("rule groups", err)
		}
		progress, err := toProgress(r.Progress, nil)
		if err != nil {
			return nil, wrap("rule groups", err)
		}
		var at time.Time
		if r.EvaluatedAt != nil {
			at = *r.EvaluatedAt
		}
		out[i] = rule.StatusOf(g, progress, at, time.Duration(r.TookSeconds*float64(time.Second)))
	}
	return out, nil
}
