package evaluator

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func epoch() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }

func org() tenant.OrgID { return tenant.OrgID{UUID: uuid.NewSHA1(uuid.Nil, []byte("org"))} }

func monitorID(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "monitor %d", n)) }

// writer makes the log of a partition.
type writer struct {
	log []record.Entry
	seq map[uint64]uint64
}

func (w *writer) append(appender uint64, at time.Time, rec []byte) {
	if w.seq == nil {
		w.seq = map[uint64]uint64{}
	}
	w.seq[appender]++
	record.Stamp(rec, appender, w.seq[appender], at)
	w.log = append(w.log, record.Entry{Offset: int64(len(w.log)), Value: rec})
}

func (w *writer) marker(appender uint64, since, at time.Time) {
	w.append(appender, at, record.AppendMarker(nil, record.Marker{Since: since}))
}

func (w *writer) configure(at time.Time, n int, version int64, change func(*monitor.Config)) {
	c := monitor.DefaultConfig()
	c.Name = fmt.Sprintf("monitor %d", n)
	c.Schedule = schedule.Spec{Interval: model.Duration(time.Minute)}
	c.Grace = model.Duration(10 * time.Second)
	if change != nil {
		change(&c)
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	w.append(1, at, record.AppendControl(nil, &record.Control{
		Org: org(), Monitor: monitorID(n), Action: record.Configure, Version: version, Config: data,
	}))
}

func (w *writer) ping(appender uint64, at time.Time, n int, kind record.PingKind) {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(len(w.log)))
	w.append(appender, at, record.AppendPing(nil, &record.Ping{
		ID: id, Org: org(), Monitor: monitorID(n), Kind: kind, ExitCode: record.NoExitCode, Duration: record.NoDuration,
		Body: []byte("the output"),
	}))
}

// outcome is all that a replay brings forth.
type outcome struct {
	Runs        []checkpoint.Run
	Transitions []checkpoint.Transition
	Incidents   []checkpoint.Incident
	Gaps        []logclock.Gap
	Versions    []checkpoint.Version
	States      map[uuid.UUID]monitor.State
}

