package ruletest

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

func FuzzTestFile(f *testing.F) {
	f.Add([]byte("rule_files: [a]\ntests: [{input_series: [{series: 'x{a=\"b\"}', values: '1+1x5 _ stale'}], start_timestamp: 2024-01-01T00:00:00Z}]"))
	f.Add([]byte("tests:\n  - alert_rule_test: [{eval_time: 1m, alertname: A, exp_alerts: [{exp_labels: {a: b}}]}]\n    promql_expr_test: [{expr: x, eval_time: 0, exp_samples: [{labels: x, value: NaN, histogram: '{{count:1}}'}]}]"))
	f.Add([]byte("tests: [null]\nevaluation_interval: 0s\nfuzzy_compare: true"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := parse(content)
		if err != nil {
			return
		}
		for i := range file.Tests {
			p := parser.NewParser(parser.Options{})
			for _, s := range file.Tests[i].InputSeries {
				if len(s.Values) > 50 {
					return // 1x1000000000 is the user's own affair
				}
			}
			b := newBench(&file.Tests[i], nil, nil, time.Minute, file.FuzzyCompare, p)
			for _, e := range file.Tests[i].ExprTests {
				for _, s := range e.Expected {
					_, _ = b.expected(s)
				}
			}
			_ = b.engine.Close()
		}
	})
}
