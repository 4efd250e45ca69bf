package timeline_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/timeline"
)

func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// walk is a monitor led through the state machine by chance, with what it leaves behind: the rows, and the state after each
// step.
type walk struct {
	rand    *rand.Rand
	retries bool // whether clients retry pings that counted already
	now     time.Time
	judged  time.Time // what is received is never stamped earlier
	rules   *monitor.Rules
	state   monitor.State
	gaps    logclock.Gaps
	seq     int
	rids    []uuid.UUID
	gone    bool

	rows  timeline.Rows
	kept  []kept
	blurs []blur
	log   []string
}

// kept is the state after everything up to an instant.
type kept struct {
	at    time.Time
	state monitor.State
	gaps  logclock.Gaps // known by then
}

// blur is a time in which the state did not say yet what was judged of it afterwards.
type blur struct{ from, to time.Time }

// newWalk is the walk of that seed, of n steps.
func newWalk(seed uint64, n int, retries bool) *walk {
	w := &walk{rand: rand.New(rand.NewPCG(seed, 7)), retries: retries, now: epoch()}
	w.rows.ID = uuid.UUID{0: 1, 15: byte(seed)}
	w.configure()
	for range n {
		if w.gone {
			break
		}
		w.step()
	}
	w.finish()
	return w
}

func (w *walk) chance(p float64) bool { return w.rand.Float64() < p }

func (w *walk) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d))).Truncate(time.Microsecond)
}

func (w *walk) step() {
	w.pass()
	switch p := w.rand.IntN(100); {
	case p < 70:
		w.ping()
	case p < 77:
		w.configure()
	case p < 82:
		w.control("pause", monitor.Control{Action: record.Pause})
	case p < 88:
		w.control("resume", monitor.Control{Action: record.Resume})
	case p < 94:
		for _, k := range slices.Sorted(maps.Keys(w.state.Incidents)) {
			w.control("resolve "+string(k), monitor.Control{Action: record.ResolveIncident, Incident: w.state.Incidents[k]})
			break
		}
	case p < 99:
		w.gap()
	case w.chance(0.3):
		w.control("delete", monitor.Control{Action: record.Delete})
	}
}

// pass lets time go by, and judges what falls due.
func (w *walk) pass() {
	var d time.Duration
	switch w.rand.IntN(8) {
	case 0: // the same instant
	case 1:
		d = w.upTo(5 * time.Second)
	case 2, 3:
		d = w.upTo(time.Minute)
	case 4, 5, 6:
		d = w.upTo(6 * time.Minute)
	default:
		d = w.upTo(40 * time.Minute)
	}
	to := w.now.Add(d)
	if t := w.state.Timer(); !t.IsZero() && t.After(w.now) && w.chance(0.05) {
		to = t // just when something is judged
	}
	for t := w.state.Timer(); !t.IsZero() && !t.After(to); t = w.state.Timer() {
		if w.now = latest(w.now, t); t.Before(w.now) { // a new schedule made it so
			w.blurs = append(w.blurs, blur{t, w.now})
		}
		w.next("tick", w.now, monitor.Event{Judged: t})
	}
	w.now, w.judged = to, latest(w.judged, to.Add(-3*time.Second))
}