// replay applies the log, with a checkpoint and a restart from it wherever cut says so.
func replay(t *testing.T, log []record.Entry, cut func(i int) bool) outcome {
	t.Helper()
	out := outcome{States: map[uuid.UUID]monitor.State{}}
	configs := map[uuid.UUID]monitor.Config{}
	p, err := newPartition(checkpoint.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	save := func() {
		c := p.commit()
		out.Runs = append(out.Runs, c.Runs...)
		out.Transitions = append(out.Transitions, c.Transitions...)
		out.Incidents = append(out.Incidents, c.Incidents...)
		out.Gaps = append(out.Gaps, c.Gaps...)
		out.Versions = append(out.Versions, c.Versions...)
		for _, m := range c.Monitors {
			out.States[m.ID], configs[m.ID] = m.State, m.Config
		}
		for _, d := range c.Deleted {
			delete(out.States, d.Monitor)
		}
		p.done()
	}
	for i, rec := range log {
		if err := p.apply(rec); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if !cut(i) {
			continue
		}
		save()
		snap := checkpoint.Snapshot{Position: checkpoint.Position{Offset: p.next}, Gaps: out.Gaps}
		through(t, &p.clock, &snap.Clock)
		for id, s := range out.States {
			m := checkpoint.Monitor{Org: org(), ID: id}
			through(t, s, &m.State)
			through(t, configs[id], &m.Config)
			snap.Monitors = append(snap.Monitors, m)
		}
		if p, err = newPartition(snap); err != nil {
			t.Fatal(err)
		}
	}
	save()
	var counted census
	for _, s := range out.States {
		counted.count(&s, 1)
	}
	if p.census != counted {
		t.Errorf("%+v is kept up, %+v there are", p.census, counted)
	}
	// Each monitor's are in order; between monitors there is none.
	slices.SortStableFunc(out.Runs, func(a, b checkpoint.Run) int { return byMonitor(a.Ref, b.Ref) })
	slices.SortStableFunc(out.Transitions, func(a, b checkpoint.Transition) int { return byMonitor(a.Ref, b.Ref) })
	slices.SortStableFunc(out.Incidents, func(a, b checkpoint.Incident) int { return byMonitor(a.Ref, b.Ref) })
	slices.SortStableFunc(out.Versions, func(a, b checkpoint.Version) int { return byMonitor(a.Ref, b.Ref) })
	for id, s := range out.States { // in the form in which it is stored
		var stored monitor.State
		through(t, s, &stored)
		out.States[id] = stored
	}
	return out
}

func byMonitor(a, b checkpoint.Ref) int { return slices.Compare(a.Monitor[:], b.Monitor[:]) }

func through(t *testing.T, from, to any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

func never(int) bool { return false }

// TestAnyBatchingIsTheSame: a log of pings, failures, silences, gaps, a second appender with another clock, pauses and new
// configurations comes to the same runs, transitions, incidents and states, wherever it is cut by checkpoints and restarts.
func TestAnyBatchingIsTheSame(t *testing.T) {
	for seed := range uint64(40) {
		w := randomLog(seed)
		want := replay(t, w.log, never)
		rnd := rand.New(rand.NewPCG(seed, 7))
		for _, cut := range []func(int) bool{
			func(i int) bool { return seed < 3 || i%53 == 0 }, // a few after every record
			func(int) bool { return rnd.IntN(10) == 0 },
			func(i int) bool { return i%97 == 0 },
		} {
			got := replay(t, w.log, cut)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d (-whole +cut)\n%s", seed, diff)
			}
		}
		consistent(t, seed, want)
	}
}

// consistent holds what must be true of any outcome.
func consistent(t *testing.T, seed uint64, o outcome) {
	t.Helper()
	status, since := map[uuid.UUID]monitor.Status{}, map[uuid.UUID]time.Time{}
	for _, tr := range o.Transitions {
		if from, ok := status[tr.Monitor]; ok && from != tr.From || tr.From == tr.To {
			t.Fatalf("seed %d: %s from %s to %s, but was %s", seed, tr.Monitor, tr.From, tr.To, from)
		}
		if tr.At.Before(since[tr.Monitor]) || tr.SecondsInPrevious < 0 {
			t.Fatalf("seed %d: %+v goes back", seed, tr)
		}
		status[tr.Monitor], since[tr.Monitor] = tr.To, tr.At
	}
	open := map[uuid.UUID]map[string]uuid.UUID{}
	for _, i := range o.Incidents {
		kinds := open[i.Monitor]
		if kinds == nil {
			kinds = map[string]uuid.UUID{}
			open[i.Monitor] = kinds
		}
		id, is := kinds[string(i.Kind)]
		if i.Resolved && (!is || id != i.ID) || !i.Resolved && is {
			t.Fatalf("seed %d: %+v, open are %v", seed, i, kinds)
		}
		if i.Resolved {
			delete(kinds, string(i.Kind))
		} else {
			kinds[string(i.Kind)] = i.ID
		}
	}
	for id, s := range o.States {
		if len(s.Incidents) != len(open[id]) {
			t.Fatalf("seed %d: %s has %v, open are %v", seed, id, s.Incidents, open[id])
		}
		if diff := cmp.Diff(counted(o, id), s.Totals); diff != "" {
			t.Fatalf("seed %d: totals of %s (-rows +state)\n%s", seed, id, diff)
		}
	}
}

// counted is what a monitor's rows add up to.
func counted(o outcome, id uuid.UUID) *monitor.Totals {
	var sum *monitor.Totals
	for i := range o.Runs {
		if o.Runs[i].Monitor == id {
			sum = orNew(sum)
			sum.AddRun(&o.Runs[i].Run, 1)
		}
	}
	for i := range o.Transitions {
		if o.Transitions[i].Monitor == id {
			sum = orNew(sum)
			sum.AddTransition(&o.Transitions[i].Transition, 1)
		}
	}
	return sum
}

func orNew(t *monitor.Totals) *monitor.Totals {
	if t == nil {
		t = &monitor.Totals{}
	}
	return t
}

func randomLog(seed uint64) *writer {
	rnd := rand.New(rand.NewPCG(seed, 3))
	w := &writer{}
	now := epoch()
	since := map[uint64]time.Time{1: now, 2: now}
	skew := time.Duration(rnd.IntN(2000)) * time.Millisecond
	stamp := func(a uint64) time.Time {
		if a == 2 {
			return now.Add(-skew)
		}
		return now
	}
	for n := range 5 {
		w.configure(now, n, 1, func(c *monitor.Config) {
			c.LateIncidents, c.FailureTolerance = n%2 == 0, n%3
			c.MaxRuntime = model.Duration(time.Duration(n) * 20 * time.Second)
			c.Anomaly.MinRuns = 3
			if n == 3 {
				c.Schedule = schedule.Spec{Cron: "*/2 * * * *", Timezone: "Asia/Tokyo"}
			}
		})
	}
	version := int64(1)
	for range 600 {
		now = now.Add(time.Duration(rnd.IntN(3_000_000)) * time.Microsecond)
		a := 1 + uint64(rnd.IntN(2))
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			w.marker(1, since[1], stamp(1))
			w.marker(2, since[2], stamp(2))
		case 4:
			if rnd.IntN(8) == 0 { // nobody could receive
				now = now.Add(time.Duration(rnd.IntN(90)) * time.Second)
				since[1], since[2] = now, now
			} else if rnd.IntN(3) == 0 {
				now = now.Add(time.Duration(rnd.IntN(100)) * time.Second) // nobody pinged
			}
		case 5:
			if rnd.IntN(6) == 0 {
				version++
				n := rnd.IntN(5)
				w.configure(stamp(1), n, version, func(c *monitor.Config) {
					c.Schedule = schedule.Spec{Interval: model.Duration(time.Duration(20+rnd.IntN(100)) * time.Second)}
				})
			}
		case 6:
			if rnd.IntN(8) == 0 {
				version++
				w.append(1, stamp(1), record.AppendControl(nil, &record.Control{
					Org: org(), Monitor: monitorID(rnd.IntN(4)), Action: record.Action(2 + rnd.IntN(2)), Version: version,
				}))
			}
		default:
			w.ping(a, stamp(a), rnd.IntN(5), record.PingKind(1+rnd.IntN(4)))
			if last := w.log[len(w.log)-1]; rnd.IntN(10) == 0 { // a producer's retry
				w.log = append(w.log, record.Entry{Offset: int64(len(w.log)), Value: last.Value})
			}
		}
	}
	return w
}

