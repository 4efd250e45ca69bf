package tsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
)

// Retention is how long rows are kept; 0: for ever. The daily aggregates are always kept where they are stored.
type Retention struct {
	Pings   time.Duration
	History time.Duration // runs, transitions and the hourly aggregate
}

// DefaultRetention keeps a quarter of pings and a year of history, and some more.
func DefaultRetention() Retention { return Retention{Pings: 90 * day, History: 400 * day} }

// The least that may be kept. The continuous aggregates look back for late rows over 30 days (migration 00003): if the rows
// of that time were gone, so would be their sums.
const (
	minPings   = day
	minHistory = 32 * day
)

func (r Retention) validate() error {
	if r.Pings != 0 && r.Pings < minPings {
		return fmt.Errorf("retention of pings: %v; must be 0 (for ever) or at least %v", r.Pings, minPings)
	}
	if r.History != 0 && r.History < minHistory {
		return fmt.Errorf("retention of history: %v; must be 0 (for ever) or at least %v", r.History, minHistory)
	}
	return nil
}

// How often upkeep is due, and how far behind now the buckets end that it stores: rows that come later than that are shown
// after the next round.
const (
	upkeepEvery = 10 * time.Minute
	upkeepLag   = 15 * time.Minute
)

// upkeepLock is the advisory lock of which process is at it.
const upkeepLock = 7405002

// Upkeep does what a server without TimescaleDB's policies does not do by itself: it stores the aggregates' finished buckets
// and removes what is older than the retention. Where there are policies, it sets them. It serves all organisations.
type Upkeep struct {
	pool      *pgxpool.Pool
	retention Retention
	logger    *slog.Logger
}

// NewUpkeep makes an upkeep; a retention too short is an error.
func NewUpkeep(pool *pgxpool.Pool, r Retention, logger *slog.Logger) (*Upkeep, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return &Upkeep{pool: pool, retention: r, logger: logger}, nil
}

// Run does a round at once and every ten minutes until ctx ends. A round that fails is logged; the next does its work. Any number
// of processes may run it.
func (u *Upkeep) Run(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	failing := false
	for now := time.Now(); ; {
		err := u.Once(ctx, now)
		if err != nil && ctx.Err() == nil && !failing {
			u.logger.ErrorContext(ctx, "upkeep of the time series failed, trying again", "every", upkeepEvery, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
	}
}

// Once does one round as of now, or nothing while another process is at it.
func (u *Upkeep) Once(ctx context.Context, now time.Time) error {
	return pg.Alone(ctx, u.pool, upkeepLock, func(conn *pgx.Conn) error {
		f, err := pg.Detect(ctx, conn)
		if err != nil {
			return err
		}
		if f.Schema == pg.Community {
			err = u.setPolicies(ctx, conn)
		} else {
			err = u.rollUp(ctx, conn, f.Schema, now)
		}
		return errors.Join(err, u.removeOldVersions(ctx, conn, now))
	})
}

// rollUp stores finished buckets and removes what is old.
func (u *Upkeep) rollUp(ctx context.Context, conn *pgx.Conn, level pg.Level, now time.Time) error {
	begun := time.Now()
	var buckets int64
	if err := conn.QueryRow(ctx, `select tokiflow_roll_up($1)`, now.Add(-upkeepLag)).Scan(&buckets); err != nil {
		return fmt.Errorf("store the aggregates: %w", err)
	}
	if buckets > 0 {
		u.logger.DebugContext(ctx, "aggregates stored", "buckets", buckets, "took", time.Since(begun))
	}
	return u.removeOld(ctx, conn, level, now)
}

// series are the relations that have a retention.
func (u *Upkeep) series() []seriesRetention {
	return []seriesRetention{
		{"pings", "pings", "received_at", u.retention.Pings},
		{"runs", "runs", "finished_at", u.retention.History},
		{"transitions", "transitions", "at", u.retention.History},
		{"runs_hourly", "runs_hourly_stored", "bucket", u.retention.History},
	}
}

type seriesRetention struct {
	name  string // of the hypertable or continuous aggregate
	table string // where rows are deleted from without TimescaleDB
	clock string
	keep  time.Duration
}

// setPolicies makes TimescaleDB's retention policies what they should be.
func (u *Upkeep) setPolicies(ctx context.Context, conn *pgx.Conn) error {
	for _, s := range u.series() {
		var have *time.Duration
		// A continuous aggregate's policy is listed under the hypertable that holds it.
		err := conn.QueryRow(ctx, `
			select (select (j.config ->> 'drop_after')::interval
			        from timescaledb_information.jobs j
			        left join timescaledb_information.continuous_aggregates a
			          on a.materialization_hypertable_name = j.hypertable_name
			        where j.proc_name = 'policy_retention' and (j.hypertable_name = $1 or a.view_name = $1))`, s.name).Scan(&have)
		if err != nil {
			return fmt.Errorf("read the retention policy of %s: %w", s.name, err)
		}
		if have == nil && s.keep == 0 || have != nil && *have == s.keep {
			continue
		}
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `select remove_retention_policy($1::regclass, if_exists => true)`, s.name); err != nil {
				return err
			}
			if s.keep == 0 {
				return nil
			}
			_, err := tx.Exec(ctx, `select add_retention_policy($1::regclass, drop_after => $2::interval)`, s.name, s.keep)
			return err
		})
		if err != nil {
			return fmt.Errorf("set the retention policy of %s: %w", s.name, err)
		}
		u.logger.InfoContext(ctx, "retention policy set", "table", s.name, "keep", s.keep)
	}
	return nil
}

