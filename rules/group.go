package rules

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/rules/memory"
)

// Query asks an expression for the instant at. What the rules before it in the group have just given is offered as recorded, nil where
// that is nothing: who can lays it over what is stored.
type Query func(ctx context.Context, expr string, at time.Time, recorded storage.Queryable) (promql.Vector, error)

// Surroundings are what templates may speak of beside the alert itself.
type Surroundings struct {
	ExternalLabels map[string]string
	ExternalURL    string
	MaxResults     int // series or alerts of one rule whose group has no limit; 0: none
}

// Group is a group of rules ready to be evaluated. It holds no state. Safe for concurrent use.
type Group struct {
	rule.Group
	around Surroundings
	url    *url.URL
	rules  []prepared

	written bool // it asks for series that others write
}

type prepared struct {
	rule.Definition
	labels      []series.Label // of rule and group; may be templates
	labelTexts  []text
	annotations []text
}

// Prepare makes a group ready. It does not look at the expressions: they are asked as they stand.
func Prepare(g rule.Group, around Surroundings) *Group {
	out := &Group{Group: g, around: around, url: &url.URL{}, written: asksForWritten(g)}
	if u, err := url.Parse(around.ExternalURL); err == nil {
		out.url = u
	}
	for _, d := range g.Rules {
		p := prepared{Definition: d, labels: g.LabelsOf(d)}
		if d.Kind() == rule.Alerting {
			for _, l := range p.labels {
				p.labelTexts = append(p.labelTexts, newText(l.Name, l.Value, d.Alert))
			}
			var annotations []series.Label
			for k, v := range d.Annotations {
				annotations = append(annotations, series.Label{Name: k, Value: v})
			}
			series.Sort(annotations)
			for _, a := range annotations {
				p.annotations = append(p.annotations, newText(a.Name, a.Value, d.Alert))
			}
		}
		out.rules = append(out.rules, p)
	}
	return out
}

// Change is an alert's change of state, and the expression that led to it.
type Change struct {
	rule.Change
	Rule string // the name of its rule
	Expr string // empty: the rule is no longer there
}

// Outcome is what one evaluation of a group gave.
type Outcome struct {
	Progress []rule.Progress // of each rule, in order
	Changes  []Change
	Samples  []series.Series // to be stored: recorded series, those of alerts, and staleness markers
	Errors   []error         // of each rule, in order; nil: it went well
}

// Evaluate evaluates the rules in order for the instant at. before is the progress that the evaluation before it left; that of rules
// which are no longer in the group ends here. A rule that fails keeps its progress but for its health. clock times the rules.
func (g *Group) Evaluate(ctx context.Context, query Query, clock func() time.Time, before []rule.Progress, at time.Time) Outcome {
	found, left := rule.Split(g.Group, before)
	e := &evaluation{group: g, query: query, at: at, asked: at.Add(-g.Offset()), given: map[string]int{}}
	for i := range g.rules {
		began := clock()
		p, err := e.rule(ctx, &g.rules[i], found[i])
		p.Evaluated, p.Took = began, clock().Sub(began)
		p.Health, p.LastError = rule.Good, ""
		if err != nil {
			p.Health, p.LastError = rule.Bad, bounded(err.Error())
		}
		e.out.Progress = append(e.out.Progress, p)
		e.out.Errors = append(e.out.Errors, err)
	}
	for _, p := range left {
		for _, c := range rule.Dismiss(p.Alerts, at) {
			e.out.Changes = append(e.out.Changes, Change{Change: c, Rule: p.Name})
		}
		for _, l := range p.SeriesOf() {
			e.end(l)
		}
	}
	return e.out
}

// evaluation is one evaluation of a group under way.
type evaluation struct {
	group *Group
	query Query
	at    time.Time       // its instant
	asked time.Time       // what the expressions are asked for: the instant less the group's offset
	given map[string]int  // where in out.Samples a series is, by key
	over  *memory.Storage // out.Samples, to be asked; nil: there are none
	out   Outcome

	results    int // of the rules so far
	alertBytes int // of labels and annotations of their alerts
}

// ask asks an expression, over what the rules before have given.
func (e *evaluation) ask(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	if e.over == nil {
		return e.query(ctx, expr, at, nil)
	}
	return e.query(ctx, expr, at, e.over)
}

// add takes one series into the outcome, or puts it in the place of its staleness marker.
func (e *evaluation) add(s series.Series, key string) {
	if e.over == nil {
		e.over = memory.New()
	}
	if i, there := e.given[key]; there {
		e.out.Samples[i] = s
	} else {
		e.given[key] = len(e.out.Samples)
		e.out.Samples = append(e.out.Samples, s)
	}
	_ = e.over.Replace(s) // it was made a moment ago, so it can be read
}

// rule evaluates one rule and returns its progress. With an error that is the old one.
func (e *evaluation) rule(ctx context.Context, r *prepared, before rule.Progress) (rule.Progress, error) {
	vector, err := e.ask(ctx, r.Expr, e.asked)
	if err != nil {
		return before, err
	}
	after := before
	var samples []series.Series
	if r.Kind() == rule.Recording {
		samples, err = e.record(r, vector)
	} else {
		samples, err = e.alert(ctx, r, vector, &after)
	}
	if err != nil {
		return before, err
	}
	if r.Kind() == rule.Recording {
		after.Series = make([][]series.Label, len(samples))
		for i := range samples {
			after.Series[i] = samples[i].Labels
		}
		slices.SortFunc(after.Series, rule.Compare) // so that the same series are stored as the same
	}
	e.results += len(vector)
	e.give(samples)
	here := make(map[string]bool, len(samples))
	for i := range samples {
		here[rule.Key(samples[i].Labels)] = true
	}
	for _, l := range before.SeriesOf() {
		if !here[rule.Key(l)] {
			e.end(l)
		}
	}
	return after, nil
}

// give takes samples into the outcome. Of two of the same series the first counts, as it does in storage, unless it is a marker.
func (e *evaluation) give(samples []series.Series) {
	for _, s := range samples {
		k := rule.Key(s.Labels)
		if i, twice := e.given[k]; !twice || isMarker(e.out.Samples[i]) {
			e.add(s, k)
		}
	}
}

// end marks a series as stale, unless another rule goes on giving it.
func (e *evaluation) end(l []series.Label) {
	k := rule.Key(l)
	if _, goesOn := e.given[k]; !goesOn {
		e.add(series.Series{Labels: l, Floats: []series.Float{{At: e.asked.UnixMilli(), Value: stale()}}}, k)
	}
}

func isMarker(s series.Series) bool { return len(s.Floats) == 1 && value.IsStaleNaN(s.Floats[0].Value) }
