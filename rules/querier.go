package rules

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// Querier asks an organisation's series. Safe for concurrent use.
type Querier interface {
	Query(ctx context.Context, org tenant.OrgID, expr string, at time.Time) (promql.Vector, error)
}

// OverQuerier is a Querier that can lay samples over what is stored, so that a rule sees what the rules before it in its group have
// recorded. With a Querier that cannot, it sees that one interval later.
type OverQuerier interface {
	// QueryOver is Query; a nil over is nothing.
	QueryOver(ctx context.Context, org tenant.OrgID, expr string, at time.Time, over storage.Queryable) (promql.Vector, error)
}

// EngineQuerier asks the engine over an organisation's storage. It is an OverQuerier.
type EngineQuerier struct {
	Engine  promql.QueryEngine
	Storage func(org tenant.OrgID) storage.Queryable
}

// Query asks an expression that gives a vector or a scalar.
func (q EngineQuerier) Query(ctx context.Context, org tenant.OrgID, expr string, at time.Time) (promql.Vector, error) {
	return q.QueryOver(ctx, org, expr, at, nil)
}

// QueryOver is Query with samples laid over what is stored.
func (q EngineQuerier) QueryOver(ctx context.Context, org tenant.OrgID, expr string, at time.Time, over storage.Queryable) (promql.Vector, error) {
	stored := q.Storage(org)
	if over != nil {
		stored = laidOver{stored, over}
	}
	query, err := q.Engine.NewInstantQuery(ctx, stored, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	res := query.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	switch v := res.Value.(type) {
	case promql.Vector:
		return copied(v), nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V, Metric: labels.EmptyLabels()}}, nil
	default:
		return nil, errors.New("rule result is not a vector or scalar")
	}
}

// copied outlives its query, which takes the vector back when it is closed.
func copied(v promql.Vector) promql.Vector {
	out := make(promql.Vector, len(v))
	for i, s := range v {
		if s.H != nil {
			s.H = s.H.Copy()
		}
		s.Metric = s.Metric.Copy()
		out[i] = s
	}
	return out
}

// laidOver is a storage with some samples more. Those that are stored go before those of the same series and instant.
type laidOver struct{ stored, over storage.Queryable }

// Querier returns a querier of both.
func (l laidOver) Querier(mint, maxt int64) (storage.Querier, error) {
	first, err := l.stored.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	second, err := l.over.Querier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	return storage.NewMergeQuerier([]storage.Querier{first, second}, nil, storage.ChainedSeriesMerge), nil
}
