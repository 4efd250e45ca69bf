package tsdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// MonitorStatsWithout computes the figures of MonitorStats without some times of each monitor, which must be in order, without overlap
// and within the window; a monitor without any is as MonitorStats has it. What is left out counts as not observed: it is
// neither up nor down, and what happened in it does not count. So a monitor that went down in it and is down at its end has had no
// failure, but is down from then on. One that was down when it began and is not at its end has recovered.
//
// It costs more than MonitorStats: the transitions of such monitors are read one by one.
func (r *Reader) MonitorStatsWithout(
	ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window, monitors ...uuid.UUID,
) (map[uuid.UUID]history.Stats, error) {
	all, err := r.talliesWithout(ctx, org, w, without, monitors)
	if err != nil {
		return nil, err
	}
	return statsOf(all, w), nil
}

// OrganisationStatsWithout is to OrganisationStats what MonitorStatsWithout is to MonitorStats.
func (r *Reader) OrganisationStatsWithout(
	ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window,
) (history.Stats, error) {
	all, err := r.talliesWithout(ctx, org, w, without, nil)
	if err != nil {
		return history.Stats{}, err
	}
	return summedUp(all, w), nil
}

// talliesWithout is tallies with those of the monitors in without made anew.
func (r *Reader) talliesWithout(
	ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window, monitors []uuid.UUID,
) (map[uuid.UUID]*tally, error) {
	all := map[uuid.UUID]*tally{}
	var whole []uuid.UUID
	for _, id := range monitors {
		if len(without[id]) == 0 {
			whole = append(whole, id)
		}
	}
	if len(monitors) == 0 || len(whole) > 0 {
		var err error
		if all, err = r.tallies(ctx, org, w, whole); err != nil {
			return nil, err
		}
	}
	for _, same := range alike(without, monitors) {
		q := statsQuery{org: org, window: w, monitors: same.monitors}
		made := tallyMap{}
		err := q.read(ctx, r.pool, made, func(ctx context.Context, tx pgx.Tx, into tallyMap) error {
			if err := q.readRunsWithin(ctx, tx, into, outside(w, same.without)); err != nil {
				return fmt.Errorf("read stats of runs: %w", err)
			}
			if err := q.readAvailabilityWithout(ctx, tx, into, same.without); err != nil {
				return fmt.Errorf("read stats of availability: %w", err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, id := range same.monitors {
			delete(all, id)
			if t := made[id]; t != nil {
				all[id] = t
			}
		}
	}
	return all, nil
}

// set is monitors of which the same times are left out.
type set struct {
	without  []history.Window
	monitors []uuid.UUID
}

// alike puts monitors of which the same is left out together: all of one window, usually. None named: all.
func alike(without map[uuid.UUID][]history.Window, monitors []uuid.UUID) map[string]*set {
	sets := map[string]*set{}
	for id, list := range without {
		if len(list) == 0 || len(monitors) > 0 && !slices.Contains(monitors, id) {
			continue
		}
		var b strings.Builder
		for _, w := range list {
			_, _ = fmt.Fprintf(&b, "%d-%d ", w.From.UnixMicro(), w.To.UnixMicro())
		}
		key := b.String()
		if sets[key] == nil {
			sets[key] = &set{without: list}
		}
		sets[key].monitors = append(sets[key].monitors, id)
	}
	return sets
}

// outside is what is left of the window.
func outside(w history.Window, without []history.Window) []history.Window {
	var left []history.Window
	from := w.From
	for _, o := range without {
		left = append(left, nonEmpty(history.Window{From: from, To: o.From})...)
		from = o.To
	}
	return append(left, nonEmpty(history.Window{From: from, To: w.To})...)
}

// mostArms is how many pieces are read with one query: planning costs more with each.
const mostArms = 40

// readRunsWithin adds up the runs of several windows.
func (q *statsQuery) readRunsWithin(ctx context.Context, tx pgx.Tx, into tallyMap, windows []history.Window) error {
	levels := runLevels()
	if err := finished(ctx, tx, levels); err != nil {
		return err
	}
	a := q.arms()
	flush := func(least int) error {
		if len(a.sql) <= least {
			return nil
		}
		err := a.readRuns(ctx, tx, into)
		a = q.arms()
		return err
	}
	for _, w := range windows {
		parts, pieces := cover(w, levels)
		a.addRuns(parts, pieces)
		if err := flush(mostArms); err != nil {
			return err
		}
	}
	return flush(0)
}

// readAvailabilityWithout goes through the changes of status one by one.
func (q *statsQuery) readAvailabilityWithout(ctx context.Context, tx pgx.Tx, into tallyMap, without []history.Window) error {
	left := make([]logclock.Gap, len(without))
	for i, w := range without {
		left[i] = logclock.Gap{From: w.From, To: w.To}
	}
	gaps, err := q.readGaps(ctx, tx)
	if err != nil {
		return err
	}
	states, err := q.readStates(ctx, tx)
	if err != nil {
		return err
	}
	walks := map[uuid.UUID]*walk{}
	of := func(id uuid.UUID) *walk {
		if walks[id] == nil {
			walks[id] = &walk{tally: into.of(id), without: without, gaps: gaps.with(id, left), from: q.window.From}
		}
		return walks[id]
	}
	rows, err := tx.Query(ctx, `select monitor_id, at, from_status, to_status from transitions
		where org_id = $1 and monitor_id = any($2) and at >= $3 and at < $4 order by at, id`, q.org.UUID, q.monitors, q.window.From, q.window.To)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		var at time.Time
		var from, to string
		if err := rows.Scan(&id, &at, &from, &to); err != nil {
			return err
		}
		of(id).change(at, monitor.Status(from), monitor.Status(to))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for id, s := range states {
		w := of(id)
		if s.since.Before(q.window.To) {
			w.from = later(w.from, s.since)
		}
		w.change(q.window.To, s.status, s.status)
		w.tally.recoveries += w.recovered(q.window.From)
	}
	return nil
}

// walk goes along one monitor's changes of status.
type walk struct {
	tally   *tally
	without []history.Window
	gaps    *logclock.Gaps // and what is left out
	from    time.Time      // up to where time was counted
	net     []int          // recoveries less failures in each of without
}

// change counts the time up to a change, and the change. The end of the window is one that changes nothing.
func (w *walk) change(at time.Time, from, to monitor.Status) {
	if observed(from) && w.from.Before(at) {
		w.tally.spend(from, seconds(at.Sub(w.from)-w.gaps.Between(w.from, at)))
	}
	w.from = later(w.from, at)
	if from == to {
		return
	}
	failed, recovered := to == monitor.Down, from == monitor.Down
	if i, in := within(w.without, at); in {
		if w.net == nil {
			w.net = make([]int, len(w.without))
		}
		if recovered {
			w.net[i]++
		}
		if failed {
			w.net[i]--
		}
		return
	}
	w.tally.transitions++
	if failed {
		w.tally.failures++
	}
	if recovered {
		w.tally.recoveries++
	}
}

// recovered is in how many of the times left out an outage from before them ended: where the monitor was down at the beginning and
// was not at the end, there is one recovery more than there are failures. An outage from before the window is none of its.
func (w *walk) recovered(start time.Time) (n int64) {
	for i, net := range w.net {
		if net > 0 && w.without[i].From.After(start) {
			n++
		}
	}
	return n
}

// within finds the window that holds the instant.
func within(list []history.Window, at time.Time) (int, bool) {
	i, _ := slices.BinarySearchFunc(list, at, func(w history.Window, at time.Time) int {
		if w.To.After(at) {
			return 1
		}
		return -1
	})
	return i, i < len(list) && !list[i].From.After(at)
}
