package samples

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// ErrLimit is wrapped by the error of a query that asks for more than the Options allow.
var ErrLimit = errors.New("the query asks for too much at once")

// Options bound what a query may bring into memory. 0 is the default.
type Options struct {
	MaxSeries  int // of one selector; default 100,000
	MaxLabels  int // names or values of one look-up; default 100,000
	MaxSamples int // of all selectors; default 50 million: as many as a Prometheus loads for a query; a float takes 16 bytes
}

func (o Options) withDefaults() Options {
	if o.MaxSeries == 0 {
		o.MaxSeries = 100_000
	}
	if o.MaxLabels == 0 {
		o.MaxLabels = 100_000
	}
	if o.MaxSamples == 0 {
		o.MaxSamples = 50_000_000
	}
	return o
}

// Store reads what a Writer wrote. Safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	options Options
}

// NewStore makes a store.
func NewStore(pool *pgxpool.Pool, o Options) *Store {
	return &Store{pool: pool, options: o.withDefaults()}
}

// Queryable is the storage of one organisation: whatever is asked of it, nothing of another comes out.
func (s *Store) Queryable(org tenant.OrgID) storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		q := &querier{store: s, org: org, mint: mint, maxt: maxt}
		q.left.Store(int64(s.options.MaxSamples))
		return q, nil
	})
}

// Metadata returns what is known of metrics by their names: of one, or, where metric is empty, of at most limit; 0: of all.
func (s *Store) Metadata(ctx context.Context, org tenant.OrgID, metric string, limit int) (map[string][]series.Metadata, error) {
	if !storable(metric) {
		return map[string][]series.Metadata{}, nil
	}
	rows, err := s.pool.Query(ctx, `
		select name, type, help, unit from series_metadata
		where org_id = $1 and ($2 = '' or name = $2)
		order by name limit nullif($3::bigint, 0)`, org.UUID, metric, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("read the metadata of metrics: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[series.Metadata])
	if err != nil {
		return nil, fmt.Errorf("read the metadata of metrics: %w", err)
	}
	all := make(map[string][]series.Metadata, len(list))
	for _, m := range list {
		all[m.Name] = []series.Metadata{m}
	}
	return all, nil
}
