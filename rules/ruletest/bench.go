package ruletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/rules/memory"
)

// Bounds of a query, generous: a test's input is the user's own.
const (
	maxSamples   = 50_000_000
	queryTimeout = 100 * time.Second
)

// bench is one test under way.
type bench struct {
	test     *test
	parser   parser.Parser
	interval time.Duration // between evaluations
	fuzzy    bool
	from     time.Time
	engine   *promql.Engine
	storage  *memory.Storage
	querier  rules.EngineQuerier
	groups   []*rules.Group
	progress [][]rule.Progress
	input    []input
}

// input is an input series that is not wholly in the storage yet.
type input struct {
	labels labels.Labels
	values []parser.SequenceValue
	next   int
}

func newBench(t *test, groups []rule.Group, order map[string]int, interval time.Duration, fuzzy bool, p parser.Parser) *bench {
	b := &bench{test: t, parser: p, interval: interval, fuzzy: fuzzy, from: time.Unix(0, 0).UTC(), storage: memory.New()}
	if !t.Start.IsZero() {
		b.from = t.Start.Time
	}
	b.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: maxSamples, Timeout: queryTimeout, EnableAtModifier: true, EnableNegativeOffset: true, Parser: p,
		NoStepSubqueryIntervalFn: func(int64) int64 { return interval.Milliseconds() },
	})
	b.querier = rules.EngineQuerier{Engine: b.engine, Storage: func(tenant.OrgID) storage.Queryable { return b.storage }}
	groups = slices.Clone(groups)
	slices.SortStableFunc(groups, func(x, y rule.Group) int { return order[x.Name] - order[y.Name] })
	for _, g := range groups {
		b.groups = append(b.groups, rules.Prepare(g, rules.Surroundings{ExternalLabels: t.ExternalLabels, ExternalURL: t.ExternalURL}))
	}
	b.progress = make([][]rule.Progress, len(b.groups))
	return b
}

// run evaluates the groups at every instant up to the last that the test speaks of, and compares.
func (b *bench) run(ctx context.Context) (errs []error) {
	defer func() {
		if err := b.engine.Close(); err != nil {
			errs = append(errs, err)
		}
	}()
	if err := b.read(); err != nil {
		return []error{err}
	}
	for _, a := range b.test.AlertRuleTests {
		if a.Alertname == "" {
			return []error{fmt.Errorf("an item under alert_rule_test misses required attribute alertname at eval_time %v", a.EvalTime)}
		}
	}
	for at := b.from; !at.After(b.from.Add(b.length())); at = at.Add(b.interval) {
		if err := b.feed(at); err != nil {
			errs = append(errs, err)
		} else if failed := b.evaluate(ctx, at); len(failed) > 0 {
			return append(errs, failed...)
		}
		errs = append(errs, b.compareAlerts(at)...)
		if ctx.Err() != nil {
			return append(errs, ctx.Err())
		}
	}
	for _, t := range b.test.ExprTests {
		if err := b.compareExpr(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("expr: %q, time: %s, %w", t.Expr, t.EvalTime, err))
		}
	}
	return errs
}

// length is how long after its start the test goes on.
func (b *bench) length() time.Duration {
	var longest time.Duration
	for _, t := range b.test.AlertRuleTests {
		longest = max(longest, time.Duration(t.EvalTime))
	}
	for _, t := range b.test.ExprTests {
		longest = max(longest, time.Duration(t.EvalTime))
	}
	return longest
}

// read reads the notation of the input series. A series that is given twice is the last.
func (b *bench) read() error {
	for _, s := range b.test.InputSeries {
		l, values, err := b.parser.ParseSeriesDesc(s.Series + " " + s.Values)
		if err != nil {
			return fmt.Errorf("input series %s: %w", s.Series, err)
		}
		b.input = slices.DeleteFunc(b.input, func(i input) bool { return labels.Equal(i.labels, l) })
		b.input = append(b.input, input{labels: l, values: values})
	}
	return nil
}

// feed puts the input into the storage up to the instant.
func (b *bench) feed(at time.Time) error {
	gap := time.Duration(b.test.Interval)
	for i := range b.input {
		in := &b.input[i]
		for ; in.next < len(in.values); in.next++ {
			t := b.from.Add(time.Duration(in.next) * gap)
			if t.After(at) {
				break
			}
			v := in.values[in.next]
			if v.Omitted {
				continue
			}
			if err := b.storage.Append(in.labels, t.UnixMilli(), v.Value, v.Histogram); err != nil {
				return fmt.Errorf("input series %s: %w", in.labels, err)
			}
		}
	}
	return nil
}

// evaluate evaluates every group for the instant, and stores what it records.
func (b *bench) evaluate(ctx context.Context, at time.Time) (errs []error) {
	ask := func(ctx context.Context, expr string, at time.Time, recorded storage.Queryable) (promql.Vector, error) {
		return b.querier.QueryOver(ctx, tenant.OrgID{}, expr, at, recorded)
	}
	for i, g := range b.groups {
		out := g.Evaluate(ctx, ask, time.Now, b.progress[i], at)
		b.progress[i] = out.Progress
		for j, err := range out.Errors {
			if err != nil {
				errs = append(errs, fmt.Errorf("rule: %s, time: %s, err: %w", out.Progress[j].Name, at.Sub(b.from), err))
			}
		}
		for _, s := range out.Samples {
			err := b.storage.Add(s)
			ended := len(s.Floats) == 1 && value.IsStaleNaN(s.Floats[0].Value)
			if err != nil && (!ended || !errors.Is(err, memory.ErrDuplicate) && !errors.Is(err, memory.ErrOutOfOrder)) {
				errs = append(errs, fmt.Errorf("group: %s, time: %s, err: %w", g.Name, at.Sub(b.from), err))
			}
		}
	}
	return errs
}
