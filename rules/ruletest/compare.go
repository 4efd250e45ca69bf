package ruletest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// compareAlerts holds the alerts that fire after the evaluation for the instant against what is expected from then until the next.
func (b *bench) compareAlerts(at time.Time) (errs []error) {
	tests := slices.Clone(b.test.AlertRuleTests)
	slices.SortStableFunc(tests, func(x, y alertTest) int { return int(x.EvalTime/1e6) - int(y.EvalTime/1e6) })
	for _, t := range tests {
		if when := b.from.Add(time.Duration(t.EvalTime)); when.Before(at) || !when.Before(at.Add(b.interval)) {
			continue
		}
		want := make([]string, 0, len(t.Expected))
		for _, a := range t.Expected {
			l := map[string]string{labels.AlertName: t.Alertname}
			for k, v := range a.Labels {
				if k != labels.AlertName {
					l[k] = v
				}
			}
			want = append(want, alertText(labels.FromMap(l), labels.FromMap(a.Annotations)))
		}
		got := b.firing(t.Alertname)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			errs = append(errs, fmt.Errorf("alertname: %s, time: %s,\n    exp: %s\n    got: %s", t.Alertname, t.EvalTime, listed(want), listed(got)))
		}
	}
	return errs
}

// firing are the alerts of that name that fire, as text.
func (b *bench) firing(name string) []string {
	out := []string{}
	for _, progress := range b.progress {
		for _, p := range progress {
			for _, a := range p.Alerts {
				if p.Kind == rule.Alerting && p.Name == name && a.State == rule.Firing {
					out = append(out, alertText(toLabels(a.Labels), toLabels(a.Annotations)))
				}
			}
		}
	}
	return out
}

func toLabels(l []series.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(l))
	for _, l := range l {
		b.Add(l.Name, l.Value)
	}
	return b.Labels()
}

func alertText(l, annotations labels.Labels) string {
	return "labels:" + l.String() + " annotations:" + annotations.String()
}

func listed(texts []string) string {
	if len(texts) == 0 {
		return "[]"
	}
	return "[\n        " + strings.Join(texts, "\n        ") + "\n    ]"
}

// valued is a sample to be compared.
type valued struct {
	labels    labels.Labels
	value     float64
	histogram string // as the notation of tests has it
}

func (v valued) String() string {
	if v.histogram != "" {
		return v.labels.String() + " " + v.histogram
	}
	return v.labels.String() + " " + strconv.FormatFloat(v.value, 'E', -1, 64)
}

func (b *bench) compareExpr(ctx context.Context, t exprTest) error {
	vector, err := b.querier.Query(ctx, tenant.OrgID{}, t.Expr, b.from.Add(time.Duration(t.EvalTime)))
	if err != nil {
		return fmt.Errorf("err: %w", err)
	}
	var got, want []valued
	for _, s := range vector {
		got = append(got, valued{s.Metric, s.F, expression(s.H)})
	}
	for _, s := range t.Expected {
		v, err := b.expected(s)
		if err != nil {
			return fmt.Errorf("err: labels %q: %w", s.Labels, err)
		}
		want = append(want, v)
	}
	byLabels := func(x, y valued) int { return labels.Compare(x.labels, y.labels) }
	slices.SortStableFunc(got, byLabels)
	slices.SortStableFunc(want, byLabels)
	if !slices.EqualFunc(want, got, b.same) {
		return fmt.Errorf("\n    exp: %v\n    got: %v", want, got)
	}
	return nil
}

func (b *bench) expected(s expectedSample) (valued, error) {
	l, err := b.parser.ParseMetric(s.Labels)
	if err != nil || s.Histogram == "" {
		return valued{labels: l, value: s.Value}, err
	}
	_, values, err := b.parser.ParseSeriesDesc("{} " + s.Histogram)
	switch {
	case err != nil:
		return valued{}, err
	case len(values) != 1:
		return valued{}, fmt.Errorf("expected 1 value, got %d", len(values))
	case values[0].Histogram == nil:
		return valued{}, errors.New("expected a histogram, got a number")
	}
	return valued{labels: l, value: s.Value, histogram: expression(values[0].Histogram)}, nil
}

func expression(h *histogram.FloatHistogram) string {
	if h == nil {
		return ""
	}
	return h.TestExpression()
}

func (b *bench) same(x, y valued) bool {
	near := x.value == y.value
	if b.fuzzy && !near {
		near = math.Nextafter(x.value, math.Inf(-1)) == y.value || math.Nextafter(x.value, math.Inf(1)) == y.value
	}
	return near && x.histogram == y.histogram && labels.Equal(x.labels, y.labels)
}
