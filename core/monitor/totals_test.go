package monitor_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// past is a monitor under random events, with all that Next has returned.
type past struct {
	t           *testing.T
	rnd         *rand.Rand
	rules       *monitor.Rules
	gaps        logclock.Gaps
	now         time.Time
	version     int64
	state       monitor.State
	runs        []monitor.Run
	transitions []monitor.Transition
}

func newPast(t *testing.T, seed uint64) *past {
	t.Helper()
	p := &past{t: t, rnd: rand.New(rand.NewPCG(seed, 11)), now: at(1, "00:00")}
	p.configure()
	return p
}

func (p *past) configure() {
	c := monitor.DefaultConfig()
	c.Schedule = schedule.Spec{Interval: model.Duration(time.Duration(1+p.rnd.IntN(10)) * time.Minute)}
	if p.rnd.IntN(3) == 0 {
		c.Schedule = schedule.Spec{Cron: "*/3 * * * *"}
	}
	c.Grace = model.Duration(p.rnd.IntN(2)) * model.Duration(time.Minute)
	c.MaxRuntime = model.Duration(p.rnd.IntN(2)) * model.Duration(2*time.Minute)
	c.FailureTolerance, c.ManualResume = p.rnd.IntN(2), p.rnd.IntN(2) == 0
	c.Anomaly.MinRuns = 3
	s, err := c.Schedule.Compile()
	if err != nil {
		p.t.Fatal(err)
	}
	next := monitor.NewRules(c, s)
	if p.rules == nil {
		p.rules = next
	}
	p.control(record.Configure, next)
	p.rules = next
}

func (p *past) control(a record.Action, rules *monitor.Rules) {
	p.version++
	p.next(monitor.Event{Judged: p.now, Control: &monitor.Control{At: p.now, Action: a, Version: p.version, Rules: rules}})
}

func (p *past) next(e monitor.Event) {
	p.t.Helper()
	e.Gaps = &p.gaps
	given, before := p.state, stored(p.t, p.state)
	state, out := monitor.Next(uuid.Max, p.rules, p.state, e)
	if d := cmp.Diff(before, stored(p.t, given)); d != "" {
		p.t.Fatalf("Next changed what it was given (-before +after)\n%s", d)
	}
	p.state = state
	p.runs = append(p.runs, out.Runs...)
	p.transitions = append(p.transitions, out.Transitions...)
}

// stored is the state as its JSON: it has everything and shares nothing.
func stored(t *testing.T, s monitor.State) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// happen lets something happen, some time later.
func (p *past) happen() {
	began := p.now
	p.now = p.now.Add(time.Duration(p.rnd.Int64N(int64(3*time.Minute))) / 1000 * 1000)
	switch p.rnd.IntN(20) {
	case 0:
		p.configure()
	case 1:
		p.control([]record.Action{record.Pause, record.Resume}[p.rnd.IntN(2)], nil)
	case 2:
		p.gaps.Add(logclock.Gap{From: began, To: p.now})
	case 3, 4, 5:
	default:
		ping := monitor.Ping{
			ID: uuid.New(), At: p.now, Kind: record.PingKind(1 + p.rnd.IntN(4)), ExitCode: record.NoExitCode, Duration: record.NoDuration,
		}
		if p.rnd.IntN(3) == 0 {
			ping.RID = uuid.UUID{byte(p.rnd.IntN(3))}
		}
		if p.rnd.IntN(3) == 0 {
			ping.Duration = time.Duration(p.rnd.IntN(3)*p.rnd.IntN(1e9)) * time.Microsecond
		}
		p.next(monitor.Event{Judged: began, Ping: &ping})
	}
	p.next(monitor.Event{Judged: p.now})
}

// TestTotalsAreTheSumOfWhatHappened: whatever happens, and taken back one by one nothing is left.
func TestTotalsAreTheSumOfWhatHappened(t *testing.T) {
	outcomes := map[monitor.Outcome]int{}
	for seed := range uint64(50) {
		p := newPast(t, seed)
		for range 300 {
			p.happen()
		}
		var sum monitor.Totals
		for i := range p.runs {
			outcomes[p.runs[i].Outcome]++
			sum.AddRun(&p.runs[i], 1)
		}
		for i := range p.transitions {
			sum.AddTransition(&p.transitions[i], 1)
		}
		if d := cmp.Diff(&sum, p.state.Totals); d != "" {
			t.Fatalf("seed %d (-sum +totals)\n%s", seed, d)
		}
		var read monitor.State
		if err := json.Unmarshal([]byte(stored(t, p.state)), &read); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p.state.Totals, read.Totals); d != "" {
			t.Fatalf("seed %d (-totals +stored)\n%s", seed, d)
		}
		back := p.state.Totals.Clone()
		p.rnd.Shuffle(len(p.runs), func(i, j int) { p.runs[i], p.runs[j] = p.runs[j], p.runs[i] })
		for i := range p.runs {
			back.AddRun(&p.runs[i], -1)
		}
		for i := range p.transitions {
			back.AddTransition(&p.transitions[i], -1)
		}
		back.LastDuration = 0 // is not put back
		if d := cmp.Diff(&monitor.Totals{}, back, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("seed %d: left over (-nothing +left)\n%s", seed, d)
		}
		if d := cmp.Diff(&sum, p.state.Totals); d != "" {
			t.Fatalf("seed %d: taking back from a clone changed the state\n%s", seed, d)
		}
	}
	for _, o := range []monitor.Outcome{monitor.Succeeded, monitor.Failed, monitor.Missed, monitor.Abandoned, monitor.Unknown} {
		if outcomes[o] < 10 {
			t.Errorf("the test has seen %d runs %s: too few to say anything", outcomes[o], o)
		}
	}
}

func TestTotalsOfTransitions(t *testing.T) {
	var got monitor.Totals
	for _, x := range []monitor.Transition{
		{From: monitor.New, To: monitor.Up, SecondsInPrevious: 100},
		{From: monitor.Up, To: monitor.Late, SecondsInPrevious: 1.000001},
		{From: monitor.Late, To: monitor.Down, SecondsInPrevious: 2},
		{From: monitor.Down, To: monitor.Up, SecondsInPrevious: 0.25},
		{From: monitor.Up, To: monitor.Down, SecondsInPrevious: 0.1},
		{From: monitor.Down, To: monitor.Paused, SecondsInPrevious: 0.75},
		{From: monitor.Paused, To: monitor.Up, SecondsInPrevious: 1000},
	} {
		got.AddTransition(&x, 1)
	}
	want := monitor.Totals{UpTime: 3_100_001 * time.Microsecond, DownTime: time.Second, Outages: 2, Recoveries: 2}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
