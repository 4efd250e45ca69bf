package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

const (
	pingEvery    = 10 * time.Second // how soon a connection cut silently is noticed
	closeTimeout = 2 * time.Second  // for the farewell to a connection that is given up
)

// targetsChannel carries the id of a monitor whose target may have changed; anything else means: read everything anew.
const targetsChannel = "tokiflow_targets"

// WatchTargets tells apply what ingest must know: everything at once at first, then each change as it is committed, in
// order. It holds one connection of its own. It returns ctx's error when ctx ends and another when the connection is lost;
// called again it begins with everything, so nothing is missed in between. apply is called from this goroutine only.
func (s *Store) WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap("watch targets", err)
	}
	conn := pooled.Hijack() // it listens, so it never goes back
	defer closeConn(conn)   //nolint:contextcheck // ctx may have ended: that is why it is closed
	if _, err := conn.Exec(ctx, "listen "+targetsChannel); err != nil {
		return wrap("watch targets", err)
	}
	// Listening came first: a change between here and the load is both in the load and notified.
	if err := s.applyAll(ctx, conn, apply); err != nil {
		return wrap("watch targets", err)
	}
	for {
		payload, err := nextNotice(ctx, conn)
		if err == nil {
			err = s.applyOne(ctx, conn, payload, apply)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return wrap("watch targets", err)
		}
	}
}

// listen calls heard once it listens, with nothing, for what came before, and then with each notice of the channel. It holds one
// connection of its own. It returns ctx's error when ctx ends and another when the connection is lost.
func (s *Store) listen(ctx context.Context, doing, channel string, heard func(payload string)) error {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap(doing, err)
	}
	conn := pooled.Hijack() // it listens, so it never goes back
	defer closeConn(conn)   //nolint:contextcheck // ctx may have ended: that is why it is closed
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return wrap(doing, err)
	}
	payload := ""
	for {
		heard(payload)
		if payload, err = nextNotice(ctx, conn); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return wrap(doing, err)
		}
	}
}

// nextNotice waits for a notification and now and then asks the server whether it is still there: a connection cut
// silently would else wait for ever.
func nextNotice(ctx context.Context, conn *pgx.Conn) (payload string, err error) {
	for {
		wait, cancel := context.WithTimeout(ctx, pingEvery)
		n, err := conn.WaitForNotification(wait)
		cancel()
		if err == nil {
			return n.Payload, nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return "", err
		}
		alive, cancel := context.WithTimeout(ctx, pingEvery)
		err = conn.Ping(alive)
		cancel()
		if err != nil {
			return "", err
		}
	}
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // it is of no further use either way
}

func (s *Store) applyAll(ctx context.Context, conn *pgx.Conn, apply func(tenant.PingTargets)) error {
	out := tenant.PingTargets{Full: true}
	// One snapshot, so that no target names a project that is not there.
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, conn, opts, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		projects, err := q.AllProjectKeys(ctx)
		if err != nil {
			return err
		}
		out.Projects = make([]tenant.ProjectKey, len(projects))
		for i, p := range projects {
			out.Projects[i] = tenant.ProjectKey{Org: p.OrgID, Project: p.ID, Key: p.PingKey}
		}
		targets, err := q.AllTargets(ctx)
		if err != nil {
			return err
		}
		out.Targets = make([]tenant.PingTarget, len(targets))
		for i, t := range targets {
			out.Targets[i] = tenant.PingTarget{Org: t.OrgID, Project: t.ProjectID, Monitor: t.ID, Key: t.PingKey, Slug: t.Slug}
		}
		return nil
	})
	if err != nil {
		return err
	}
	apply(out)
	return nil
}

func (s *Store) applyOne(ctx context.Context, conn *pgx.Conn, payload string, apply func(tenant.PingTargets)) error {
	id, err := uuid.Parse(payload)
	if err != nil {
		return s.applyAll(ctx, conn, apply)
	}
	rows, err := db.New(conn).TargetOf(ctx, id)
	if err != nil {
		return fmt.Errorf("monitor %s: %w", id, err)
	}
	out := tenant.PingTargets{Monitor: id}
	for _, t := range rows {
		out.Targets = append(out.Targets, tenant.PingTarget{Org: t.OrgID, Project: t.ProjectID, Monitor: t.ID, Key: t.PingKey, Slug: t.Slug})
	}
	apply(out)
	return nil
}