// stamp is the time of what comes now, by a clock that may be behind that of what came before.
func (w *walk) stamp() time.Time {
	if d := w.now.Sub(w.judged); d > 0 && w.chance(0.1) {
		return w.judged.Add(w.upTo(d))
	}
	return w.now
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (w *walk) ping() {
	kinds := []record.PingKind{record.Start, record.Start, record.Success, record.Success, record.Success, record.Fail, record.Log}
	w.seq++
	p := monitor.Ping{
		ID: uuid.UUID{0: 2, 13: byte(w.seq >> 16), 14: byte(w.seq >> 8), 15: byte(w.seq)}, At: w.now, Kind: kinds[w.rand.IntN(len(kinds))],
		ExitCode: record.NoExitCode, Duration: record.NoDuration,
	}
	if w.chance(0.5) {
		p.RID = w.rid()
	}
	if p.Kind != record.Start && w.chance(0.3) {
		p.Duration = w.upTo(10 * time.Second)
		if w.chance(0.2) {
			p.Duration = time.Second << w.rand.IntN(5)
		}
	}
	p.At = w.stamp()
	e := monitor.Event{Judged: w.judged, Ping: &p, Gaps: &w.gaps}
	if after, out := monitor.Next(w.rows.ID, w.rules, w.state, e); !w.retries && len(out.Runs) == 0 &&
		after.LastPing.At != w.state.LastPing.At && len(after.Open) == len(w.state.Open) {
		return // a retry
	}
	w.next(fmt.Sprintf("%v rid=%v %v", p.Kind, p.RID, p.Duration), p.At, e)
}

// rid is a run id: of a run that goes on, of an old one, or a new one.
func (w *walk) rid() uuid.UUID {
	if n := len(w.rids); n > 0 && w.chance(0.6) {
		return w.rids[max(0, n-1-w.rand.IntN(4))]
	}
	id := uuid.UUID{0: 3, 14: byte(len(w.rids) >> 8), 15: byte(len(w.rids))}
	w.rids = append(w.rids, id)
	return id
}

func (w *walk) configure() {
	c := monitor.DefaultConfig()
	if w.rules != nil && w.chance(0.3) {
		c = w.rules.Config // no more than a new name
		c.Name = fmt.Sprint("name ", w.seq)
	} else {
		c.Name = "walker"
		c.Schedule = schedule.Spec{Interval: model.Duration(time.Minute * time.Duration(1+w.rand.IntN(10)))}
		if w.chance(0.5) {
			c.Schedule = schedule.Spec{Cron: []string{"*/5 * * * *", "*/10 * * * *", "7 * * * *", "0 0 30 2 *"}[min(3, w.rand.IntN(20)/6)]}
		}
		c.Grace = model.Duration(w.upTo(3 * time.Minute))
		c.Early = model.Duration(w.upTo(2 * time.Minute))
		if w.chance(0.5) {
			c.MaxRuntime = model.Duration(w.upTo(15 * time.Minute))
		}
		c.FailureTolerance = w.rand.IntN(3)
		c.ManualResume, c.LateIncidents = w.chance(0.3), w.chance(0.5)
		c.Anomaly.MinRuns, c.Anomaly.ZScore, c.Anomaly.MinDeviation = 2, 1, 0
	}
	s, err := c.Schedule.Compile()
	if err != nil {
		panic(err)
	}
	w.control(fmt.Sprintf("configure %v grace=%v early=%v max=%v", c.Schedule, c.Grace, c.Early, c.MaxRuntime),
		monitor.Control{Action: record.Configure, Rules: monitor.NewRules(c, s)})
	w.now = w.now.Add(time.Microsecond) // a ping of the same instant would be taken for one before it
	w.judged = w.now
}

func (w *walk) control(what string, c monitor.Control) {
	c.At, c.Version = w.stamp(), w.state.Version+1
	if w.rules == nil {
		w.rules = c.Rules
	}
	w.next(what, c.At, monitor.Event{Judged: w.judged, Control: &c})
	w.judged = latest(w.judged, c.At) // nothing comes behind it with an older stamp: the order of those two would not be known
	if c.Rules != nil {
		w.rules = c.Rules
	}
	if c.Rules != nil || w.gone {
		at := latest(latest(c.At, w.state.Since), w.state.LastPing.At) // as the evaluator says it
		v := timeline.Version{At: at, Deleted: w.gone, Config: &w.rules.Config}
		if n := len(w.rows.Versions); n > 0 && w.rows.Versions[n-1].At.Equal(at) {
			w.rows.Versions = w.rows.Versions[:n-1]
		}
		w.rows.Versions = append(w.rows.Versions, v)
	}
}

// gap is a time in which nothing comes in. What falls due in it is judged at its end.
func (w *walk) gap() {
	if l := list(&w.gaps); len(l) > 0 && !l[0].To.Before(w.now) {
		return // it would be the same
	}
	g := logclock.Gap{From: w.now, To: w.now.Add(time.Second + w.upTo(12*time.Minute))}
	if w.chance(0.2) {
		if t := w.state.Timer(); t.After(w.now) {
			g.To = t // or at its last instant
		}
	}
	w.gaps = *logclock.NewGaps(append(list(&w.gaps), g))
	w.now = g.To
	w.next(fmt.Sprint("gap from ", g.From), w.now, monitor.Event{Judged: g.To})
}

func list(g *logclock.Gaps) (l []logclock.Gap) {
	for t := epoch().Add(10000 * time.Hour); ; {
		x, ok := g.Last(time.Time{}, t)
		if !ok {
			return l
		}
		l = append(l, x)
		t = x.From.Add(-time.Nanosecond)
	}
}

// next takes a step and keeps what came of it.
func (w *walk) next(what string, at time.Time, e monitor.Event) {
	e.Gaps = &w.gaps
	w.judged = latest(w.judged, e.Judged)
	state, out := monitor.Next(w.rows.ID, w.rules, w.state, e)
	w.state = state
	w.log = append(w.log, fmt.Sprintf("%s %s", clock(at), what))
	happened := func(t time.Time, what string, args ...any) {
		w.log = append(w.log, fmt.Sprintf("    %s → %s", clock(t), fmt.Sprintf(what, args...)))
		if t.Before(at) {
			w.blurs = append(w.blurs, blur{t, at})
		}
	}
	for _, r := range out.Runs {
		happened(r.FinishedAt, "run %s began %s took %v", r.Outcome, clock(r.StartedAt), r.Duration)
		w.rows.Runs = append(w.rows.Runs, r)
	}
	for _, t := range out.Transitions {
		happened(t.At, "%s %s: %s", t.From, t.To, t.Reason)
		w.rows.Transitions = append(w.rows.Transitions, t)
	}
	for _, c := range out.Incidents {
		happened(c.At, "%s resolved=%v %s", c.Kind, c.Resolved, c.Reason)
		if c.Resolved {
			for i := range w.rows.Incidents {
				if n := &w.rows.Incidents[i]; n.Kind == c.Kind && n.Resolved.IsZero() {
					n.Resolved, n.ByPerson = c.At, c.Reason == "person"
				}
			}
			continue
		}
		n := timeline.Incident{Kind: c.Kind, Opened: c.At}
		if c.Kind == "missed" {
			n.Due, n.Deadline = *c.Evidence.DueAt, *c.Evidence.DeadlineAt
		}
		w.rows.Incidents = append(w.rows.Incidents, n)
	}
	w.gone = out.Deleted
	w.log = append(w.log, fmt.Sprintf("    %s due %s deadline %s open %d ping %s", state.Status, clock(state.Due), clock(state.Deadline),
		len(state.Open), clock(state.LastPing.At)))
	// Where the clock of a control was behind, what it did stands at its own time.
	if e.Control != nil {
		at = latest(latest(e.Control.At, state.Since), state.LastPing.At)
	}
	if e.Ping != nil && !w.gone {
		at = latest(state.LastPing.At, e.Ping.At)
	}
	for n := len(w.kept); n > 0 && !w.kept[n-1].at.Before(at); n-- {
		w.kept = w.kept[:n-1]
	}
	w.kept = append(w.kept, kept{at, state, w.gaps})
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("15:04:05.000000")
}

// finish puts the rows into the order of time and completes them.
func (w *walk) finish() {
	slices.SortStableFunc(w.rows.Runs, func(a, b monitor.Run) int { return a.FinishedAt.Compare(b.FinishedAt) })
	slices.SortStableFunc(w.rows.Transitions, func(a, b monitor.Transition) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(w.rows.Incidents, func(a, b timeline.Incident) int { return a.Opened.Compare(b.Opened) })
	w.rows.Gaps = &w.gaps
	if w.gone {
		w.rows.TotalsAt = epoch().Add(-time.Hour)
		return
	}
	w.rows.State = &w.state
	w.rows.Totals = *w.state.Totals.Clone()
	w.rows.TotalsAt = w.now
}
