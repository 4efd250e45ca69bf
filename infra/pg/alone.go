package pg

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Alone calls f with a connection while no other process of the database is in an f of the same key, and does nothing while
// one is. The lock ends with f, or with the connection.
func Alone(ctx context.Context, pool *pgxpool.Pool, key int64, f func(conn *pgx.Conn) error) (err error) {
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer pooled.Release()
	conn := pooled.Conn()
	var mine bool
	if err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, key).Scan(&mine); err != nil || !mine {
		return err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		if _, unlock := conn.Exec(ctx, `select pg_advisory_unlock($1)`, key); unlock != nil {
			err = errors.Join(err, conn.Close(ctx)) // the lock must not outlive f
		}
	}()
	return f(conn)
}
