package samples

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

// DefaultRetention is how long samples are kept unless something else is said.
const DefaultRetention = 90 * 24 * time.Hour

// leastRetention is the least that may be kept: chunks are of a day.
const leastRetention = 24 * time.Hour

// unasked is how long no writer must have asked for a series before it is removed. Writers trust their memory for askAgain, so what
// is removed is certainly in nobody's.
const unasked = 48 * time.Hour

const (
	upkeepEvery = 10 * time.Minute
	packLag     = time.Hour // behind now; samples later than that are packed apart
	packSeries  = 32        // in one transaction: as many as fit into memory though all samples were big histograms
	deleteBatch = 10_000    // rows in one transaction
)

// upkeepLock is the advisory lock of which process is at it.
const upkeepLock = 7405003

// Upkeep packs the samples of finished hours where there is no columnstore, and removes what is older than the retention, series
// without samples too. It serves all organisations.
type Upkeep struct {
	pool   *pgxpool.Pool
	keep   time.Duration
	logger *slog.Logger
}

// NewUpkeep makes an upkeep that keeps samples that long; 0: for ever. A retention too short is an error.
func NewUpkeep(pool *pgxpool.Pool, keep time.Duration, logger *slog.Logger) (*Upkeep, error) {
	if keep != 0 && keep < leastRetention {
		return nil, fmt.Errorf("retention of samples: %v; must be 0 (for ever) or at least %v", keep, leastRetention)
	}
	return &Upkeep{pool: pool, keep: keep, logger: logger}, nil
}

// Run does a round at once and every ten minutes until ctx ends. A round that fails is logged; the next does its work. Any number of
// processes may run it.
func (u *Upkeep) Run(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	failing := false
	for now := time.Now(); ; {
		err := u.Once(ctx, now)
		if err != nil && ctx.Err() == nil && !failing {
			u.logger.ErrorContext(ctx, "upkeep of the samples failed, trying again", "every", upkeepEvery, "error", err)
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
			err = u.setPolicy(ctx, conn)
		} else {
			err = u.pack(ctx, conn, now.Add(-packLag).Truncate(packWindow))
		}
		if err != nil || u.keep == 0 {
			return err
		}
		return u.remove(ctx, conn, now.Add(-u.keep))
	})
}