// TestABacklogIsNoAlarm: the evaluator was stopped for ten minutes of the log's time under full pinging.
func TestABacklogIsNoAlarm(t *testing.T) {
	w := &writer{}
	now := epoch()
	for n := range 50 {
		w.configure(now, n, 1, func(c *monitor.Config) {
			c.Schedule, c.Grace = schedule.Spec{Interval: model.Duration(2 * time.Second)}, model.Duration(time.Second)
		})
	}
	for s := range 600 {
		for n := range 50 {
			w.ping(1, now.Add(time.Duration(n)*time.Millisecond), n, record.Success)
		}
		now = now.Add(time.Second)
		w.marker(1, epoch(), now)
		_ = s
	}
	if got := replay(t, w.log, never); len(got.Incidents) > 0 || len(got.Gaps) > 0 {
		t.Errorf("%d incidents, gaps %v", len(got.Incidents), got.Gaps)
	}
}

// TestAfterAGap: nobody could receive across the deadlines; who goes on pinging has no incident, who is silent has one.
func TestAfterAGap(t *testing.T) {
	w := &writer{}
	now := epoch()
	for n := range 2 {
		w.configure(now, n, 1, func(c *monitor.Config) {
			c.Schedule, c.Grace = schedule.Spec{Interval: model.Duration(5 * time.Second)}, model.Duration(time.Second)
		})
	}
	since := now
	for s := range 60 {
		now = now.Add(time.Second)
		if s == 20 {
			now = now.Add(time.Minute)
			since = now
		}
		w.marker(1, since, now)
		w.ping(1, now.Add(time.Millisecond), 0, record.Success)
		if s < 20 {
			w.ping(1, now.Add(time.Millisecond), 1, record.Success)
		}
	}
	got := replay(t, w.log, never)
	if diff := cmp.Diff([]logclock.Gap{{From: epoch().Add(20 * time.Second), To: epoch().Add(81 * time.Second)}}, got.Gaps); diff != "" {
		t.Errorf("gaps (-want +got)\n%s", diff)
	}
	if len(got.Incidents) != 1 || got.Incidents[0].Monitor != monitorID(1) {
		t.Fatalf("incidents: %+v", got.Incidents)
	}
	if at, want := got.Incidents[0].At, epoch().Add(87*time.Second); !at.Equal(want) {
		t.Errorf("opened at %v, want %v: interval and grace behind the gap", at, want)
	}
}

