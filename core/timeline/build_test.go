package timeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/timeline"
)

func at(clock string) time.Time {
	t, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return epoch().Truncate(24 * time.Hour).Add(t.Sub(t.Truncate(24 * time.Hour)))
}

func hourly(name string) *monitor.Config {
	c := monitor.DefaultConfig()
	c.Name, c.Schedule = name, schedule.Spec{Interval: model.Duration(time.Hour)}
	return &c
}

// TestEachFamilyNeedsSomething: a new family is told what it is made of.
func TestEachFamilyNeedsSomething(t *testing.T) {
	var all timeline.Needs
	for _, f := range metric.Families() {
		n := timeline.NeedsOf([]string{f.Name})
		if n == (timeline.Needs{}) {
			t.Errorf("%s needs nothing", f.Name)
		}
		all = timeline.NeedsOf(nil)
	}
	var names []string
	for _, f := range metric.Families() {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff(all, timeline.NeedsOf(names)); diff != "" {
		t.Errorf("all by name need (-nil +names)\n%s", diff)
	}
	if n := timeline.NeedsOf([]string{"up", "tokiflow_monitor_none"}); n != (timeline.Needs{}) {
		t.Errorf("what is no family needs %+v", n)
	}
}

// TestOneFamilyAsAll: what is left out for a family's sake changes nothing of it; and with a grid, nothing that is seen on it.
func TestOneFamilyAsAll(t *testing.T) {
	for seed := range uint64(40) {
		w := newWalk(seed, 60, true)
		q := timeline.Query{From: w.kept[len(w.kept)/4].at, To: w.now.Add(time.Minute)}
		rows := w.cut(q)
		all := timeline.Build(rows, q)
		for _, f := range metric.Families() {
			one := timeline.Query{From: q.From, To: q.To, Step: 7 * time.Minute, Families: []string{f.Name}}
			got := timeline.Build(rows, one)
			if n := int(q.To.Sub(q.From)/one.Step) + 3; len(got.Points) > n {
				t.Fatalf("seed %d, %s: %d points on a grid of %d", seed, f.Name, len(got.Points), n)
			}
			first := time.Unix(q.From.Unix()/420*420, 0).UTC() // from 1970 on
			for g := first.Add(one.Step); !g.After(q.To); g = g.Add(one.Step) {
				if !all.End.IsZero() && !g.Before(all.End) {
					break
				}
				a, b := inForce(all, g), inForce(got, g)
				for _, s := range f.Series {
					x, hasX := s.Line(a)
					y, hasY := s.Line(b)
					if hasX != hasY || hasX && !same(x.Value(g), y.Value(g)) {
						t.Fatalf("seed %d, %s%s{%s} at %s: alone %v %v, else %v %v", seed, f.Name, s.Suffix, s.Value, clock(g), y.Value(g), hasY, x.Value(g), hasX)
					}
				}
			}
		}
	}
}

func TestLabels(t *testing.T) {
	rows := &timeline.Rows{Versions: []timeline.Version{
		{At: at("12:00:00"), Project: "a", Config: hourly("one")},
		{At: at("12:10:00"), Project: "a", Config: hourly("two")},
		{At: at("12:20:00"), Project: "a", Config: hourly("two")}, // another grace
		{At: at("12:30:00"), Project: "b", Config: hourly("two")},
		{At: at("12:40:00"), Deleted: true},
	}}
	for _, c := range []struct {
		from, to string
		want     string
		points   int
	}{
		{"11:00:00", "11:59:59", "", 0},
		{"11:00:00", "12:05:00", "12:00:00 one a\n", 1},
		{"12:05:00", "12:45:00", "12:00:00 one a\n12:10:00 two a\n12:30:00 two b\n", 1},
		{"12:10:00", "12:15:00", "12:10:00 two a\n", 1},
		{"12:25:00", "12:26:00", "12:20:00 two a\n", 1},
		{"12:40:00", "12:50:00", "", 0},
	} {
		tl := timeline.Build(rows, timeline.Query{From: at(c.from), To: at(c.to), Families: []string{metric.InfoName}})
		var b strings.Builder
		for _, s := range tl.Labels {
			b.WriteString(s.From.Format("15:04:05"))
			for _, l := range s.Labels {
				if l.Name == "monitor" || l.Name == "project" {
					b.WriteString(" " + l.Value)
				}
			}
			b.WriteString("\n")
		}
		if got := b.String(); got != c.want || len(tl.Points) != c.points {
			t.Errorf("%s to %s: %d points, %q; want %d, %q", c.from, c.to, len(tl.Points), got, c.points, c.want)
		}
	}
}

// TestADeletedMonitorEnds: at the instant of its deletion there is nothing of it any more.
func TestADeletedMonitorEnds(t *testing.T) {
	rows := &timeline.Rows{
		Versions: []timeline.Version{{At: at("12:00:00")}, {At: at("12:40:00"), Deleted: true}},
		Transitions: []monitor.Transition{
			{At: at("12:10:00"), From: monitor.New, To: monitor.Up},
			{At: at("12:40:00"), From: monitor.Up, To: monitor.Paused, Reason: "deleted", SecondsInPrevious: 1800},
		},
	}
	up := []string{"tokiflow_monitor_up"}
	tl := timeline.Build(rows, timeline.Query{From: at("11:00:00"), To: at("13:00:00"), Families: up})
	if n := len(tl.Points); n != 2 || !tl.End.Equal(at("12:40:00")) || !tl.Points[0].At.Equal(at("12:00:00")) || tl.Points[1].Status != monitor.Up {
		t.Errorf("ends %s with %+v", tl.End, tl.Points)
	}
	if tl := timeline.Build(rows, timeline.Query{From: at("12:20:00"), To: at("12:39:59"), Families: up}); !tl.End.IsZero() || len(tl.Points) != 1 {
		t.Errorf("it lived on, and ends %s", tl.End)
	}
}

// TestRetentionBreaksNoCounter: where rows are gone the counter stands where it was counted to.
func TestRetentionBreaksNoCounter(t *testing.T) {
	rows := &timeline.Rows{
		Versions:    []timeline.Version{{At: at("12:00:00")}},
		Totals:      monitor.Totals{Succeeded: 100, UpTime: time.Hour, Outages: 3},
		TotalsAt:    at("20:00:00"),
		Transitions: []monitor.Transition{{At: at("18:00:00"), From: monitor.Up, To: monitor.Down, SecondsInPrevious: 600}},
		Runs:        []monitor.Run{{FinishedAt: at("19:00:00"), Outcome: monitor.Succeeded, Duration: -1}},
	}
	tl := timeline.Build(rows, timeline.Query{From: at("13:00:00"), To: at("20:00:00")})
	var got []string
	for _, p := range tl.Points {
		got = append(got, fmt.Sprint(p.At.Format("15:04"), " ", p.Status, " since ", p.Since.Format("15:04"), " ", p.Totals.Succeeded, " ", p.Totals.UpTime, " ", p.Totals.Outages))
	}
	want := []string{"13:00 up since 17:50 99 50m0s 2", "18:00 down since 18:00 99 1h0m0s 3", "19:00 down since 18:00 100 1h0m0s 3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestARetryLeavesNoRow: the last ping is told as the state has it from its instant on, and not of the retries before.
func TestARetryLeavesNoRow(t *testing.T) {
	s := &monitor.State{Status: monitor.Up, Since: at("12:10:00")}
	s.LastPing.At = at("12:30:05")
	rows := &timeline.Rows{
		Versions: []timeline.Version{{At: at("12:00:00")}}, State: s, Settled: true,
		Runs: []monitor.Run{
			{FinishedAt: at("12:10:00"), Outcome: monitor.Succeeded, Duration: -1}, // repeated at 12:10:05
			{FinishedAt: at("12:30:00"), Outcome: monitor.Succeeded, Duration: -1}, // repeated at 12:30:05
		},
	}
	tl := timeline.Build(rows, timeline.Query{From: at("12:00:00"), To: at("13:00:00"), Families: []string{"tokiflow_monitor_last_ping_timestamp_seconds"}})
	var got []string
	for _, p := range tl.Points {
		got = append(got, clock(p.LastPing))
	}
	if diff := cmp.Diff([]string{"-", clock(at("12:10:00")), clock(at("12:30:00")), clock(at("12:30:05"))}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// BenchmarkBuild makes the points of a day of a monitor that runs every five minutes, on a grid of a minute.
func BenchmarkBuild(b *testing.B) {
	end := epoch().Add(24 * time.Hour)
	rows := &timeline.Rows{Versions: []timeline.Version{{At: epoch(), Config: hourly("m")}}, TotalsAt: end}
	for i := range 288 {
		r := monitor.Run{StartedAt: epoch().Add(time.Duration(i) * 5 * time.Minute), Outcome: monitor.Succeeded, Duration: time.Duration(i) * time.Second / 10}
		r.FinishedAt = r.StartedAt.Add(r.Duration)
		rows.Runs = append(rows.Runs, r)
		rows.Totals.AddRun(&r, 1)
	}
	for _, family := range []string{"runs_total", "run_duration_seconds", "due_timestamp_seconds"} {
		b.Run(family, func(b *testing.B) {
			builder := timeline.NewBuilder(timeline.Query{From: epoch(), To: end, Step: time.Minute, Families: []string{"tokiflow_monitor_" + family}})
			b.ReportAllocs()
			for b.Loop() {
				if tl := builder.Build(rows); len(tl.Points) < 288 {
					b.Fatalf("%d points", len(tl.Points))
				}
			}
		})
	}
}