// setPolicy makes TimescaleDB's retention policy what it should be.
func (u *Upkeep) setPolicy(ctx context.Context, conn *pgx.Conn) error {
	var have *time.Duration
	err := conn.QueryRow(ctx, `
		select (select (config ->> 'drop_after')::interval from timescaledb_information.jobs
		        where proc_name = 'policy_retention' and hypertable_name = 'samples')`).Scan(&have)
	if err != nil {
		return fmt.Errorf("read the retention policy of samples: %w", err)
	}
	if have == nil && u.keep == 0 || have != nil && *have == u.keep {
		return nil
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select remove_retention_policy('samples', if_exists => true)`); err != nil || u.keep == 0 {
			return err
		}
		_, err := tx.Exec(ctx, `select add_retention_policy('samples', drop_after => $1::interval)`, u.keep)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the retention policy of samples: %w", err)
	}
	u.logger.InfoContext(ctx, "retention policy set", "table", "samples", "keep", u.keep)
	return nil
}

// remove removes what was packed before that time, and the series that have had no samples since. Rows that are not packed are
// younger, or leave with their chunk.
func (u *Upkeep) remove(ctx context.Context, conn *pgx.Conn, before time.Time) error {
	for _, d := range []struct{ table, sql string }{
		{"samples_packed", `delete from samples_packed where id = any(array(select id from samples_packed where last_at < $1 limit $2))`},
		// The condition stands outside too: a writer may ask for the series between the one and the other.
		{"series", `delete from series where id = any(array(select id from series where last_day < $1 and seen_at < now() - $3::interval limit $2))
			and last_day < $1 and seen_at < now() - $3::interval`},
	} {
		args := []any{before, deleteBatch}
		if d.table == "series" {
			args = []any{day(before.UnixMilli()), deleteBatch, unasked}
		}
		var removed int64
		for {
			tag, err := conn.Exec(ctx, d.sql, args...)
			if err != nil {
				return fmt.Errorf("remove old %s: %w", d.table, err)
			}
			removed += tag.RowsAffected()
			if tag.RowsAffected() < deleteBatch {
				break
			}
		}
		if removed > 0 {
			u.logger.InfoContext(ctx, "removed what is older than the retention", "table", d.table, "keep", u.keep, "removed", removed)
		}
	}
	return nil
}

// pack packs every row before that time, series by series.
func (u *Upkeep) pack(ctx context.Context, conn *pgx.Conn, before time.Time) error {
	begun, samples, packs := time.Now(), 0, 0
	for last := int64(0); ; {
		rows, err := conn.Query(ctx, `
			select id from series
			where id > $1 and exists (select from samples where series_id = id and at < $2)
			order by id limit $3`, last, before, packSeries)
		if err != nil {
			return fmt.Errorf("find samples to pack: %w", err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("find samples to pack: %w", err)
		}
		if len(ids) == 0 {
			break
		}
		last = ids[len(ids)-1]
		var p packer
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			p = packer{series: map[int64]*points{}}
			return p.move(ctx, tx, ids, before)
		})
		if err != nil {
			return fmt.Errorf("pack samples: %w", err)
		}
		samples, packs = samples+p.samples, packs+p.rows.Len()
	}
	if samples > 0 {
		u.logger.DebugContext(ctx, "samples packed", "samples", samples, "packs", packs, "took", time.Since(begun))
	}
	return nil
}

// packer moves samples of some series from rows into packs.
type packer struct {
	series  map[int64]*points
	rows    pgcopy.Rows
	samples int
}

// move deletes rows and writes what they held: a row that a writer adds meanwhile stays, for it is not among those deleted. Readers
// see either the rows or the packs.
func (p *packer) move(ctx context.Context, tx pgx.Tx, ids []int64, before time.Time) error {
	rows, err := tx.Query(ctx, `delete from samples where series_id = any($1) and at < $2 returning series_id, at, value, histogram`,
		pgx.QueryResultFormats{pgx.BinaryFormatCode}, ids, before)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		if len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 {
			return errShape
		}
		id := int64(binary.BigEndian.Uint64(v[0]))
		x := p.series[id]
		if x == nil {
			x = &points{}
			p.series[id] = x
		}
		x.add(millisOf(v[1]), math.Float64frombits(binary.BigEndian.Uint64(v[2])), slices.Clone(v[3]))
		p.samples++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	p.rows.Begin()
	for id, x := range p.series {
		if err := p.add(id, x); err != nil {
			return err
		}
	}
	if p.rows.Len() == 0 {
		return nil
	}
	return copyInto(ctx, tx, `copy samples_packed (series_id, first_at, last_at, form, data) from stdin (format binary)`, &p.rows)
}

// add packs the points of a series: those of one window, form and size at a time.
func (p *packer) add(id int64, x *points) error {
	x.settle()
	window := func(i int) int64 { return floorDiv(x.at[i], packWindow.Milliseconds()) }
	for i := 0; i < x.len(); {
		j := i + 1
		for j < x.len() && j-i < packSamples && window(j) == window(i) && (x.histogram(j) == nil) == (x.histogram(i) == nil) {
			j++
		}
		f, data, err := pack(x, i, j)
		if err != nil {
			return err
		}
		p.rows.Row(5)
		p.rows.Int64(id)
		p.rows.Millis(x.at[i])
		p.rows.Millis(x.at[j-1])
		p.rows.Int16(int16(f))
		p.rows.Bytes(data)
		i = j
	}
	return nil
}
