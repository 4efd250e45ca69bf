package pg_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// seriesColumns are what every level must offer; of the stored buckets, written_in is the roll-up's own.
const seriesColumns = `
	select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
	from pg_class c join pg_attribute a on a.attrelid = c.oid
	where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped
	  and not (a.attname = 'written_in' and c.relname like '%\_stored')
	  and c.relname in ('pings', 'runs', 'transitions', 'runs_hourly', 'runs_daily', 'runs_weekly', 'availability_daily',
	                    'runs_hourly_stored', 'runs_daily_stored', 'runs_weekly_stored', 'availability_daily_stored')
	order by c.relname, a.attnum`

func columns(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), seriesColumns)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLevelsHaveTheSameNamesAndColumns(t *testing.T) {
	t.Parallel()
	want := columns(t, pgtest.New(t))
	if len(want) != 189 {
		t.Errorf("%d columns; this test knows 189:\n%s", len(want), cmp.Diff(nil, want))
	}
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		if d := cmp.Diff(want, columns(t, pool)); d != "" {
			t.Error(d)
		}
	})
}

func TestDetectLevels(t *testing.T) {
	t.Parallel()
	want := map[string]pg.Level{"plain": pg.Plain, "apache": pg.Apache, "community": pg.Community}
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		f, err := pg.Detect(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", f)
		for name, level := range want {
			if t.Name() == "TestDetectLevels/"+name && (f.Schema != level || !f.Migrated) {
				t.Errorf("schema at %v, want %v", f.Schema, level)
			}
		}
	})
}
