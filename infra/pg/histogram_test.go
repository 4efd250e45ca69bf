package pg_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func TestHistogramEntry(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	f := func(seconds string, bucket any) {
		t.Helper()
		var got *int
		if err := pool.QueryRow(t.Context(), `select tokiflow_histogram_entry(`+seconds+`)`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want, ok := bucket.(int); got == nil && ok || got != nil && *got != want<<21+1 {
			t.Errorf("%s: %v, want bucket %v", seconds, got, bucket)
		}
	}
	f("null", nil)
	f("0", 0)
	f("-1", 0)
	f("1e-6", 0)
	f("1.0000001e-6", 1)
	f("1.04e-6", 1)
	f("1", 284) // ⌈ln 10^6 / ln 1.05⌉
	f("3600", 451)
	f("1e15", 992)
	f("1e16", 1023)
	f("'infinity'", 1023)
	f("'nan'", 1023) // greater than all, says PostgreSQL

	// A function that is called for each row would make the aggregates several times as slow.
	rows, err := pool.Query(t.Context(), `explain (verbose, costs off)
		select tokiflow_histogram_entry(duration_seconds), time_bucket('1 hour', finished_at) from runs`)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(plan, "\n"); strings.Contains(s, "tokiflow_histogram_entry") || strings.Contains(s, "time_bucket") {
		t.Errorf("not put in their places:\n%s", s)
	}
}
