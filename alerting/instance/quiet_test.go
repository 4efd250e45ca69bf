package instance_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
)

func (s *table) acknowledge(r alert.Routed, by string) {
	s.change(r, func(have *alert.Routed) { have.AcknowledgedAt, have.AcknowledgedBy = time.Now(), by })
}

// silence stores a silence as a maintenance window or a button does.
func (s *table) silence(t *testing.T, id, monitor string, from, to time.Time) {
	t.Helper()
	x, err := silences.Encode(silences.Silence{
		ID: id, Matchers: []silences.Matcher{{Name: "monitor", Value: monitor}}, StartsAt: from, EndsAt: to, CreatedBy: "test",
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	x.Version = s.version
	s.silences[x.ID] = x
}

func TestWhatIsAcknowledgedIsNotRepeated(t *testing.T) {
	const slow = `
route: {receiver: team, group_by: [project], group_wait: 10s, group_interval: 10m, repeat_interval: 4h}
receivers: [{name: team}]
`
	story(t, slow, func(w *world) {
		w.start()
		backup := w.table.open("backup", time.Now())
		report := w.table.open("report", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup report")
		w.table.acknowledge(backup, "ann")
		w.update()
		w.after(4*time.Hour + 20*time.Minute)
		w.hears("team", "backup report") // one of two
		if by := w.phones["team"][0].last[0].Annotations[alert.AnnotationAckBy]; by != "ann" {
			t.Errorf("acknowledged by %q", by)
		}
		w.table.acknowledge(report, "ben")
		w.update()
		w.after(3 * 24 * time.Hour)
		w.restart()
		w.after(20 * 24 * time.Hour)
		w.hears("team")
		third := w.table.open("third", time.Now())
		w.update()
		w.after(11 * time.Minute)
		w.hears("team", "backup report third")
		w.after(4*time.Hour + 20*time.Minute)
		w.hears("team", "backup report third")
		w.table.resolve(third, time.Now())
		w.update()
		w.after(11 * time.Minute)
		w.hears("team", "backup report -third")
		w.after(31 * 24 * time.Hour)
		w.hears("team", "backup report")
	})
}

func TestWhatIsSilencedIsNotTold(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.silence(t, "window", "backup", time.Now(), time.Now().Add(time.Hour))
		w.table.open("backup", time.Now())
		w.table.open("report", time.Now())
		w.update()
		w.after(30 * time.Minute)
		w.hears("team", "report")
		w.restart()
		w.after(20 * time.Minute)
		w.hears("team")
		w.after(11 * time.Minute)
		w.hears("team", "backup report")
	})
}

func TestWhatEndedInASilenceIsDoneWith(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		w.table.silence(t, "window", "backup", time.Now(), time.Now().Add(time.Hour))
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team")
		w.leaves("")
	})
}

// Alertmanager would not tell of the second one: it has the labels of what it last told of.
func TestAnIncidentAfterOneThatEndedInASilenceIsTold(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		first := w.table.open("backup", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		w.table.silence(t, "window", "backup", time.Now(), time.Now().Add(time.Minute))
		w.table.resolve(first, time.Now())
		w.update()
		w.after(2 * time.Minute)
		w.hears("team")
		w.table.open("backup", time.Now())
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "backup")
	})
}

func TestASilenceMayBeMovedAndComeBack(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.start()
		begin := time.Now()
		w.table.silence(t, "window", "backup", begin, begin.Add(time.Minute))
		w.table.open("backup", begin)
		w.table.open("report", begin)
		w.update()
		w.after(30 * time.Second)
		w.hears("team", "report")
		w.table.silence(t, "window", "report", begin, begin.Add(time.Hour)) // the same id, another monitor
		w.update()
		w.after(30 * time.Second)
		w.hears("team", "backup")
		w.table.silence(t, "window", "backup", begin, time.Now()) // over
		w.update()
		w.after(5 * time.Hour)
		w.phones["team"][0].heard = nil
		w.table.silence(t, "window", "backup", begin, time.Now().Add(24*time.Hour)) // and it lives again
		w.update()
		w.after(4*time.Hour + time.Minute)
		w.hears("team", "report")
	})
}

func TestWhatIsInhibitedIsNotTold(t *testing.T) {
	const inhibiting = plainConfig + `
inhibit_rules:
- {source_matchers: ['severity="critical"'], target_matchers: ['severity="warning"'], equal: [project]}
`
	story(t, inhibiting, func(w *world) {
		w.start()
		critical := w.table.open("backup", time.Now())
		w.table.open("report", time.Now(), "severity", "warning")
		w.update()
		w.after(time.Minute)
		w.hears("team", "backup")
		w.table.resolve(critical, time.Now())
		w.update()
		w.after(16 * time.Second)
		w.hears("team", "report -backup")
	})
}

func TestATimeIntervalMutesARoute(t *testing.T) {
	const atNight = `
route:
  receiver: team
  group_wait: 1s
  group_interval: 1m
  routes: [{receiver: team, matchers: ['monitor="backup"'], mute_time_intervals: [morning]}]
receivers: [{name: team}]
time_intervals: [{name: morning, time_intervals: [{times: [{start_time: '00:00', end_time: '02:00'}]}]}]
`
	story(t, atNight, func(w *world) { // a bubble begins at midnight
		w.start()
		w.table.open("backup", time.Now())
		w.update()
		w.after(time.Hour)
		w.hears("team")
		w.after(62 * time.Minute)
		w.hears("team", "backup")
	})
}

