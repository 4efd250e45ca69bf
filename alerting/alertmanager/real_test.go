package alertmanager_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/route"

	"github.com/tokiflow/tokiflow/alerting/alertmanager"
	"github.com/tokiflow/tokiflow/alerting/config"
)

// real serves the API of Alertmanager itself over its own store of alerts.
func real(t testing.TB) (url string, alerts *mem.Alerts) {
	t.Helper()
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	alerts, err := mem.NewAlerts(t.Context(), time.Hour, 0, nil, log, eventrecorder.NopRecorder(), registry, featurecontrol.NoopFlags{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alerts.Close)
	silences, err := silence.New(silence.Options{Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	a, err := api.New(api.Options{
		Alerts: alerts, Silences: silences, Logger: log, Registry: registry,
		GroupMutedFunc:  func(string, string) ([]string, bool) { return nil, false },
		RequestDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "x"}, []string{"code", "handler", "method"}),
		GroupFunc: func(context.Context, func(*dispatch.Route) bool, func(*amalert.Alert, time.Time) bool) (dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
			return nil, nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := amconfig.Load("route: {receiver: r}\nreceivers: [{name: r}]\n")
	if err != nil {
		t.Fatal(err)
	}
	a.Update(c, func(context.Context, model.LabelSet) {})
	s := httptest.NewServer(a.Register(route.New(), "/"))
	t.Cleanup(s.Close)
	return s.URL, alerts
}

// Alertmanager takes what fires, keeps it while it is sent again, and ends it when it is told so.
func TestARealAlertmanagerTakesAndResolves(t *testing.T) {
	url, stored := real(t)
	n, err := alertmanager.New(config.Entry{Node: node(t, "url: "+url)}, client(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	a := &amalert.Alert{Alert: model.Alert{
		Labels:      model.LabelSet{"alertname": "MonitorMissed", "monitor": "nightly backup", "team": "Zürich"},
		Annotations: model.LabelSet{"summary": "it missed its deadline"}, StartsAt: time.Now().Add(-time.Hour).UTC(),
		GeneratorURL: "https://toki.example/api/v1/incidents/1",
	}}
	at := func() *amalert.Alert {
		t.Helper()
		got, err := stored.Get(a.Fingerprint())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	ctx := notify.WithGroupKey(t.Context(), "g")
	if _, err := n.Notify(ctx, a); err != nil {
		t.Fatal(err)
	}
	first := at()
	if first.Resolved() || first.Timeout || time.Until(first.EndsAt) < 4*time.Minute || !first.StartsAt.Equal(a.StartsAt) || first.GeneratorURL != a.GeneratorURL {
		t.Errorf("%+v", first)
	}
	other, err := alertmanager.New(config.Entry{Node: node(t, "url: "+url)}, client(), time.Minute) // after a restart of ours
	if err != nil {
		t.Fatal(err)
	}
	if sent, err := other.Resend(ctx, a); err != nil || !sent || !at().EndsAt.After(first.EndsAt) {
		t.Errorf("%t, %v, until %s", sent, err, at().EndsAt)
	}
	over := *a
	over.EndsAt = time.Now().Add(-time.Second).UTC()
	if _, err := n.Notify(ctx, &over); err != nil {
		t.Fatal(err)
	}
	if got := at(); !got.Resolved() || got.EndsAt.Sub(over.EndsAt).Abs() > time.Millisecond {
		t.Errorf("%+v", got)
	}
}
