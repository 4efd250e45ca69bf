package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/guard"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// keepGuardCounts is how long the counts of single processes are kept after their minute was judged.
const keepGuardCounts = time.Hour

// AddGuardPings adds what a process accepted in each of the minutes. A minute of no pings says that it was there to take them.
func (s *Store) AddGuardPings(ctx context.Context, process uuid.UUID, pings map[time.Time]int64) error {
	if len(pings) == 0 {
		return nil
	}
	p := db.AddGuardPingsParams{Process: process}
	for at, n := range pings {
		p.Minutes, p.Pings = append(p.Minutes, at), append(p.Pings, n)
	}
	return wrap("add pings of the guard", s.q.AddGuardPings(ctx, p))
}

// StepGuard has next judge the first minute that was not judged yet and is not after the minute through (its beginning), and stores
// what came of it: the state, and whether the minute may be learnt from. stepped is false where there is no such minute, or another
// process is at it. The very first call judges the minute through; one after a pause of more than a day passes over what is older.
func (s *Store) StepGuard(
	ctx context.Context, through time.Time, next func(guard.State, guard.Minute, guard.History) guard.State,
) (stepped bool, err error) {
	err = s.inTx(ctx, "step the guard", func(q *db.Queries) error {
		if err := q.StartGuard(ctx, through.Add(-time.Minute)); err != nil {
			return err
		}
		row, err := q.LockGuard(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another process is at it
		}
		if err != nil {
			return err
		}
		state := toGuardState(db.GuardStateRow(row))
		at := state.Minute.Add(time.Minute)
		if oldest := through.Add(-24 * time.Hour); at.Before(oldest) {
			at = oldest
		}
		if at.After(through) {
			return nil
		}
		stepped = true
		return stepGuard(ctx, q, state, at, next)
	})
	return stepped && err == nil, err
}

func stepGuard(
	ctx context.Context, q *db.Queries, state guard.State, at time.Time, next func(guard.State, guard.Minute, guard.History) guard.State,
) error {
	counted, err := q.GuardMinute(ctx, at)
	if err != nil {
		return err
	}
	history, err := guardHistory(ctx, q, at)
	if err != nil {
		return err
	}
	minute := guard.Minute{At: at, Pings: counted.Pings, Processes: int(counted.Processes)}
	state = next(state, minute, history)
	err = q.SaveGuardMinute(ctx, db.SaveGuardMinuteParams{
		At: at, Pings: counted.Pings, Processes: counted.Processes, Believed: state.Believed(),
	})
	if err != nil {
		return err
	}
	if state.Accepted {
		if err := q.BelieveGuardMinutes(ctx, state.Since); err != nil {
			return err
		}
	}
	if at.Minute() == 0 { // once an hour is enough
		if err := q.PruneGuardCounts(ctx, at.Add(-keepGuardCounts)); err != nil {
			return err
		}
		if err := q.PruneGuardMinutes(ctx, at.Add(-(guard.Days+1)*24*time.Hour)); err != nil {
			return err
		}
	}
	return q.SaveGuardState(ctx, db.SaveGuardStateParams{
		Phase: string(state.Phase), Minute: state.Minute, Pings: state.Pings, Processes: int32(state.Processes), Expected: state.Expected,
		Since: orNull(state.Since), DetectedAt: orNull(state.DetectedAt), EndedAt: orNull(state.EndedAt), JudgedAt: orNull(state.JudgedAt),
		Streak: int32(state.Streak), Level: state.Level, Seen: state.Seen,
	})
}

func guardHistory(ctx context.Context, q *db.Queries, at time.Time) (guard.History, error) {
	var h guard.History
	days := make([]time.Time, guard.Days)
	for i := range days {
		days[i] = at.Add(-time.Duration(i+1) * 24 * time.Hour)
	}
	same, err := q.GuardDays(ctx, days)
	if err != nil {
		return h, err
	}
	for _, r := range same {
		h.Days = append(h.Days, guard.Past{At: r.At.UTC(), Pings: r.Pings})
	}
	hour, err := q.GuardHour(ctx, db.GuardHourParams{FromAt: at.Add(-24 * time.Hour), BeforeAt: at, MaxRows: guard.Hour})
	for _, r := range hour {
		h.Hour = append(h.Hour, guard.Past{At: r.At.UTC(), Pings: r.Pings})
	}
	return h, err
}

// GuardState returns where the guard stands; the zero state while no minute was judged yet.
func (s *Store) GuardState(ctx context.Context) (guard.State, error) {
	row, err := s.q.GuardState(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return guard.State{}, nil
	}
	if err != nil {
		return guard.State{}, wrap("state of the guard", err)
	}
	return toGuardState(row), nil
}

func toGuardState(r db.GuardStateRow) guard.State {
	return guard.State{
		Phase: guard.Phase(r.Phase), Minute: r.Minute.UTC(), Pings: r.Pings, Processes: int(r.Processes), Expected: r.Expected,
		Since: timeOf(r.Since), DetectedAt: timeOf(r.DetectedAt), EndedAt: timeOf(r.EndedAt), JudgedAt: timeOf(r.JudgedAt),
		Streak: int(r.Streak), Level: r.Level, Seen: r.Seen,
	}
}