// parent mutes what has its name in a label while it is down.
type parent struct {
	mu   sync.Mutex
	down string
}

func (p *parent) Mutes(a *amalert.Alert) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "parent " + p.down, p.down != "" && string(a.Labels["parent"]) == p.down
}

func TestAMuterMutes(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		p := &parent{down: "database"}
		w.o.Muters = []instance.Muter{p}
		w.start()
		ended := w.table.open("nightly", time.Now(), "parent", "database")
		w.table.open("backup", time.Now(), "parent", "database")
		w.table.open("report", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team", "report")
		if got := w.get("/api/v2/alerts"); strings.Count(got, `"inhibitedBy":["parent database"]`) != 2 || strings.Count(got, `"state":"suppressed"`) != 2 {
			t.Errorf("the API says %s", got)
		}
		if got := w.get("/api/v2/alerts/groups"); strings.Count(got, `"inhibitedBy":["parent database"]`) != 2 {
			t.Errorf("the API says %s", got)
		}
		w.table.resolve(ended, time.Now()) // unheard: what is muted is not forced on anybody
		w.update()
		w.after(time.Minute)
		w.hears("team")
		w.leaves("backup report")
		p.mu.Lock()
		p.down = ""
		p.mu.Unlock()
		w.after(16 * time.Second)
		w.hears("team", "backup report")
	})
}

func TestStagesStandAroundWhatTells(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		var seen []string
		stage := func(name string) instance.Middleware {
			return func(next notify.Stage) notify.Stage {
				return notify.StageFunc(func(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
					for _, a := range alerts {
						seen = append(seen, name+" "+string(a.Labels["monitor"]))
					}
					return next.Exec(ctx, l, alerts...)
				})
			}
		}
		w.o.Stages = []instance.Middleware{stage("outer"), stage("inner")}
		w.start()
		w.table.silence(t, "window", "report", time.Now(), time.Now().Add(time.Hour))
		w.table.open("backup", time.Now())
		w.table.open("report", time.Now())
		w.update()
		w.after(11 * time.Second)
		w.hears("team", "backup")
		if got := strings.Join(seen, ", "); got != "outer backup, inner backup" {
			t.Errorf("the stages saw %s", got)
		}
	})
}

func TestAViewerTellsNobody(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.o.Notify = false
		w.start()
		backup := w.table.open("backup", time.Now())
		w.update()
		w.after(time.Minute)
		w.hears("team")
		if got := w.get("/api/v2/alerts/groups"); !strings.Contains(got, `"monitor":"backup"`) || !strings.Contains(got, `"state":"active"`) {
			t.Errorf("the API says %s", got)
		}
		w.table.resolve(backup, time.Now())
		w.update()
		w.after(time.Hour)
		w.leaves("backup")
		if len(w.table.log) > 0 || w.table.calls["RemoveAlerts"] > 0 {
			t.Error("a viewer wrote something down")
		}
		if got := w.get("/api/v2/alerts"); got != "[]\n" {
			t.Errorf("the API says %s", got)
		}
		if w.i.Busy() {
			t.Error("a viewer keeps what is over")
		}
	})
}

// chorus is a teller that also tells all it has seen, under a name of its own, through the whole pipeline.
type chorus struct {
	instance.Pipeline
	runs    sync.WaitGroup
	stopped chan struct{}
}

func (c *chorus) Exec(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	if key, _ := notify.GroupKey(ctx); key == "chorus" {
		return c.Next.Exec(ctx, l, alerts...)
	}
	c.runs.Go(func() {
		select {
		case <-time.After(20 * time.Second):
		case <-c.stopped:
		}
		own, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		go func() { <-c.stopped; cancel() }()
		own = notify.WithReceiverName(notify.WithGroupKey(notify.WithRouteID(notify.WithNow(own, time.Now()), "chorus"), "chorus"), "team")
		if _, _, err := c.Whole.Exec(notify.WithRepeatInterval(own, time.Hour), l, alerts...); err != nil {
			l.Info("the chorus was refused", "err", err)
		}
	})
	return ctx, alerts, nil
}

func (c *chorus) Stop() { close(c.stopped) }
func (c *chorus) Wait() { c.runs.Wait() }

func TestATellerTellsThroughTheWholePipeline(t *testing.T) {
	story(t, plainConfig, func(w *world) {
		w.o.Teller = func(p instance.Pipeline) instance.Teller {
			if len(p.Integrations["team"]) != 1 || p.Log == nil {
				t.Errorf("the pipeline is %+v", p)
			}
			return &chorus{Pipeline: p, stopped: make(chan struct{})}
		}
		w.start()
		w.table.open("backup", time.Now())
		w.table.open("report", time.Now())
		w.update()
		w.after(12 * time.Second)
		w.hears("team")
		w.table.silence(t, "window", "report", time.Now(), time.Now().Add(time.Hour))
		w.update()
		w.after(20 * time.Second)
		w.hears("team", "backup")
		began := time.Now()
		w.i.Stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v to stop", took)
		}
	})
}
