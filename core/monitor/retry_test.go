package monitor_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
)

type sim struct {
	t     *testing.T
	rules *monitor.Rules
	s     monitor.State
	inc   []incident.Change
	runs  []monitor.Run
}

func newSim(t *testing.T, spec schedule.Spec, maxRuntime time.Duration) *sim {
	c := monitor.DefaultConfig()
	c.Schedule, c.MaxRuntime = spec, model.Duration(maxRuntime)
	sch, err := spec.Compile()
	if err != nil {
		t.Fatal(err)
	}
	x := &sim{t: t, rules: monitor.NewRules(c, sch)}
	x.next(monitor.Event{Control: &monitor.Control{At: at(1, "00:00"), Action: record.Configure, Version: 1, Rules: x.rules}})
	return x
}

func (x *sim) next(e monitor.Event) {
	s, out := monitor.Next(uuid.Max, x.rules, x.s, e)
	x.s = s
	x.inc = append(x.inc, out.Incidents...)
	x.runs = append(x.runs, out.Runs...)
}

func (x *sim) ping(at time.Time, k record.PingKind, rid uuid.UUID) {
	x.next(monitor.Event{Judged: at, Ping: &monitor.Ping{ID: uuid.New(), At: at, Kind: k, RID: rid, ExitCode: -1, Duration: -1}})
}

func TestFixedRID(t *testing.T) {
	x := newSim(t, schedule.Spec{Interval: model.Duration(time.Hour)}, 10*time.Minute)
	rid := uuid.New()
	x.ping(at(1, "01:00"), record.Start, rid)
	x.ping(at(1, "01:01"), record.Success, rid)
	x.ping(at(1, "02:00"), record.Start, rid)
	x.ping(at(1, "02:01"), record.Success, rid)
	x.next(monitor.Event{Judged: at(1, "02:30")})
	if len(x.runs) != 2 || len(x.inc) > 0 {
		t.Errorf("2 good runs with the same rid: %d recorded, incidents %v", len(x.runs), x.inc)
	}
}

func TestFixedRIDWithoutStart(t *testing.T) {
	x := newSim(t, schedule.Spec{Interval: model.Duration(time.Hour)}, 0)
	rid := uuid.New()
	for _, c := range []string{"01:00", "02:00", "03:00", "04:00"} {
		x.ping(at(1, c), record.Success, rid)
	}
	if len(x.inc) > 0 {
		t.Errorf("pinged every hour: %v (last ping %v)", x.inc[0].Kind, x.s.LastPing.At)
	}
}

// The answer to start got lost (503 or a timeout, yet it lands late, by another appender), the finish was there first.
func TestStartBehindFinish(t *testing.T) {
	x := newSim(t, schedule.Spec{Interval: model.Duration(time.Hour)}, 10*time.Minute)
	rid := uuid.New()
	x.ping(at(1, "01:00:03"), record.Success, rid)
	x.next(monitor.Event{Judged: at(1, "01:00"), Ping: &monitor.Ping{ID: uuid.New(), At: at(1, "01:00"), Kind: record.Start, RID: rid, ExitCode: -1, Duration: -1}})
	x.next(monitor.Event{Judged: at(1, "01:30")})
	if len(x.inc) > 0 {
		t.Errorf("the run had ended: %v", x.inc[0].Kind)
	}
}

// The batch endpoint gives all pings of a batch one time; a ping with an older stamp gets that of the one before.
func TestSameInstantIncident(t *testing.T) {
	x := newSim(t, schedule.Spec{Interval: model.Duration(time.Hour)}, 0)
	for _, k := range []record.PingKind{record.Fail, record.Success, record.Fail} {
		x.ping(at(1, "01:00"), k, uuid.Nil)
	}
	ids := map[uuid.UUID]bool{}
	for _, c := range x.inc {
		if !c.Resolved {
			if ids[c.ID] {
				t.Errorf("incident %s opens twice: the store's `on conflict do nothing` swallows the second, the monitor is %s and nobody is told", c.ID, x.s.Status)
			}
			ids[c.ID] = true
		}
	}
}
