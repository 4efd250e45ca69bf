package evaluator

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

func opened(o outcome, k incident.Kind) (n int) {
	for _, i := range o.Incidents {
		if i.Kind == k && !i.Resolved {
			n++
		}
	}
	return n
}

func last(log []record.Entry) func(int) bool {
	return func(i int) bool { return i == len(log)-1 }
}

func T(s float64) time.Time { return epoch().Add(time.Duration(s * float64(time.Second))) }

// The host's clock is put back by 5 min while the process is down (disk log).
func TestClockBackRestart(t *testing.T) {
	var w writer
	w.marker(1, T(0), T(0))
	w.marker(1, T(0), T(600))
	ex := func(since, at float64) {
		w.append(2, T(at), record.AppendMarker(nil, record.Marker{Since: T(since), Exclusive: true}))
	}
	ex(300, 300)
	w.seq[1]++ // configure writes as appender 1; use a control of appender 2 instead
	w.seq[1]--
	n := len(w.log)
	w.configure(T(301), 1, 1, nil)
	record.Stamp(w.log[n].Value, 2, w.seq[2]+1, T(301))
	w.seq[2]++
	w.seq[1]--
	for s := 302.0; s < 400; s += 10 {
		w.ping(2, T(s), 1, record.Success)
		ex(300, s)
	}
	out := replay(t, w.log, last(w.log))
	if n := opened(out, incident.Missed); n > 0 {
		t.Errorf("%d false alarms: pinged every 10 s with interval 1m, grace 10s", n)
	}
}

// Kafka: of two ingest processes one's clock is put back by 5 min; its stamps stand still.
func TestClockBackOfOne(t *testing.T) {
	var w writer
	w.marker(1, T(0), T(0))
	w.marker(2, T(0), T(0))
	w.configure(T(0.5), 1, 1, func(c *monitor.Config) { c.Grace = model.Duration(time.Second) })
	for s := 1.0; s < 300; s++ {
		at := min(s, 60) // appender 2 stands still at 60
		w.marker(1, T(0), T(s))
		w.marker(2, T(0), T(at))
		if int(s)%10 == 0 {
			w.ping(2, T(at), 1, record.Success)
		}
	}
	p, _ := newPartition(checkpoint.Snapshot{})
	for i, e := range w.log {
		_ = p.apply(e)
		if i%60 == 0 {
			t.Log(p.clock.Judged().Sub(epoch()), len(p.clock.Appenders), p.gaps)
		}
	}
	out := replay(t, w.log, last(w.log))
	if n := opened(out, incident.Missed); n > 0 {
		t.Errorf("%d false alarms: pinged every 10 s with interval 1m, grace 1s", n)
	}
}

// Kafka: a process of role read stamps a resume, the broker takes it 4 s later; nobody waits for unmarked appenders.
func TestControlLate(t *testing.T) {
	var w writer
	w.marker(2, T(0), T(0))
	w.configure(T(0.5), 1, 1, func(c *monitor.Config) { c.Schedule.Interval = model.Duration(2 * time.Second); c.Grace = 0 })
	w.ping(2, T(1), 1, record.Success)
	w.append(1, T(1.5), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(1), Action: record.Pause, Version: 2}))
	w.marker(2, T(0), T(10))
	w.marker(2, T(0), T(14))
	w.append(1, T(10), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(1), Action: record.Resume, Version: 3}))
	w.ping(2, T(14.5), 1, record.Success)
	w.marker(2, T(0), T(15))
	out := replay(t, w.log, last(w.log))
	if n := opened(out, incident.Missed); n > 0 {
		t.Errorf("%d false alarms in the instant of the resumption", n)
	}
}

