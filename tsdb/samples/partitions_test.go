package samples_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// Partitions are written at once, each by its goroutine, and describe the same metrics, without standing in each other's way.
func TestPartitionsAtOnce(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		const partitions, records, hosts, metrics = 4, 30, 20, 50
		w := newWriter(pool)
		ctx := context.WithoutCancel(t.Context())
		var wg sync.WaitGroup
		for p := range partitions {
			wg.Go(func() {
				if err := writePartition(ctx, w, p, records, hosts, metrics); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for sql, want := range map[string]int64{
			`select count(*) from samples`:                             partitions * records * hosts,
			`select count(distinct (series_id, at)) from samples`:      partitions * records * hosts,
			`select count(*) from series`:                              partitions * hosts,
			`select count(*) from series_metadata where help = 'last'`: metrics,
			`select sum(next_offset)::bigint from log_offsets`:         partitions * (records + 1),
		} {
			if n := count(t, pool, sql); n != want {
				t.Errorf("%s: %d, want %d", sql, n, want)
			}
		}
	})
}

// writePartition writes records of some hosts, and restarts at each seventh.
func writePartition(ctx context.Context, w *samples.Writer, partition, records, hosts, metrics int) error {
	describe := func(help string) (all []series.Metadata) {
		for m := range metrics {
			all = append(all, series.Metadata{Name: fmt.Sprint("metric_", (m*7+partition*13)%metrics), Help: help})
		}
		return all
	}
	l := newTopic()
	for n := range records {
		var list []series.Series
		for h := range hosts {
			list = append(list, up(fmt.Sprint(partition, h), step(float64(n)), float64(n)))
		}
		l.add(record.AppendSamples(nil, org(1), list, describe(fmt.Sprint(partition, n))))
	}
	l.add(record.AppendSamples(nil, org(1), nil, describe("last")))
	for n := 0; n < len(l.recs); n++ {
		if n%7 == 0 || n == len(l.recs)-1 {
			w.Revoked(partition)
			offset, err := w.Assigned(ctx, partition)
			if err != nil {
				return err
			}
			n = int(offset)
		}
		last := n == len(l.recs)-1
		if err := w.Batch(ctx, partition, l.recs[n:n+1], last); err != nil {
			return err
		}
	}
	return nil
}
