package slack_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }

// group is a group of alerts on its way to one integration, through Alertmanager's own stages.
type group struct {
	b      *bundle
	org    tenant.OrgID
	log    *nflog.Log
	alerts map[string]alert.Routed // by name of the monitor
	order  []string
	limit  time.Duration // of a flush
	repeat time.Duration

	resolved bool // it is told what resolves
	n        notify.Notifier
}

type sendResolved bool

func (s sendResolved) SendResolved() bool { return bool(s) }

func (b *bundle) group(org tenant.OrgID, entry string) *group {
	b.t.Helper()
	n, err := b.app.Factory(org)(entryOf(b.t, entry), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	log, err := nflog.New(nflog.Options{Retention: time.Hour, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.t.Fatal(err)
	}
	g := &group{b: b, org: org, log: log, alerts: map[string]alert.Routed{}, limit: 5 * time.Second, repeat: 4 * time.Hour, resolved: true, n: n}
	return g
}

func (g *group) stage() notify.Stage {
	integration := notify.NewIntegration(g.n, sendResolved(g.resolved), "slack_app", 0, "ops")
	recv := &nflogpb.Receiver{GroupName: "ops", Integration: "slack_app"}
	return notify.MultiStage{
		notify.NewDedupStage(&integration, g.log, recv),
		notify.NewRetryStage(integration, "ops", notify.NewMetrics(prometheus.NewRegistry(), featurecontrol.NoopFlags{}), eventrecorder.NopRecorder()),
		notify.NewSetNotifiesStage(g.log, recv),
	}
}

// fire adds an alert, and puts it where buttons find it.
func (g *group) fire(r alert.Routed) alert.Routed {
	a := amAlert(r)
	r.Org, r.Fingerprint = g.org, a.Fingerprint().String()
	name := r.Labels[alert.LabelMonitor] + r.Labels[alert.LabelName]
	if !slices.Contains(g.order, name) {
		g.order = append(g.order, name)
	}
	g.alerts[name] = r
	g.b.store.mu.Lock()
	g.b.store.alerts[g.org][r.Fingerprint] = r
	g.b.store.mu.Unlock()
	return r
}

// resolve ends an alert.
func (g *group) resolve(r alert.Routed, after time.Duration) {
	name := r.Labels[alert.LabelMonitor] + r.Labels[alert.LabelName]
	r, ok := g.alerts[name]
	if !ok {
		return
	}
	r.EndsAt = r.StartsAt.Add(after)
	g.alerts[name] = r
}

// flush tells the group, as the dispatcher does: what was resolved goes once that was told.
func (g *group) flush() error { return g.flushAt(time.Now()) }

func (g *group) flushAt(now time.Time) error {
	g.b.t.Helper()
	ctx, cancel := context.WithTimeout(g.b.t.Context(), g.limit)
	defer cancel()
	ctx = notify.WithGroupKey(ctx, "{}:{project=\"Default\"}")
	ctx = notify.WithReceiverName(ctx, "ops")
	ctx = notify.WithRepeatInterval(ctx, g.repeat)
	ctx = notify.WithNow(ctx, now)
	var list []*amalert.Alert
	for _, name := range g.order {
		r, ok := g.alerts[name]
		if !ok {
			continue
		}
		g.b.store.mu.Lock()
		if stored, ok := g.b.store.alerts[g.org][r.Fingerprint]; ok {
			r.Annotations = stored.Annotations // acknowledged meanwhile
		}
		g.b.store.mu.Unlock()
		list = append(list, amAlert(r))
	}
	_, _, err := g.stage().Exec(ctx, slog.New(slog.DiscardHandler), list...)
	if err == nil {
		for name, r := range g.alerts {
			if r.Resolved(now) {
				delete(g.alerts, name)
			}
		}
	}
	return err
}

func (g *group) mustFlush() {
	g.b.t.Helper()
	if err := g.flush(); err != nil {
		g.b.t.Fatal(err)
	}
}

func amAlert(r alert.Routed) *amalert.Alert {
	a := &amalert.Alert{Alert: model.Alert{
		Labels: model.LabelSet{}, Annotations: model.LabelSet{}, StartsAt: r.StartsAt, EndsAt: r.EndsAt, GeneratorURL: r.GeneratorURL,
	}, UpdatedAt: r.UpdatedAt}
	for k, v := range r.Labels {
		a.Labels[model.LabelName(k)] = model.LabelValue(v)
	}
	for k, v := range r.Annotations {
		a.Annotations[model.LabelName(k)] = model.LabelValue(v)
	}
	return a
}

func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%q is missing in:\n%s", w, text)
		}
	}
}

func hasNot(t *testing.T, text string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(text, w) {
			t.Errorf("%q is in:\n%s", w, text)
		}
	}
}
