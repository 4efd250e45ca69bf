package samples_test

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

func is(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, name, value)
}

func not(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchNotEqual, name, value)
}

func like(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchRegexp, name, value)
}

func unlike(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchNotRegexp, name, value)
}

// query is one call of Select; its answer is a line for each series.
type query struct {
	from, to float64 // seconds from base
	hints    *storage.SelectHints
	matchers []*labels.Matcher
}

func (q query) run(t testing.TB, store *samples.Store, org tenant.OrgID) ([]string, error) {
	t.Helper()
	querier, err := store.Queryable(org).Querier(int64(step(q.from)), int64(step(q.to)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = querier.Close() }()
	set := querier.Select(ctxFor(t), true, q.hints, q.matchers...)
	var lines []string
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		var line strings.Builder
		line.WriteString(s.Labels().String())
		it = s.Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			fmt.Fprintf(&line, " %v=", (float64(it.AtT())-base())/1000)
			switch kind {
			case chunkenc.ValFloat:
				_, v := it.At()
				if math.Float64bits(v) == stale {
					line.WriteString("stale")
				} else {
					fmt.Fprint(&line, v)
				}
			default:
				_, h := it.AtFloatHistogram(nil)
				line.WriteString(h.String())
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		lines = append(lines, line.String())
	}
	return lines, set.Err()
}

func check(t *testing.T, store *samples.Store, org tenant.OrgID, q query, want ...string) {
	t.Helper()
	got, err := q.run(t, store, org)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%v from %v to %v:\n%s", q.matchers, q.from, q.to, d)
	}
}

// eachLayout runs f with what was written as rows, and packed or compressed.
func eachLayout(t *testing.T, l *topic, f func(t *testing.T, pool *pgxpool.Pool)) {
	t.Helper()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		feed(t, newWriter(pool), l)
		t.Run("rows", func(t *testing.T) { f(t, pool) })
		settle(t, pool, l.now.Add(24*time.Hour))
		t.Run("packed", func(t *testing.T) { f(t, pool) })
	})
}

// settle packs or compresses everything, as upkeep and policies will have done at that time.
func settle(t *testing.T, pool *pgxpool.Pool, now time.Time) {
	t.Helper()
	var level string
	if err := pool.QueryRow(ctxFor(t), `select tokiflow_level()`).Scan(&level); err != nil {
		t.Fatal(err)
	}
	if level == "community" { // by the policy; all of these tests' samples are old by the clock of the machine
		exec(t, pool, fmt.Sprintf(`call run_job(%d)`, count(t, pool, `select job_id from timescaledb_information.jobs
			where hypertable_name = 'samples' and proc_name in ('policy_compression', 'policy_columnstore')`)))
		if n := count(t, pool, `select count(*) from timescaledb_information.chunks where hypertable_name = 'samples' and not is_compressed`); n != 0 {
			t.Errorf("%d chunks are not compressed", n)
		}
		return
	}
	u, err := samples.NewUpkeep(pool, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Once(ctxFor(t), now); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, `select count(*) from samples`); n != 0 {
		t.Errorf("%d rows are not packed", n)
	}
}
