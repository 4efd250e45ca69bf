package promapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"
)

// query is an instant query.
func (a *API) query(ctx context.Context, r *request) (*answer, error) {
	at, err := timeOr(r.form, "time", a.clock())
	if err != nil {
		return nil, err
	}
	opts, err := optionsOf(r)
	if err != nil {
		return nil, err
	}
	q, err := a.engine.NewInstantQuery(ctx, a.queryable(ctx, r.org), opts, r.form.Get("query"), at)
	if err != nil {
		return nil, badParameter("query", err)
	}
	return a.answerQuery(ctx, r, q)
}

// maxSteps is how many steps a range query may make: a week at 60 s, a year at 1 h.
const maxSteps = 11_000

// queryRange is a range query.
func (a *API) queryRange(ctx context.Context, r *request) (*answer, error) {
	start, err := parseTime(r.form.Get("start"))
	if err != nil {
		return nil, badParameter("start", err)
	}
	end, err := parseTime(r.form.Get("end"))
	if err != nil {
		return nil, badParameter("end", err)
	}
	if err := notAfter(start, end); err != nil {
		return nil, badParameter("end", err)
	}
	step, err := parseDuration(r.form.Get("step"))
	if err == nil && step < time.Millisecond { // the engine counts in milliseconds
		err = errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer")
	}
	if err != nil {
		return nil, badParameter("step", err)
	}
	if end.Sub(start)/step > maxSteps {
		return nil, badData(errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"))
	}
	opts, err := optionsOf(r)
	if err != nil {
		return nil, err
	}
	q, err := a.engine.NewRangeQuery(ctx, a.queryable(ctx, r.org), opts, r.form.Get("query"), start, end, step)
	if err != nil {
		return nil, badParameter("query", err)
	}
	return a.answerQuery(ctx, r, q)
}

// optionsOf reads how the engine is to evaluate.
func optionsOf(r *request) (promql.QueryOpts, error) {
	var lookback time.Duration
	if v := r.form.Get("lookback_delta"); v != "" {
		d, err := parseDuration(v)
		if err != nil {
			return nil, badData(fmt.Errorf("error parsing lookback delta duration: %w", err))
		}
		lookback = d
	}
	return promql.NewPrometheusQueryOpts(false, lookback, nil), nil
}

// answerQuery evaluates, and answers.
func (a *API) answerQuery(ctx context.Context, r *request, q promql.Query) (*answer, error) {
	limit, err := limitOf(r.form)
	if err != nil {
		q.Close()
		return nil, err
	}
	res := a.exec(ctx, r.org, q)
	if res.Err != nil {
		q.Close()
		return nil, res.Err
	}
	warnings := res.Warnings
	value, cut := truncate(res.Value, limit)
	if cut {
		warnings = truncated(warnings)
	}
	statistics, err := statsOf(r, q)
	if err != nil {
		q.Close()
		return nil, err
	}
	return &answer{
		warnings: warnings, query: r.form.Get("query"), close: q.Close,
		data: func(j *jsonWriter) {
			j.raw(`{"resultType":`)
			j.string(string(value.Type()))
			j.raw(`,"result":`)
			j.value(value)
			if statistics != nil {
				j.raw(`,"stats":`)
				j.b = append(j.b, statistics...)
			}
			j.raw("}")
		},
	}, nil
}

// statsOf are the engine's statistics, where they are asked for.
func statsOf(r *request, q promql.Query) ([]byte, error) {
	if r.form.Get("stats") == "" {
		return nil, nil
	}
	b, err := json.Marshal(stats.NewQueryStats(q.Stats()))
	if err != nil {
		return nil, fmt.Errorf("writing statistics: %w", err)
	}
	return b, nil
}

// truncate leaves the first series; 0 leaves all.
func truncate(v parser.Value, limit int) (parser.Value, bool) {
	if limit == 0 {
		return v, false
	}
	switch x := v.(type) {
	case promql.Matrix:
		if len(x) > limit {
			return x[:limit], true
		}
	case promql.Vector:
		if len(x) > limit {
			return x[:limit], true
		}
	}
	return v, false
}

func truncated(w annotations.Annotations) annotations.Annotations {
	return w.Add(errors.New("results truncated due to limit"))
}

// queryExemplars finds none: nothing here has exemplars.
func (a *API) queryExemplars(_ context.Context, r *request) (*answer, error) {
	if _, _, err := a.windowOf(r.form); err != nil {
		return nil, err
	}
	if _, err := a.parser.ParseExpr(r.form.Get("query")); err != nil {
		return nil, badData(err)
	}
	return &answer{data: func(j *jsonWriter) { j.raw("[]") }}, nil
}

// formatQuery writes an expression as Prometheus would.
func (a *API) formatQuery(_ context.Context, r *request) (*answer, error) {
	e, err := a.parser.ParseExpr(r.form.Get("query"))
	if err != nil {
		return nil, badParameter("query", err)
	}
	return &answer{data: func(j *jsonWriter) { j.string(e.Pretty(0)) }}, nil
}

// parseQuery shows the tree of an expression.
func (a *API) parseQuery(_ context.Context, r *request) (*answer, error) {
	e, err := a.parser.ParseExpr(r.form.Get("query"))
	if err != nil {
		return nil, badParameter("query", err)
	}
	return &answer{data: func(j *jsonWriter) { j.any(tree(e)) }}, nil
}
