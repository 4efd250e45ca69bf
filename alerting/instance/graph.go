package instance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// dispatchMaintenance is how often a dispatcher forgets empty groups, as Alertmanager's own default has it.
const dispatchMaintenance = 30 * time.Second

// graph is what hangs on a configuration: the routes, who groups by them, and the way of a flush. A configuration put in its place
// makes another one.
type graph struct {
	config     *config.Config
	dispatcher *dispatch.Dispatcher
	inhibitor  *inhibit.Inhibitor
	flushes    *flushes
	teller     Teller // nil: none
}

// build makes the graph of a configuration without starting anything. life outlives it.
func (i *Instance) build(life context.Context, c *config.Config) (*graph, error) {
	am := c.Alertmanager
	if am == nil || am.Route == nil {
		return nil, fmt.Errorf("the configuration of organisation %s has no route", i.o.Org)
	}
	routes := dispatch.NewRoute(am.Route, nil)
	var t *template.Template // nil where nothing is rendered
	var err error
	if i.o.Notify || labelled(routes) {
		if t, err = c.NewTemplate(i.o.ExternalURL); err != nil {
			return nil, fmt.Errorf("reading the templates: %w", err)
		}
	}
	var integrations map[string][]notify.Integration
	if i.o.Notify {
		if integrations, err = i.o.Build(c, t); err != nil {
			return nil, fmt.Errorf("making the receivers: %w", err)
		}
	}
	intervals := make(map[string][]timeinterval.TimeInterval, len(am.MuteTimeIntervals)+len(am.TimeIntervals))
	for _, ti := range am.MuteTimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	for _, ti := range am.TimeIntervals {
		intervals[ti.Name] = ti.TimeIntervals
	}
	logger := calm(i.o.Logger)
	g := &graph{config: c, inhibitor: inhibit.NewInhibitor(i.alerts, am.InhibitRules, logger, eventrecorder.NopRecorder())}
	g.flushes = newFlushes(life, i.book, i.log, routes)
	g.flushes.next = i.way(g.inhibitor, timeinterval.NewIntervener(intervals))
	if i.o.Notify {
		g.flushes.saver = i.saver
		telling := i.telling(routes, integrations)
		if i.o.Teller != nil {
			g.teller = i.o.Teller(Pipeline{Next: telling, Whole: g.flushes, Log: i.log, Integrations: integrations})
			telling = g.teller
		}
		for _, stage := range slices.Backward(i.o.Stages) {
			telling = stage(telling)
		}
		g.flushes.next = notify.MultiStage{g.flushes.next, acknowledged{}, telling}
	}
	g.dispatcher = dispatch.NewDispatcher(i.alerts, routes, g.flushes, i.groups, flushTimeout, dispatchMaintenance, nil, logger, eventrecorder.NopRecorder(), nil, t)
	return g, nil
}

// labelled reports whether a route has labels: they are templates, and the API shows them.
func labelled(routes *dispatch.Route) bool {
	found := false
	routes.Walk(func(r *dispatch.Route) { found = found || len(r.RouteOpts.Labels) > 0 })
	return found
}

// way returns the stages that decide whether an alert is told at all. What a dependency or the installation's guard mutes comes first,
// then what Alertmanager does, in its order.
func (i *Instance) way(inhibitor *inhibit.Inhibitor, intervals *timeinterval.Intervener) notify.MultiStage {
	m := i.o.Metrics.notify
	return notify.MultiStage{
		mutes(i.o.Muters),
		notify.NewMuteStage(inhibitor, m),
		notify.NewTimeActiveStage(intervals, i.groups, m),
		notify.NewTimeMuteStage(intervals, i.groups, m),
		notify.NewMuteStage(i.silencer, m),
	}
}

// telling returns the stages that tell the receivers: Alertmanager's, built here because of firingFirst, which has to stand right
// before each integration's, so that one that hangs holds up no other.
func (i *Instance) telling(routes *dispatch.Route, integrations map[string][]notify.Integration) notify.Stage {
	m := i.o.Metrics
	receivers := notify.RoutingStage{}
	routes.Walk(func(r *dispatch.Route) {
		name := r.RouteOpts.Receiver
		fan := notify.FanoutStage{}
		for n := range integrations[name] {
			one := &integrations[name][n]
			recv := &nflogpb.Receiver{GroupName: name, Integration: one.Name(), Idx: uint32(one.Index())}
			fan = append(fan, &firingFirst{log: i.log, recv: recv, late: m.toldLate, next: notify.MultiStage{
				notify.NewDedupStage(one, i.log, recv),
				notify.NewRetryStage(*one, name, m.notify, eventrecorder.NopRecorder()),
				notify.NewSetNotifiesStage(i.log, recv),
			}})
		}
		receivers[name] = fan
	})
	return receivers
}

// run starts the graph and returns when it has all alerts. It flushes nothing before the instant.
func (g *graph) run(from time.Time) {
	go g.inhibitor.Run()
	g.inhibitor.WaitForLoading() // so that nothing is told that is inhibited
	go g.dispatcher.Run(from)
	g.dispatcher.WaitForLoading()
}

// stop ends it: what is being delivered may end first, see stopGrace.
func (g *graph) stop() {
	if g.teller != nil {
		g.teller.Stop()
		defer g.waitForTeller()
	}
	g.flushes.drain(stopGrace)
	g.dispatcher.Stop()
	g.inhibitor.Stop()
}

// waitForTeller waits for what the teller has begun. That was broken off already, so it takes a moment, unless a notifier never ends.
func (g *graph) waitForTeller() {
	ended := make(chan struct{})
	go func() { g.teller.Wait(); close(ended) }()
	timer := time.NewTimer(stopGrace / 5)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// flushTimeout is how long a flush may take, of a group that is flushed every d.
func flushTimeout(d time.Duration) time.Duration { return max(d, notify.MinTimeout) }
