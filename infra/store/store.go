// Package store keeps what is relational: organisations and keys, monitors, incidents, and the queue of changes on their
// way into the log. An exported method owns its transaction. Every method for a tenant takes the organisation's id second,
// and its SQL (sql/, by noun) names it; the few that serve the whole installation are listed in tenancy_test.go.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// The faults of this package. Each is a fault.Error, so that a flow can tell them by fault.CodeOf.
var (
	ErrNotFound        = fault.New(fault.NotFound, "there is no such thing")
	ErrConflict        = fault.New(fault.Conflict, "it exists already")
	ErrAmbiguousSlug   = fault.New(fault.Ambiguous, "several monitors share this slug")
	ErrUnauthenticated = fault.New(fault.Unauthenticated, "the API key is unknown or revoked")
)

// Store is the relational database. Safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// New makes a store over a pool whose database is migrated. The pool stays the caller's to close.
func New(pool *pgxpool.Pool) *Store {
	return &Store{pool: pool, q: db.New(pool)}
}

// inTx runs f in one transaction. A fault passes through unwrapped, so that its code is the first in the chain.
func (s *Store) inTx(ctx context.Context, what string, f func(q *db.Queries) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return f(s.q.WithTx(tx)) })
	return wrap(what, err)
}

// wrap says what was being done when err came; no rows become ErrNotFound, a fault stays as it is, and a database that is
// not there becomes a fault, so that the caller's side is told to come again.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if fault.CodeOf(err) != "" {
		return err
	}
	err = fmt.Errorf("store: %s: %w", what, err)
	if unreachable(err) {
		return &fault.Error{Code: fault.Unavailable, Message: "the database cannot be reached, try again", Err: err}
	}
	return err
}

// wrapRefused is wrap, and makes a fault of code invalid of what the database does not take for its data, however often it is tried: a
// value it cannot keep (class 22), that breaks a constraint (23) or is too large for an index (54).
func wrapRefused(what string, err error) error {
	answered, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || fault.CodeOf(err) != "" {
		return wrap(what, err)
	}
	switch answered.Code[:min(len(answered.Code), 2)] {
	case "22", "23", "54":
		return &fault.Error{Code: fault.Invalid, Message: "the database does not take this", Err: fmt.Errorf("store: %s: %w", what, err)}
	}
	return wrap(what, err)
}

// unreachable tells a database that cannot be reached, is starting or stopping, or has no connection left from one that
// answered with an error.
func unreachable(err error) bool {
	if answered, ok := errors.AsType[*pgconn.PgError](err); ok {
		class := answered.Code[:min(len(answered.Code), 3)]
		return class == "57P" || class == "533" || strings.HasPrefix(class, "08")
	}
	var refused *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &refused) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}
