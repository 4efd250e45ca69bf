package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestADatabaseThatIsNotThereIsAFault(t *testing.T) {
	t.Parallel()
	c, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/none?connect_timeout=2")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := store.New(pool).Authenticate(t.Context(), "tkf_x"); fault.CodeOf(err) != fault.Unavailable || errors.Is(err, store.ErrUnauthenticated) {
		t.Errorf("%v, want a fault of code unavailable", err)
	}
}

func TestAConnectionCutInTheMiddleIsAFault(t *testing.T) {
	s := newBundle(t)
	m := s.create(s.a, "m")
	err := func() error {
		_, err := s.store.DrainControls(s.ctx, &m.ID, func(context.Context, record.Control) error {
			s.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`)
			return nil
		})
		return err
	}()
	if fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("%v, want a fault of code unavailable", err)
	}
	if n := s.count(`select count(*) from control_queue`); n != 1 {
		t.Errorf("%d changes wait, want 1", n)
	}
}

func TestAnEndedContextIsNoFault(t *testing.T) {
	s := newBundle(t)
	ctx, cancel := context.WithTimeout(s.ctx, -time.Second)
	defer cancel()
	_, err := s.store.Monitors(ctx, s.a.org, inventory.MonitorFilter{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
