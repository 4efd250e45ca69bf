package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/store"
)

// historyLength is how far back the history goes: the day that is asked for, and what its first windows look back to.
const historyLength = 26 * time.Hour

// writeHistory gives every monitor of the database a history until end, as if the evaluator had judged the pings: by its
// rules, into its tables. The process that runs on the database knows nothing of it, and does not touch it, since nothing is
// expected of a monitor that was never pinged.
func writeHistory(ctx context.Context, url string, end time.Time) (runs int, err error) {
	pool, err := pg.Open(ctx, url, pg.Options{ApplicationName: "bench"})
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	if err := awaitStates(ctx, pool, queryMonitors); err != nil {
		return 0, err
	}
	checkpoints := store.New(pool).Checkpoints("bench")
	snap, err := checkpoints.LoadPartition(ctx, 0, 1)
	if err != nil {
		return 0, err
	}
	for i := range snap.Monitors {
		c := checkpoint.Commit{Position: snap.Position, Next: snap.Position.Offset, Clock: &snap.Clock}
		if err := simulate(i, snap.Monitors[i], end, &c); err != nil {
			return 0, err
		}
		if err := checkpoints.SaveCheckpoint(ctx, c); err != nil {
			return 0, err
		}
		runs += len(c.Runs)
	}
	_, err = pool.Exec(ctx, `vacuum analyze runs, transitions, monitor_states, monitor_versions`) // as the server does it in time
	return runs, err
}

// awaitStates waits until the evaluator has heard of the monitors.
func awaitStates(ctx context.Context, pool *pgxpool.Pool, n int) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var there int
		if err := pool.QueryRow(ctx, `select count(*) from monitor_states`).Scan(&there); err != nil {
			return err
		}
		if there == n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d monitors have a state after a minute", there, n)
		}
	}
}

// simulate lets a monitor run every 5 minutes: each tenth fails now and then, each fiftieth is missed for a while.
func simulate(number int, m checkpoint.Monitor, end time.Time, into *checkpoint.Commit) error {
	schedule, err := m.Config.Schedule.Compile()
	if err != nil {
		return err
	}
	rules, gaps := monitor.NewRules(m.Config, schedule), &logclock.Gaps{}
	ref := checkpoint.Ref{Org: m.Org, Monitor: m.ID}
	from := end.Add(-historyLength)
	into.Versions = append(into.Versions, checkpoint.Version{Ref: ref, At: from, Config: m.Config})
	m.State.Since = from
	ping := func(p monitor.Ping) {
		p.ID, p.ExitCode = uuid.New(), record.NoExitCode
		state, out := monitor.Next(m.ID, rules, m.State, monitor.Event{Judged: p.At, Gaps: gaps, Ping: &p})
		m.State = state
		for _, r := range out.Runs {
			into.Runs = append(into.Runs, checkpoint.Run{Ref: ref, Run: r})
		}
		for _, t := range out.Transitions {
			into.Transitions = append(into.Transitions, checkpoint.Transition{Ref: ref, Transition: t})
		}
	}
	at := from.Add(time.Duration(number%1000) * 290 * time.Millisecond)
	for k := 0; ; k++ {
		started := at.Add(time.Duration(k) * 5 * time.Minute)
		took := time.Duration(1+(k*7+number)%40) * 1250 * time.Millisecond
		if !started.Add(took).Before(end) {
			break
		}
		if number%50 == 7 && k%100 > 90 {
			continue
		}
		kind := record.Success
		if number%10 == 0 && k%20 == 0 {
			kind = record.Fail
		}
		ping(monitor.Ping{At: started, Kind: record.Start, Duration: record.NoDuration})
		ping(monitor.Ping{At: started.Add(took), Kind: kind, Duration: record.NoDuration})
	}
	into.Monitors = append(into.Monitors, m)
	return nil
}
