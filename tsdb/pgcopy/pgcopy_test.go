package pgcopy_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

type row struct {
	Small *int16
	Big   int64
	Bits  uint64
	ID    uuid.UUID
	At    time.Time
	Milli time.Time
	Data  []byte
	Text  string
}

func TestRowsAreWhatPostgreSQLReads(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `create temp table t (small smallint, big bigint, f double precision, id uuid, at timestamptz, milli timestamptz,
		data bytea, text text)`); err != nil {
		t.Fatal(err)
	}
	small := int16(-7)
	stale := math.Float64frombits(0x7ff0000000000002)
	at := time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	milli := time.Date(2026, 11, 23, 1, 2, 3, 4_000_000, time.UTC)
	var r pgcopy.Rows
	for range 2 { // what was there before Begin is gone
		r.Begin()
		r.Row(8)
		r.Int16(small)
		r.Int64(math.MinInt64)
		r.Float(stale)
		r.UUID(uuid.UUID{1, 15: 2})
		r.Time(at)
		r.Millis(milli.UnixMilli())
		r.Bytes([]byte("a\x00\xff"))
		r.Text("µ\x00\xff")
		r.Row(8)
		for range 8 {
			r.Null()
		}
	}
	if r.Len() != 2 || r.Size() < 100 {
		t.Errorf("%d rows of %d bytes", r.Len(), r.Size())
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(r.End()), `copy t from stdin (format binary)`)
	if err != nil || tag.RowsAffected() != 2 {
		t.Fatal(tag, err)
	}
	var got row
	var f float64
	err = tx.QueryRow(ctx, `select * from t where big is not null`).Scan(&got.Small, &got.Big, &f, &got.ID, &got.At, &got.Milli, &got.Data, &got.Text)
	if err != nil {
		t.Fatal(err)
	}
	got.Bits = math.Float64bits(f)
	want := row{&small, math.MinInt64, 0x7ff0000000000002, uuid.UUID{1, 15: 2}, at, milli, []byte("a\x00\xff"), "µ\uFFFD\uFFFD"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	rows, err := tx.Query(ctx, `select num_nulls(small, big, f, id, at, milli, data, text) from t where big is null`)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int]); err != nil || n != 8 {
		t.Errorf("%d nulls, %v; want 8", n, err)
	}
}

func TestBeginLetsGreatMemoryGo(t *testing.T) {
	var r pgcopy.Rows
	r.Begin()
	r.Row(1)
	r.Bytes(make([]byte, 40<<20))
	r.Begin()
	if r.Len() != 0 || r.Size() != 19 {
		t.Errorf("%d rows, %d bytes after Begin", r.Len(), r.Size())
	}
	if n := testing.AllocsPerRun(10, func() {
		r.Begin()
		for range 1000 {
			r.Row(1)
			r.Int64(1)
		}
	}); n != 0 {
		t.Errorf("%v allocations for rows that fit", n)
	}
}
