package samples

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// where is the part of a selection that the database does, as conditions on series, and that which is left.
type where struct {
	sql  string
	args []any
	rest []*labels.Matcher
}

// selection turns matchers into conditions. Every matcher that lets a series pass that has not the label is left over, and every
// expression: what they mean is Prometheus' to say.
func selection(org tenant.OrgID, mint, maxt int64, matchers []*labels.Matcher) (where, error) {
	var w where
	arg := func(v any) string {
		w.args = append(w.args, v)
		return fmt.Sprintf("$%d", len(w.args))
	}
	conditions := []string{
		"org_id = " + arg(org.UUID), "last_day >= " + arg(day(mint)), "first_day <= " + arg(day(maxt)),
	}
	contained := map[string]string{}
	for _, m := range matchers {
		// What PostgreSQL cannot hold is in no label; as an argument it would be an error.
		if !storable(m.Name) || !storable(m.Value) {
			w.rest = append(w.rest, m)
			continue
		}
		switch {
		case m.Type == labels.MatchEqual && m.Name == series.NameLabel:
			conditions = append(conditions, "name = "+arg(m.Value))
		case m.Type == labels.MatchEqual && m.Value != "" && contained[m.Name] == "":
			contained[m.Name] = m.Value
		case m.Type == labels.MatchRegexp && m.Name == series.NameLabel && len(m.SetMatches()) > 0:
			// Never more than the expression lets pass, so that it need not be left over: it is a list of words.
			conditions = append(conditions, "name = any("+arg(m.SetMatches())+"::text[])")
			w.rest = append(w.rest, m)
		default:
			w.rest = append(w.rest, m)
		}
	}
	if len(contained) > 0 {
		b, err := json.Marshal(contained)
		if err != nil {
			return w, fmt.Errorf("matchers: %w", err)
		}
		conditions = append(conditions, "labels @> "+arg(string(b))+"::jsonb")
	}
	w.sql = strings.Join(conditions, " and ")
	return w, nil
}

// candidate is a series as the database has it.
type candidate struct {
	id     int64
	labels map[string]string // all of them, the name too; valid until the next candidate
}

// each calls f with every series of the organisation that matches and has samples of the days from mint to maxt. f returns false
// to end it.
func (s *Store) each(ctx context.Context, org tenant.OrgID, mint, maxt int64, matchers []*labels.Matcher, f func(c candidate) (bool, error)) error {
	w, err := selection(org, mint, maxt, matchers)
	if err != nil {
		return err
	}
	rows, err := s.pool.Query(ctx, `select id, name, labels::text from series where `+w.sql, w.args...)
	if err != nil {
		return fmt.Errorf("find series: %w", err)
	}
	defer rows.Close()
	c := candidate{labels: map[string]string{}}
	var name string
	var object []byte
	for rows.Next() {
		if err := rows.Scan(&c.id, &name, &object); err != nil {
			return fmt.Errorf("find series: %w", err)
		}
		clear(c.labels)
		if err := json.Unmarshal(object, &c.labels); err != nil {
			return fmt.Errorf("labels of series %d: %w", c.id, err)
		}
		if name != "" {
			c.labels[series.NameLabel] = name
		}
		if !slices.ContainsFunc(w.rest, func(m *labels.Matcher) bool { return !m.Matches(c.labels[m.Name]) }) {
			if more, err := f(c); err != nil || !more {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("find series: %w", err)
	}
	return nil
}

// values returns the distinct values of one label of the series that match, in order.
func (s *Store) values(ctx context.Context, org tenant.OrgID, mint, maxt int64, label string, matchers []*labels.Matcher) ([]string, error) {
	if !storable(label) {
		return nil, nil
	}
	w, err := selection(org, mint, maxt, matchers)
	if err != nil {
		return nil, err
	}
	if len(w.rest) > 0 {
		found := map[string]struct{}{}
		err := s.each(ctx, org, mint, maxt, matchers, func(c candidate) (bool, error) {
			if v := c.labels[label]; v != "" {
				found[v] = struct{}{}
			}
			return true, nil
		})
		return sorted(found), err
	}
	sql := `select distinct name from series where name <> '' and ` + w.sql
	if label != series.NameLabel {
		w.args = append(w.args, label)
		sql = fmt.Sprintf(`select distinct labels ->> $%d from series where labels ? $%[1]d and %s`, len(w.args), w.sql)
	}
	return s.strings(ctx, sql, w.args)
}

// names returns the names of all labels of the series that match, in order.
func (s *Store) names(ctx context.Context, org tenant.OrgID, mint, maxt int64, matchers []*labels.Matcher) ([]string, error) {
	w, err := selection(org, mint, maxt, matchers)
	if err != nil {
		return nil, err
	}
	if len(w.rest) > 0 {
		found := map[string]struct{}{}
		err := s.each(ctx, org, mint, maxt, matchers, func(c candidate) (bool, error) {
			for name := range c.labels {
				found[name] = struct{}{}
			}
			return true, nil
		})
		return sorted(found), err
	}
	return s.strings(ctx, fmt.Sprintf(`
		select distinct k from series cross join lateral jsonb_object_keys(labels) as k where %s
		union select '%s' where exists (select from series where name <> '' and %[1]s)`, w.sql, series.NameLabel), w.args)
}

func (s *Store) strings(ctx context.Context, sql string, args []any) ([]string, error) {
	rows, err := s.pool.Query(ctx, fmt.Sprintf("%s limit %d", sql, s.options.MaxLabels+1), args...)
	if err != nil {
		return nil, fmt.Errorf("find labels: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find labels: %w", err)
	}
	if len(list) > s.options.MaxLabels {
		return nil, fmt.Errorf("%w: there are more than %d names or values; narrow it by matchers", ErrLimit, s.options.MaxLabels)
	}
	slices.Sort(list) // by bytes, which is not the order of every database
	return list, nil
}

func sorted(set map[string]struct{}) []string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}
