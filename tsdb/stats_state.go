package tsdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// state is how a monitor stood when the window ended.
type state struct {
	status monitor.Status
	since  time.Time // behind the window's end where the status has changed since: then status is the one before that
}

// readStates reads how the monitors stood at the end of the window: as they stand now, unless that began later; then the
// first change behind the window tells.
func (q *statsQuery) readStates(ctx context.Context, tx pgx.Tx) (map[uuid.UUID]state, error) {
	args := []any{q.org.UUID, q.window.To}
	which := `s.monitor_id in (select id from monitors where org_id = $1)`
	if len(q.monitors) > 0 {
		args = append(args, q.monitors)
		which = `s.monitor_id = any($3)`
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`
		select s.monitor_id, coalesce(n.from_status, s.status), s.since
		from (select monitor_id, org_id, status, (state->>'since')::timestamptz as since from monitor_states s
		      where org_id = $1 and %s) as s
		left join lateral (
			select from_status from transitions
			where org_id = $1 and monitor_id = s.monitor_id and at >= $2
			order by at, id limit 1
		) as n on s.since >= $2`, which), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	states := map[uuid.UUID]state{}
	for rows.Next() {
		var id uuid.UUID
		var s state
		var status string
		if err := rows.Scan(&id, &status, &s.since); err != nil {
			return nil, err
		}
		s.status = monitor.Status(status)
		states[id] = s
	}
	return states, rows.Err()
}

// gapIndex finds the gaps of a monitor. A log may have had other numbers of partitions, and there may have been other logs.
type gapIndex struct {
	lists map[int]map[int][]logclock.Gap // by number of partitions and partition
	made  map[int]*logclock.Gaps         // by the monitor's partitions, each number of them having a digit
}

func (q *statsQuery) readGaps(ctx context.Context, tx pgx.Tx) (*gapIndex, error) {
	rows, err := tx.Query(ctx, `select partitions, partition, started_at, ended_at from gaps where ended_at > $1 and started_at < $2`,
		q.window.From, q.window.To)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	index := &gapIndex{lists: map[int]map[int][]logclock.Gap{}, made: map[int]*logclock.Gaps{}}
	for rows.Next() {
		var partitions, partition int
		var g logclock.Gap
		if err := rows.Scan(&partitions, &partition, &g.From, &g.To); err != nil {
			return nil, err
		}
		if index.lists[partitions] == nil {
			index.lists[partitions] = map[int][]logclock.Gap{}
		}
		index.lists[partitions][partition] = append(index.lists[partitions][partition], g)
	}
	return index, rows.Err()
}

// with returns the gaps of a monitor together with others.
func (g *gapIndex) with(id uuid.UUID, others []logclock.Gap) *logclock.Gaps {
	list := slices.Clone(others)
	for n, lists := range g.lists {
		list = append(list, lists[record.Partition(id, n)]...)
	}
	return logclock.NewGaps(list)
}

// of returns the gaps of a monitor in the window; nil: none.
func (g *gapIndex) of(id uuid.UUID) *logclock.Gaps {
	if len(g.lists) == 0 {
		return nil
	}
	key := 0
	for _, n := range slices.Sorted(maps.Keys(g.lists)) {
		key = key*n + record.Partition(id, n)
	}
	gaps := g.made[key]
	if gaps == nil {
		var list []logclock.Gap
		for n, lists := range g.lists {
			list = append(list, lists[record.Partition(id, n)]...)
		}
		gaps = logclock.NewGaps(list)
		g.made[key] = gaps
	}
	return gaps
}