func TestWhatCannotBeReadIsSkipped(t *testing.T) {
	p, err := newPartition(checkpoint.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{}
	w.configure(epoch(), 1, 1, nil)
	w.append(1, epoch(), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(2), Action: record.Configure, Version: 1, Config: []byte("{")}))
	w.append(1, epoch(), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(2), Action: record.Configure, Version: 1, Config: []byte("{}")}))
	w.append(1, epoch(), []byte{1, 1, 30: 0})
	w.ping(1, epoch().Add(time.Second), 1, record.Success)
	bad := 0
	for _, rec := range w.log {
		if p.apply(rec) != nil {
			bad++
		}
	}
	if bad != 3 || p.next != 5 || p.monitors[monitorID(1)].state.Status != monitor.Up || len(p.monitors) != 1 {
		t.Errorf("%d bad, next %d, %d monitors", bad, p.next, len(p.monitors))
	}
}

// TestOtherOrganisation: a ping or change under another organisation's name does not touch a monitor.
func TestOtherOrganisation(t *testing.T) {
	p, _ := newPartition(checkpoint.Snapshot{})
	w := &writer{}
	w.configure(epoch(), 1, 1, nil)
	other := tenant.OrgID{UUID: uuid.Max}
	w.append(1, epoch(), record.AppendPing(nil, &record.Ping{Org: other, Monitor: monitorID(1), Kind: record.Fail}))
	w.append(1, epoch(), record.AppendControl(nil, &record.Control{Org: other, Monitor: monitorID(1), Action: record.Delete, Version: 9}))
	for _, rec := range w.log {
		if err := p.apply(rec); err != nil {
			t.Fatal(err)
		}
	}
	if e := p.monitors[monitorID(1)]; e == nil || e.state.Status != monitor.New {
		t.Errorf("it was touched: %+v", e)
	}
}

func TestExcerpt(t *testing.T) {
	long := make([]byte, 0, 3*excerptLen)
	for len(long) < 2*excerptLen {
		long = append(long, "ä\x00\xff"...)
	}
	got := excerpt(long)
	if !json.Valid(fmt.Appendf(nil, "%q", got)) || len(got) == 0 {
		t.Errorf("%q", got)
	}
	for _, r := range got {
		if r == 0 {
			t.Error("a NUL, which jsonb refuses")
		}
	}
	if excerpt(nil) != "" || excerpt([]byte("plain")) != "plain" {
		t.Error("short bodies stay as they are")
	}
}

func BenchmarkApply(b *testing.B) {
	p, _ := newPartition(checkpoint.Snapshot{})
	w := &writer{}
	for n := range 10000 {
		w.configure(epoch(), n, 1, nil)
	}
	now := epoch()
	for i := range 100000 {
		now = now.Add(100 * time.Microsecond)
		w.ping(1, now, i%10000, record.Success)
		if i%10000 == 0 {
			w.marker(1, epoch(), now)
		}
	}
	for _, rec := range w.log[:10000] {
		_ = p.apply(rec)
	}
	p.done()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		rec := w.log[10000+i%(len(w.log)-10000)]
		if i >= len(w.log)-10000 { // a second time round, it would be a repetition
			h, _ := record.ParseHeader(rec.Value)
			record.Stamp(rec.Value, 1, h.Seq+1_000_000*uint64(i), h.At)
		}
		if err := p.apply(rec); err != nil {
			b.Fatal(err)
		}
		if i%10000 == 0 {
			p.done()
		}
	}
}
