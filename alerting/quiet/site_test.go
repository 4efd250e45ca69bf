package quiet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/marker"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/quiet"
	rules "github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// site is what outlives a process: the alerts in the table, the notification log, and the receiver.
type site struct {
	t     *testing.T
	log   *nflog.Log
	phone *phone
	limit int
	route *amconfig.Route
	logs  io.Writer

	mu     sync.Mutex
	alerts map[string]*amalert.Alert
	muted  map[string]bool // monitors that are silenced
}

// Exec drops what is silenced.
func (s *site) Exec(ctx context.Context, _ *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []*amalert.Alert
	for _, a := range alerts {
		if !s.muted[string(a.Labels["monitor"])] {
			left = append(left, a)
		}
	}
	return ctx, left, nil
}

func (s *site) mute(name string, muted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted[name] = muted
}

// late is a stage that is known only after others that need it.
type late struct{ notify.Stage }

// phone is the receiver: it remembers each message.
type phone struct {
	mu   sync.Mutex
	down bool
	got  []message
}

type message struct {
	at               time.Time
	group            string
	labels           model.LabelSet
	firing, resolved []string
}

func (m message) storm() bool { return strings.HasPrefix(m.group, "{storm}:") }

func (p *phone) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return false, errors.New("nobody answers")
	}
	m := message{at: time.Now()}
	m.group, _ = notify.GroupKey(ctx)
	m.labels, _ = notify.GroupLabels(ctx)
	for _, a := range alerts {
		name := string(a.Labels["monitor"])
		if a.Resolved() {
			m.resolved = append(m.resolved, name)
		} else {
			m.firing = append(m.firing, name)
		}
	}
	p.got = append(p.got, m)
	return false, nil
}

func (p *phone) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *phone) heard() []message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// told says when each monitor was first told to fire and to be resolved, and fails the test where the latter came first.
func (p *phone) told(t *testing.T) (firing, resolved map[string]time.Time) {
	t.Helper()
	firing, resolved = map[string]time.Time{}, map[string]time.Time{}
	for _, m := range p.heard() {
		for _, name := range m.firing {
			if _, ok := firing[name]; !ok {
				firing[name] = m.at
			}
		}
		for _, name := range m.resolved {
			if _, ok := firing[name]; !ok {
				t.Errorf("%s was told to be resolved before it was told to fire", name)
			}
			if _, ok := resolved[name]; !ok {
				resolved[name] = m.at
			}
		}
	}
	return firing, resolved
}

type sendResolved bool

func (s sendResolved) SendResolved() bool { return bool(s) }

func newSite(t *testing.T, groupBy ...model.LabelName) *site {
	t.Helper()
	log, err := nflog.New(nflog.Options{Retention: 120 * time.Hour, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	wait, interval, repeat := model.Duration(time.Second), model.Duration(15*time.Second), model.Duration(4*time.Hour)
	return &site{
		t: t, log: log, phone: &phone{}, limit: rules.DefaultStormLimit, alerts: map[string]*amalert.Alert{}, muted: map[string]bool{},
		route: &amconfig.Route{Receiver: "team", GroupBy: groupBy, GroupWait: &wait, GroupInterval: &interval, RepeatInterval: &repeat},
	}
}

// process is one that owns the organisation, with Alertmanager's own dispatcher.
type process struct {
	site       *site
	alerts     *mem.Alerts
	dispatcher *dispatch.Dispatcher
	storms     *quiet.Storms
}

func (s *site) start() *process {
	s.t.Helper()
	p := &process{site: s}
	var err error
	logger := slog.New(slog.DiscardHandler)
	p.alerts, err = mem.NewAlerts(context.Background(), time.Hour, 0, nil, logger, eventrecorder.NopRecorder(), prometheus.NewRegistry(), featurecontrol.NoopFlags{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range s.alerts {
		p.put(a)
	}
	one := notify.NewIntegration(s.phone, sendResolved(true), "webhook", 0, "team")
	recv := &nflogpb.Receiver{GroupName: "team", Integration: "webhook", Idx: 0}
	next := notify.FanoutStage{notify.MultiStage{
		notify.NewDedupStage(&one, s.log, recv),
		notify.StageFunc(func(ctx context.Context, _ *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
			_, err := one.Notify(ctx, alerts...)
			return ctx, alerts, err
		}),
		notify.NewSetNotifiesStage(s.log, recv),
	}}
	if s.logs != nil {
		logger = slog.New(slog.NewTextHandler(s.logs, nil))
	}
	whole := &late{}
	p.storms = quiet.NewStorms(quiet.StormOptions{
		Org: tenant.OrgID{UUID: uuid.New()}, Rules: rules.StormRules{Limit: s.limit}, Logger: logger,
	}, quiet.Pipeline{Next: next, Whole: whole, Log: s.log, Integrations: map[string][]notify.Integration{"team": {one}}})
	whole.Stage = notify.MultiStage{s, p.storms}
	p.dispatcher = dispatch.NewDispatcher(p.alerts, dispatch.NewRoute(s.route, nil), whole, marker.NewGroupMarker(),
		func(d time.Duration) time.Duration { return max(d, notify.MinTimeout) }, time.Minute, nil,
		slog.New(slog.DiscardHandler), eventrecorder.NopRecorder(), nil, nil)
	go p.dispatcher.Run(time.Now().Add(500 * time.Millisecond))
	p.dispatcher.WaitForLoading()
	return p
}

// kill ends the process; whatever it had in memory is gone.
func (p *process) kill() {
	p.storms.Stop()
	p.dispatcher.Stop()
	p.storms.Wait()
	p.alerts.Close()
	synctest.Wait()
}

func (p *process) put(a *amalert.Alert) {
	if err := p.alerts.Put(context.Background(), a); err != nil {
		p.site.t.Error(err)
	}
}

func monitorName(n int) string { return fmt.Sprintf("m%04d", n) }

// fire has a monitor go down now.
func (p *process) fire(name string, more ...string) {
	labels := model.LabelSet{"alertname": "MonitorMissed", "monitor": model.LabelValue(name), "project": "shop"}
	for i := 0; i+1 < len(more); i += 2 {
		labels[model.LabelName(more[i])] = model.LabelValue(more[i+1])
	}
	now := time.Now()
	a := &amalert.Alert{Alert: model.Alert{Labels: labels, StartsAt: now, EndsAt: now.AddDate(50, 0, 0)}, UpdatedAt: now, Timeout: true}
	p.site.mu.Lock()
	p.site.alerts[name] = a
	p.site.mu.Unlock()
	p.put(a)
}

// resolve has it come up now.
func (p *process) resolve(name string) {
	p.site.mu.Lock()
	a := *p.site.alerts[name]
	a.EndsAt, a.UpdatedAt, a.Timeout = time.Now(), time.Now(), false
	p.site.alerts[name] = &a
	p.site.mu.Unlock()
	p.put(&a)
}
