package pg_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func commit(t *testing.T, pool *pgxpool.Pool, p pg.Position, next int64, clock string) error {
	t.Helper()
	return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return pg.Commit(t.Context(), tx, p, next, []byte(clock))
	})
}

func TestAcquireReturnsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()

	first, err := pg.Acquire(ctx, pool, "log", "tsdb", 3)
	if err != nil {
		t.Fatal(err)
	}
	want := pg.Position{LogID: "log", Consumer: "tsdb", Partition: 3, Epoch: 1, Offset: 0, Clock: []byte("{}")}
	if d := cmp.Diff(want, first); d != "" {
		t.Fatal(d)
	}
	if err := commit(t, pool, first, 42, `{"at": 7}`); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, pool, first, 43, `{"at": 8}`); err != nil {
		t.Fatalf("a holder commits as often as it likes: %v", err)
	}

	second, err := pg.Acquire(ctx, pool, "log", "tsdb", 3)
	if err != nil {
		t.Fatal(err)
	}
	want.Epoch, want.Offset, want.Clock = 2, 43, []byte(`{"at": 8}`)
	if d := cmp.Diff(want, second); d != "" {
		t.Fatal(d)
	}
}

func TestCommitIsFenced(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()
	old, err := pg.Acquire(ctx, pool, "log", "tsdb", 0)
	if err != nil {
		t.Fatal(err)
	}
	now, err := pg.Acquire(ctx, pool, "log", "tsdb", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit(t, pool, old, 10, "{}"); !errors.Is(err, pg.ErrFenced) {
		t.Fatalf("the former holder committed: %v", err)
	}
	if err := commit(t, pool, now, 5, "{}"); err != nil {
		t.Fatal(err)
	}
	if got, err := pg.Acquire(ctx, pool, "log", "tsdb", 0); err != nil || got.Offset != 5 {
		t.Fatalf("offset %d, %v; want 5", got.Offset, err)
	}
}

// A commit that is under way when the partition is taken over either counts for the new holder or fails; it never comes
// in behind the new holder's back.
func TestAcquireWaitsForACommitUnderWay(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()
	old, err := pg.Acquire(ctx, pool, "log", "tsdb", 0)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := pg.Commit(ctx, tx, old, 99, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	got := make(chan pg.Position)
	go func() {
		p, err := pg.Acquire(context.WithoutCancel(ctx), pool, "log", "tsdb", 0)
		if err != nil {
			t.Error(err)
		}
		got <- p
	}()
	for waiting := 0; waiting == 0; {
		if err := pool.QueryRow(ctx, `select count(*) from pg_locks where not granted and locktype = 'transactionid'
			and pid in (select pid from pg_stat_activity where datname = current_database())`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if p := <-got; p.Offset != 99 || p.Epoch != 2 {
		t.Fatalf("got %+v, want offset 99 in epoch 2", p)
	}
}

func TestCommittedMin(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()
	f := func(want int64, known bool, consumers ...string) {
		t.Helper()
		got, ok, err := pg.CommittedMin(ctx, pool, "log", 1, consumers...)
		if err != nil || got != want || ok != known {
			t.Fatalf("CommittedMin(%v) = %d, %v, %v; want %d, %v", consumers, got, ok, err, want, known)
		}
	}
	f(0, false)
	for consumer, next := range map[string]int64{"tsdb": 7, "evaluator": 4} {
		p, err := pg.Acquire(ctx, pool, "log", consumer, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := commit(t, pool, p, next, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pg.Acquire(ctx, pool, "log", "evaluator", 2); err != nil { // another partition says nothing of this one
		t.Fatal(err)
	}
	f(4, true)
	f(7, true, "tsdb")
	f(4, true, "tsdb", "evaluator")
	f(0, false, "tsdb", "evaluator", "export")
}

func TestCommittedAll(t *testing.T) {
	t.Parallel()
	pool, ctx := pgtest.New(t), t.Context()
	for _, at := range []pg.ConsumerOffset{{"tsdb", 1, 5}, {"evaluator", 0, 3}, {"tsdb", 0, 9}, {"tsdb", 2, 1}} {
		p, err := pg.Acquire(ctx, pool, "log", at.Consumer, at.Partition)
		if err != nil {
			t.Fatal(err)
		}
		if err := commit(t, pool, p, at.Next, `{}`); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pg.Acquire(ctx, pool, "another log", "tsdb", 0); err != nil {
		t.Fatal(err)
	}
	got, err := pg.CommittedAll(ctx, pool, "log", 2)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]pg.ConsumerOffset{{"evaluator", 0, 3}, {"tsdb", 0, 9}, {"tsdb", 1, 5}}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