// Records are missing: database restored from a backup, log trimmed beyond; or Kafka's retention.
func TestTrimmed(t *testing.T) {
	var w writer
	w.marker(2, T(0), T(0))
	w.configure(T(0.5), 1, 1, nil)
	for s := 1.0; s < 1000; s++ {
		w.marker(2, T(0), T(s))
		if int(s)%10 == 0 {
			w.ping(2, T(s), 1, record.Success)
		}
	}
	var kept []record.Entry // offsets with a hole
	for i, e := range w.log {
		if i < 50 || i > 800 {
			kept = append(kept, e)
		}
	}
	if _, ok := any(&Evaluator{}).(interface{ Lost(int, error, int64) }); !ok {
		t.Error("the evaluator is no LossObserver")
	}
	pp, _ := newPartition(checkpoint.Snapshot{})
	for i, e := range kept {
		if i == 50 {
			e := &Evaluator{partitions: map[int]*owned{0: {partition: pp}}}
			if o, ok := any(e).(interface{ Lost(int, error, int64) }); ok {
				o.Lost(0, nil, kept[50].Offset)
			}
		}
		_ = pp.apply(e)
	}
	cc := pp.commit()
	out := outcome{Gaps: cc.Gaps, Incidents: cc.Incidents}
	t.Log("gaps:", out.Gaps)
	if n := opened(out, incident.Missed); n > 0 {
		t.Errorf("%d false alarms for pings that we lost", n)
	}
}

// start and finish every 10 s, due in 30 days.
func TestHeapGrows(t *testing.T) {
	var w writer
	w.marker(2, T(0), T(0))
	w.configure(T(0.5), 1, 1, func(c *monitor.Config) {
		c.Schedule.Interval = model.Duration(30 * 24 * time.Hour)
		c.MaxRuntime = model.Duration(3 * time.Second)
	})
	for s := 1.0; s < 100000; s += 10 {
		w.ping(2, T(s), 1, record.Start)
		w.ping(2, T(s+1), 1, record.Success)
		w.marker(2, T(0), T(s+5))
	}
	p, _ := newPartition(checkpoint.Snapshot{})
	for _, e := range w.log {
		_ = p.apply(e)
	}
	if n := len(p.timers.heap); n > 2*tidyAbove {
		t.Errorf("%d timers for one monitor after %d runs", n, 10000)
	}
}

// One stored configuration that this build cannot compile stops every monitor of its partition.
func TestOneBadConfig(t *testing.T) {
	good, bad := monitor.DefaultConfig(), monitor.DefaultConfig()
	good.Schedule.Interval = model.Duration(time.Minute)
	bad.Schedule.Cron, bad.Schedule.Timezone = "0 3 * * *", "US/Pacific-New" // left tzdata in 2020b
	p, faults := newPartition(checkpoint.Snapshot{Monitors: []checkpoint.Monitor{
		{Org: org(), ID: monitorID(1), Config: good}, {Org: org(), ID: monitorID(2), Config: bad},
	}})
	if len(faults) != 1 || len(p.monitors) != 2 {
		t.Errorf("%d monitors, faults %v", len(p.monitors), faults)
	}
}

// A ping that waits for a deadline is gone when a person pauses the monitor, or judged by rules that came after it.
func TestHeldAndControl(t *testing.T) {
	for _, action := range []record.Action{record.Pause, record.Delete} {
		var w writer
		w.marker(2, T(0), T(0))
		w.configure(T(0.5), 1, 1, nil)
		w.ping(2, T(1), 1, record.Success)
		w.marker(2, T(0), T(70.9))
		w.ping(2, T(71.2), 1, record.Success) // deadline 71
		w.append(2, T(71.5), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(1), Action: action, Version: 2}))
		w.marker(2, T(0), T(72))
		out := replay(t, w.log, last(w.log))
		n := 0
		for _, r := range out.Runs {
			if r.Outcome == monitor.Succeeded {
				n++
			}
		}
		if n != 2 {
			t.Errorf("action %d: 2 pings were answered, %d runs are recorded", action, n)
		}
	}
}

func TestHeldAndConfigure(t *testing.T) {
	var w writer
	w.marker(2, T(0), T(0))
	w.configure(T(0.5), 1, 1, func(c *monitor.Config) { c.FailureTolerance = 0 })
	w.ping(2, T(1), 1, record.Success)
	w.marker(2, T(0), T(70.9))
	w.ping(2, T(71.2), 1, record.Fail) // under tolerance 0: an alert
	w.configure(T(71.5), 1, 2, func(c *monitor.Config) { c.FailureTolerance = 5 })
	w.marker(2, T(0), T(72))
	out := replay(t, w.log, last(w.log))
	if opened(out, incident.Fail) != 1 {
		t.Error("a ping was judged by a configuration that came after it in the log: no alert")
	}
}

var _ = uuid.Nil
