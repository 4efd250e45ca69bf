package rules_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/rules"
)

// many answers every expression with 10,000 series.
func many() rules.Query {
	var v promql.Vector
	for i := range 10_000 {
		v = append(v, promql.Sample{F: float64(i), Metric: labels.FromStrings("__name__", "x", "id", uuid.NewString(), "instance", fmt.Sprintf("host-%d.example.org:9100", i), "job", "node")})
	}
	return func(context.Context, string, time.Time, storage.Queryable) (promql.Vector, error) { return v, nil }
}

// BenchmarkEvaluate is what our part of an evaluation costs: 10,000 series recorded, and 10,000 alerts with a label and an annotation.
func BenchmarkEvaluate(b *testing.B) {
	for name, text := range map[string]string{
		"recording": `{rules: [{record: r, expr: x}]}`,
		"alerting":  `{rules: [{alert: A, expr: x, for: 1m, labels: {sev: page}, annotations: {s: "{{ $labels.instance }}: {{ $value | humanize }}"}}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			g, ask := rules.Prepare(parseGroup(b, "g", text), rules.Surroundings{}), many()
			at := start
			out := g.Evaluate(b.Context(), ask, time.Now, nil, at)
			for b.Loop() {
				at = at.Add(time.Minute)
				out = g.Evaluate(b.Context(), ask, time.Now, out.Progress, at)
			}
		})
	}
}

// BenchmarkCommit is what it costs to claim and store such a group.
func BenchmarkCommit(b *testing.B) {
	pool := pgtest.New(b)
	s, org := store.New(pool), tenant.OrgID{UUID: uuid.New()}
	if _, err := pool.Exec(b.Context(), `insert into organisations (id, name) values ($1, 'o')`, org.UUID); err != nil {
		b.Fatal(err)
	}
	g := parseGroup(b, "g", `{rules: [{record: r, expr: x}, {alert: A, expr: x, for: 1000h}]}`)
	if _, err := s.PutRuleGroup(b.Context(), org, g, start); err != nil {
		b.Fatal(err)
	}
	out := rules.Prepare(g, rules.Surroundings{}).Evaluate(b.Context(), many(), time.Now, nil, start)
	same := false
	for b.Loop() {
		claims, err := s.ClaimRuleGroups(b.Context(), start.Add(time.Hour), 1, time.Minute)
		if err != nil || len(claims) != 1 {
			b.Fatal(claims, err)
		}
		e := rule.Evaluated{Claim: claims[0], At: start, Next: start, Progress: out.Progress, SameSeries: same}
		if stored, err := s.CommitRuleGroup(b.Context(), org, e); !stored || err != nil {
			b.Fatal(stored, err)
		}
		same = true
	}
}