// longestChunk is by how much a row may outlive the retention, since chunks go whole (migration 00002).
const longestChunk = 90 * day

// removeOldVersions deletes what monitors were called before all that is kept of them.
func (u *Upkeep) removeOldVersions(ctx context.Context, conn *pgx.Conn, now time.Time) error {
	if u.retention.History == 0 {
		return nil
	}
	_, err := conn.Exec(ctx, `
		delete from monitor_versions v
		where v.at < $1 and (v.deleted or exists (
			select from monitor_versions n
			where n.org_id = v.org_id and n.monitor_id = v.monitor_id and n.at > v.at and n.at <= $1))`,
		now.Add(-u.retention.History-longestChunk))
	if err != nil {
		return fmt.Errorf("remove old versions of monitors: %w", err)
	}
	return nil
}

// removeOld deletes, or drops by the chunk, what is older than the retention.
func (u *Upkeep) removeOld(ctx context.Context, conn *pgx.Conn, level pg.Level, now time.Time) error {
	for _, s := range u.series() {
		if s.keep == 0 {
			continue
		}
		var n int64
		var err error
		before := now.Add(-s.keep)
		if level == pg.Apache && s.name == s.table {
			err = conn.QueryRow(ctx, `select count(*) from drop_chunks($1::regclass, older_than => $2::timestamptz)`, s.table, before).Scan(&n)
		} else {
			n, err = deleteOld(ctx, conn, s.table, s.clock, before)
		}
		if err != nil {
			return fmt.Errorf("remove old %s: %w", s.name, err)
		}
		if n > 0 {
			u.logger.InfoContext(ctx, "removed what is older than the retention", "table", s.name, "keep", s.keep, "removed", n)
		}
	}
	return nil
}

// deleteBatch is how many rows one transaction deletes, so that none holds up the others for long.
const deleteBatch = 10_000

// deleteOld deletes rows monitor by monitor: every table has an index on monitor and time, and no time index is kept for this
// alone.
func deleteOld(ctx context.Context, conn *pgx.Conn, table, clock string, before time.Time) (deleted int64, err error) {
	rows, err := conn.Query(ctx, fmt.Sprintf(`
		with recursive ids as (
			(select monitor_id from %[1]s order by monitor_id limit 1)
			union all
			select (select monitor_id from %[1]s where monitor_id > ids.monitor_id order by monitor_id limit 1)
			from ids where ids.monitor_id is not null)
		select monitor_id::text from ids where monitor_id is not null`, table))
	if err != nil {
		return 0, err
	}
	monitors, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	sql := fmt.Sprintf(`delete from %[1]s where ctid = any(array(
		select ctid from %[1]s where monitor_id = $1 and %[2]s < $2 limit %[3]d))`, table, clock, deleteBatch)
	for _, id := range monitors {
		for {
			tag, err := conn.Exec(ctx, sql, id, before)
			if err != nil {
				return deleted, err
			}
			deleted += tag.RowsAffected()
			if tag.RowsAffected() < deleteBatch {
				break
			}
		}
	}
	return deleted, nil
}
