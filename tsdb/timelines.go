package tsdb

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// Timelines tells how an organisation's monitors stood in a window: f is called with one after the other, in the order of
// their ids, and may use the timeline until it returns. An error of f ends it and is returned. All is read in one snapshot.
//
// Beyond what core/timeline says: of a run that ended more than a week behind the window it is not known that it had begun
// by then. Where the window ends more than a week ago, the time up and down is off by the rounding of sums in the aggregates,
// some microseconds.
func (r *Reader) Timelines(ctx context.Context, org tenant.OrgID, q timeline.Query, f func(*timeline.Timeline) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, r.pool, o, func(tx pgx.Tx) error {
		t := &tell{
			tx: tx, org: org, q: q, needs: timeline.NeedsOf(q.Families), builder: timeline.NewBuilder(q),
			f: func(tl *timeline.Timeline) error {
				err := f(tl)
				if err != nil {
					cancel() // of what follows nothing need be sent
				}
				return err
			},
		}
		return t.run(ctx)
	})
}

// tell is one telling of timelines.
type tell struct {
	tx      pgx.Tx
	org     tenant.OrgID
	q       timeline.Query
	needs   timeline.Needs
	builder *timeline.Builder
	f       func(*timeline.Timeline) error

	subjects []*subject // by id
	gaps     *gapIndex
}

// subject is one monitor that is told of. Its runs are read while it is its turn.
type subject struct {
	timeline.Rows
	since time.Time     // from which instant on its rows are read
	last  []monitor.Run // what stands at the beginning of the window, of runs before since
	later []monitor.Run // that began in the window and ended behind it
}

// together is how many monitors' rows are read at once, but for their runs, which are many.
const together = 500

func (t *tell) run(ctx context.Context) error {
	// Rows come in the order in which monitors are asked for, unless several processes read them. Compiling takes longer than reading.
	if _, err := t.tx.Exec(ctx, `select set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`); err != nil {
		return err
	}
	if err := t.readSubjects(ctx); err != nil {
		return fmt.Errorf("read timelines: %w", err)
	}
	if t.needs.Totals() {
		if err := t.readTotals(ctx); err != nil {
			return fmt.Errorf("read timelines: totals: %w", err)
		}
	}
	for i := 0; i < len(t.subjects); i += together {
		if err := t.chunk(ctx, t.subjects[i:min(i+together, len(t.subjects))]); err != nil {
			return err
		}
	}
	return nil
}

// readSubjects finds the monitors that lived in the window, with what stands of them alone.
func (t *tell) readSubjects(ctx context.Context) error {
	if err := t.readVersions(ctx); err != nil || len(t.subjects) == 0 {
		return err
	}
	if err := t.readStates(ctx); err != nil {
		return err
	}
	if !t.needs.Times && !t.needs.Expectation {
		return nil
	}
	s := statsQuery{org: t.org}
	s.window.To = t.q.To.Add(time.Microsecond)
	gaps, err := s.readGaps(ctx, t.tx)
	if err != nil {
		return err
	}
	t.gaps = gaps
	for _, s := range t.subjects {
		s.Gaps = gaps.of(s.ID)
	}
	return nil
}

// ids are the subjects', those that match.
func ids(subjects []*subject, match func(*subject) bool) []uuid.UUID {
	list := make([]uuid.UUID, 0, len(subjects))
	for _, s := range subjects {
		if match(s) {
			list = append(list, s.ID)
		}
	}
	return list
}

func (t *tell) anyGaps(subjects []*subject) bool {
	for _, s := range subjects {
		if s.Gaps != nil && s.Gaps.Between(time.Time{}, t.q.To) > 0 {
			return true
		}
	}
	return false
}
