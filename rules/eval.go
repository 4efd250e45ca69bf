package rules

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
)

// Bounds of all rules of a group together, for what they give is held, and stored, with each evaluation: labels and annotations of
// its alerts, and how many times the most results of one rule all may give.
const (
	maxAlertBytes = 16 << 20
	maxFullRules  = 10
)

var errDuplicateSeries = errors.New("vector contains metrics with the same labelset after applying rule labels")

func stale() float64 { return math.Float64frombits(value.StaleNaN) }

// record makes the samples of a recording rule of what its expression gave.
func (e *evaluation) record(r *prepared, vector promql.Vector) ([]series.Series, error) {
	if err := e.within(len(vector), "series"); err != nil {
		return nil, err
	}
	at := e.asked.UnixMilli()
	seen := make(map[string]bool, len(vector))
	out := make([]series.Series, 0, len(vector))
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, s := range vector {
		b.Reset(s.Metric)
		b.Set(series.NameLabel, r.Record)
		for _, l := range r.labels {
			b.Set(l.Name, l.Value)
		}
		made := series.Series{Labels: labelsOf(b.Labels())}
		k := rule.Key(made.Labels)
		if seen[k] {
			return nil, errDuplicateSeries
		}
		seen[k] = true
		if s.H == nil {
			made.Floats = []series.Float{{At: at, Value: s.F}}
		} else {
			h := prompb.FromFloatHistogram(at, s.H)
			data, err := h.Marshal()
			if err != nil {
				return nil, fmt.Errorf("a histogram cannot be stored: %w", err)
			}
			made.Histograms = []series.Histogram{{At: at, Data: data}}
		}
		out = append(out, made)
	}
	return out, nil
}

// within holds a number of series or alerts to the group's limit, or else to that of the installation.
func (e *evaluation) within(n int, what string) error {
	if limit := e.limit(); limit > 0 && n > limit {
		return fmt.Errorf("exceeded limit of %d with %d %s", limit, n, what)
	}
	if most := maxFullRules * e.group.around.MaxResults; most > 0 && e.results+n > most {
		return fmt.Errorf("exceeded limit of %d of all rules of a group with %d %s more", most, n, what)
	}
	return nil
}

func (e *evaluation) limit() int {
	own, most := e.group.Limit, e.group.around.MaxResults
	if own > 0 && (most == 0 || own < most) {
		return own
	}
	return most
}

// alert takes an alerting rule's alerts on by what its expression gave, and makes the samples of those that are active.
func (e *evaluation) alert(ctx context.Context, r *prepared, vector promql.Vector, p *rule.Progress) ([]series.Series, error) {
	if limit := e.group.around.MaxResults; limit > 0 && (len(vector) > limit || e.results+len(vector) > maxFullRules*limit) {
		return nil, e.within(len(vector), "alerts") // before a template is expanded for each
	}
	s := scene{rule: r.Alert, at: e.at, externalURL: e.group.url, query: e.ask}
	results, size := make([]rule.Result, 0, len(vector)), e.alertBytes
	for _, v := range vector {
		res := e.result(ctx, r, s, v)
		results = append(results, res)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("the evaluation took too long: %w", err)
		}
		for _, l := range append(res.Labels, res.Annotations...) {
			size += len(l.Name) + len(l.Value)
		}
		if size > maxAlertBytes {
			return nil, fmt.Errorf("labels and annotations of the group's alerts exceed %d MiB", maxAlertBytes>>20)
		}
	}
	machine := rule.Rule{For: r.For, KeepFiringFor: r.KeepFiringFor, Limit: e.limit()}
	alerts, changes, err := machine.Next(p.Alerts, results, e.at)
	if err != nil {
		return nil, err
	}
	p.Alerts = alerts
	e.alertBytes = size
	for _, c := range changes {
		e.out.Changes = append(e.out.Changes, Change{Change: c, Rule: r.Alert, Expr: r.Expr})
	}
	var out []series.Series
	for _, a := range alerts {
		if a.Active() {
			two := rule.Samples(a, r.Alert, r.labels, e.asked.UnixMilli())
			out = append(out, two[:]...)
		}
	}
	return out, nil
}

// result puts the rule's labels and annotations on an element of the vector.
func (e *evaluation) result(ctx context.Context, r *prepared, s scene, v promql.Sample) rule.Result {
	data := template.AlertTemplateData(v.Metric.Map(), e.group.around.ExternalLabels, e.group.around.ExternalURL, v)
	b := labels.NewBuilder(v.Metric)
	b.Del(series.NameLabel)
	for _, t := range r.labelTexts {
		b.Set(t.name, s.expand(ctx, t, data))
	}
	b.Set(labels.AlertName, r.Alert)
	out := rule.Result{Labels: labelsOf(b.Labels()), Value: v.F}
	for i := range out.Labels { // they come from what others have written, and go where a NUL cannot
		out.Labels[i].Name, out.Labels[i].Value = bounded(out.Labels[i].Name), bounded(out.Labels[i].Value)
	}
	for _, t := range r.annotations {
		out.Annotations = append(out.Annotations, series.Label{Name: t.name, Value: s.expand(ctx, t, data)})
	}
	return out
}

func labelsOf(l labels.Labels) []series.Label {
	out := make([]series.Label, 0, l.Len())
	l.Range(func(l labels.Label) { out = append(out, series.Label{Name: l.Name, Value: l.Value}) })
	return out
}
