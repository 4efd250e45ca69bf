package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Query evaluates an expression at an instant, as a rule does: a scalar is a vector of one sample without labels. Errors of
// the expression, its limits and its time are told as Prometheus tells them. The caller may keep and change what it gets.
func (a *API) Query(ctx context.Context, org tenant.OrgID, expr string, at time.Time) (promql.Vector, error) {
	q, err := a.engine.NewInstantQuery(ctx, a.queryable(ctx, org), nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	r := a.exec(ctx, org, q)
	if r.Err != nil {
		return nil, r.Err
	}
	switch v := r.Value.(type) {
	case promql.Vector:
		for i := range v {
			if v[i].H != nil {
				v[i].H = v[i].H.Copy() // the engine uses what a closed query held again
			}
		}
		return v, nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
	default:
		return nil, fmt.Errorf("the expression is a %s: a vector or a scalar is wanted", r.Value.Type())
	}
}

// exec runs a query, and logs it where it was slow.
func (a *API) exec(ctx context.Context, org tenant.OrgID, q promql.Query) *promql.Result {
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()
	began := a.clock()
	r := q.Exec(ctx)
	took := a.clock().Sub(began)
	samples := q.Stats().Samples
	a.metrics.samples.Add(float64(samples.TotalSamples))
	if took >= a.limits.SlowQuery {
		const most = 1000
		text := q.String()
		if len(text) > most {
			text = text[:most] + "…"
		}
		a.logger.LogAttrs(ctx, slog.LevelWarn, "slow query", slog.String("org", org.String()), slog.String("query", text),
			slog.Duration("took", took), slog.Int64("samples", samples.TotalSamples), slog.Any("error", r.Err))
	}
	return r
}

// admit waits until the organisation may have one more request at work. The caller must call leave.
func (a *API) admit(ctx context.Context, org tenant.OrgID) (leave func(), err error) {
	leave, err = a.gates.enter(ctx, org)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &apiError{kind: errTimeout, message: fmt.Sprintf(
			"the query waited for its turn until its time was over: the limit is %d queries at once in an organisation: ask fewer at a time, or try again",
			a.limits.MaxConcurrent)}
	}
	if err != nil {
		return nil, &apiError{kind: errCanceled, message: "the query was canceled while it waited for its turn", cause: err}
	}
	return leave, nil
}
