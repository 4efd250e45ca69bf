package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/baseline"
	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

// fleet are monitors that have lived for a while.
func fleet(n int) []checkpoint.Monitor {
	out := make([]checkpoint.Monitor, n)
	for i := range out {
		c := monitor.DefaultConfig()
		c.Name, c.Schedule.Cron, c.Tags = "nightly backup of a database", "*/5 * * * *", []string{"db", "nightly"}
		s := monitor.State{
			Status: monitor.Up, Since: instant(1), Version: 1, LastPing: monitor.LastPing{At: instant(50), Kind: record.Success},
			LastSuccess: instant(50), Due: instant(300), Deadline: instant(360), Baseline: baseline.Stats{N: 1000, Mean: 12.3, M2: 4.5},
			ZScore: 0.123456789, Opened: 3, Totals: &monitor.Totals{Succeeded: 1000, Failed: 3, Outages: 3, Recoveries: 3, UpTime: time.Hour},
		}
		for j := range 60 {
			s.Totals.Durations.Add(time.Duration(i%97+j*j+1)*100*time.Millisecond, int64(j+1))
		}
		for range 8 {
			s.Closed = append(s.Closed, monitor.ClosedRun{ID: uuid.New(), At: instant(50)})
		}
		out[i] = checkpoint.Monitor{ID: uuid.New(), Config: c, State: s, ConfigChanged: true}
	}
	return out
}

// BenchmarkStates reads an organisation of 10,000 monitors: all, those that changed (100), and where nothing did.
func BenchmarkStates(b *testing.B) {
	pool := pgtest.New(b)
	s := store.New(pool)
	boot, err := s.Bootstrap(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	monitors := fleet(10_000)
	for i := range monitors {
		monitors[i].Org = boot.Org.ID
	}
	c := s.Checkpoints("log")
	snap, err := c.LoadPartition(b.Context(), 0, 1)
	if err != nil {
		b.Fatal(err)
	}
	save := func(list []checkpoint.Monitor) {
		if err := c.SaveCheckpoint(b.Context(), checkpoint.Commit{Position: snap.Position, Clock: &logclock.Clock{}, Monitors: list}); err != nil {
			b.Fatal(err)
		}
	}
	save(monitors)
	if _, err := pool.Exec(b.Context(), `vacuum analyze monitor_states`); err != nil {
		b.Fatal(err)
	}
	for i := range monitors {
		monitors[i].ConfigChanged = false
	}
	read := func(since int64, want int) int64 {
		got, err := s.MonitorStates(b.Context(), boot.Org.ID, since)
		if err != nil || len(got.Monitors) != want {
			b.Fatalf("%d monitors, want %d; %v", len(got.Monitors), want, err)
		}
		return got.Cursor
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			read(0, len(monitors))
		}
	})
	b.Run("changed=100", func(b *testing.B) {
		cursor := read(0, len(monitors))
		for b.Loop() {
			b.StopTimer()
			save(monitors[:100])
			b.StartTimer()
			cursor = read(cursor, 100)
		}
	})
	b.Run("changed=0", func(b *testing.B) {
		cursor := read(0, len(monitors))
		for b.Loop() {
			read(cursor, 0)
		}
	})
	b.Run("checkpoint=1000", func(b *testing.B) {
		for b.Loop() {
			save(monitors[:1000])
		}
	})
}
