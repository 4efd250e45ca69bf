package tsdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// The faults a caller may be told.
var (
	ErrNoOutput = fault.New(fault.NotFound, "nothing was kept of that ping's body, or there is no such ping")
	ErrBadKey   = fault.New(fault.Invalid, "the cursor is not one of this list")
)

// maxLimit is the most rows that a list gives at once, whatever is asked for.
const maxLimit = 10_000

// Reader reads the time series. Every method is bound to an organisation; what belongs to another is not there. Safe for
// concurrent use.
type Reader struct {
	pool *pgxpool.Pool
}

// NewReader makes a reader. Its pool must not use the simple protocol.
func NewReader(pool *pgxpool.Pool) *Reader { return &Reader{pool: pool} }

// Pings are the received pings of a monitor, the youngest first, without their bodies.
func (r *Reader) Pings(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Ping, error) {
	a, err := newPage(p, uuid.Parse)
	if err != nil {
		return nil, err
	}
	// Beside the row comparison, which is exact, the plain one lets the index begin at the right place.
	rows, err := r.pool.Query(ctx, `
		select received_at, id, kind, rid, exit_code, duration_seconds, remote_addr, user_agent, method, body_size,
		       body is not null
		from pings
		where org_id = $1 and monitor_id = $2 and received_at >= $3 and received_at < $4
		  and received_at <= $5 and (received_at < $5 or id < $6)
		order by received_at desc, id desc
		limit $7`, org.UUID, monitor, a.from, a.to, a.at, a.tie, a.limit)
	if err != nil {
		return nil, fmt.Errorf("read pings: %w", err)
	}
	return collect("pings", rows, func(row pgx.CollectableRow) (p history.Ping, err error) {
		var (
			rid  *uuid.UUID
			exit *int16
			secs *float64
		)
		err = row.Scan(&p.ReceivedAt, &p.ID, &p.Kind, &rid, &exit, &secs, &p.RemoteAddr, &p.UserAgent, &p.Method, &p.BodySize, &p.HasOutput)
		p.RID, p.ExitCode, p.Duration = orZero(rid), orNoExit(exit), orNoDuration(secs)
		p.Key = history.Key{At: p.ReceivedAt, Tie: p.ID.String()}
		return p, err
	})
}

// clockSlack is how far the time in a ping's id may lie from its time of receipt.
const clockSlack = time.Hour

// PingOutput is what was kept of the body of a ping; ErrNoOutput where nothing was.
func (r *Reader) PingOutput(ctx context.Context, org tenant.OrgID, monitor, ping uuid.UUID) ([]byte, error) {
	from, to := pgtype.Timestamptz{Valid: true, InfinityModifier: pgtype.NegativeInfinity}, pgtype.Timestamptz{Valid: true, InfinityModifier: pgtype.Infinity}
	if ping.Version() == 7 { // it says when it was made
		made := time.Unix(ping.Time().UnixTime())
		from = pgtype.Timestamptz{Valid: true, Time: made.Add(-clockSlack)}
		to = pgtype.Timestamptz{Valid: true, Time: made.Add(clockSlack)}
	}
	var body []byte
	err := r.pool.QueryRow(ctx, `
		select body from pings
		where org_id = $1 and monitor_id = $2 and id = $3 and received_at >= $4 and received_at <= $5
		limit 1`, org.UUID, monitor, ping, from, to).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && body == nil {
		return nil, ErrNoOutput
	}
	if err != nil {
		return nil, fmt.Errorf("read a ping's output: %w", err)
	}
	return body, nil
}

// Runs are the finished runs of a monitor, the youngest first.
func (r *Reader) Runs(ctx context.Context, org tenant.OrgID, mon uuid.UUID, p history.Page) ([]history.Run, error) {
	a, err := newPage(p, uuid.Parse)
	if err != nil {
		return nil, err
	}
	rows, err := r.pool.Query(ctx, `
		select finished_at, run_id, started_at, outcome, exit_code, duration_seconds, lateness_seconds
		from runs
		where org_id = $1 and monitor_id = $2 and finished_at >= $3 and finished_at < $4
		  and finished_at <= $5 and (finished_at < $5 or run_id < $6)
		order by finished_at desc, run_id desc
		limit $7`, org.UUID, mon, a.from, a.to, a.at, a.tie, a.limit)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return collect("runs", rows, func(row pgx.CollectableRow) (v history.Run, err error) {
		var (
			started        *time.Time
			exit           *int16
			duration, late *float64
		)
		err = row.Scan(&v.FinishedAt, &v.ID, &started, &v.Outcome, &exit, &duration, &late)
		v.StartedAt, v.ExitCode = orZero(started), orNoExit(exit)
		v.Duration, v.Lateness = orNoDuration(duration), orNoDuration(late)
		v.Key = history.Key{At: v.FinishedAt, Tie: v.ID.String()}
		return v, err
	})
}

// Transitions are the changes of a monitor's status, the youngest first.
func (r *Reader) Transitions(ctx context.Context, org tenant.OrgID, mon uuid.UUID, p history.Page) ([]history.Transition, error) {
	a, err := newPage(p, parseSerial)
	if err != nil {
		return nil, err
	}
	rows, err := r.pool.Query(ctx, `
		select at, id, from_status, to_status, reason, seconds_in_previous
		from transitions
		where org_id = $1 and monitor_id = $2 and at >= $3 and at < $4 and at <= $5 and (at < $5 or id < $6)
		order by at desc, id desc
		limit $7`, org.UUID, mon, a.from, a.to, a.at, a.tie, a.limit)
	if err != nil {
		return nil, fmt.Errorf("read transitions: %w", err)
	}
	return collect("transitions", rows, func(row pgx.CollectableRow) (v history.Transition, err error) {
		var id int64
		var from, to string
		err = row.Scan(&v.At, &id, &from, &to, &v.Reason, &v.SecondsInPrevious)
		v.From, v.To = monitor.Status(from), monitor.Status(to)
		v.Key = history.Key{At: v.At, Tie: formatSerial(id)}
		return v, err
	})
}

func collect[T any](what string, rows pgx.Rows, scan pgx.RowToFunc[T]) ([]T, error) {
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return list, nil
}

func orZero[T any](v *T) (t T) {
	if v != nil {
		t = *v
	}
	return t
}

func orNoExit(v *int16) int16 {
	if v == nil {
		return record.NoExitCode
	}
	return *v
}

// orNoDuration is the whole microseconds of v seconds, which is what was stored.
func orNoDuration(v *float64) time.Duration {
	if v == nil {
		return record.NoDuration
	}
	return time.Duration(*v*1e6+0.5) * time.Microsecond
}
