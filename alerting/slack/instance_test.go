package slack_test

import (
	"context"
	"log/slog"
	"maps"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/slack"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// logTable keeps an organisation's notification log.
type logTable struct {
	mu  sync.Mutex
	log map[string]alert.LogEntry
}

func (s *logTable) SaveLog(_ context.Context, _ tenant.OrgID, entries []alert.LogEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.log[e.GroupKey+e.Receiver] = e
	}
	return nil
}

func (s *logTable) SaveSilences(context.Context, tenant.OrgID, []alert.StoredSilence) error {
	return nil
}
func (s *logTable) SaveAlerts(context.Context, tenant.OrgID, []alert.Routed) error { return nil }
func (s *logTable) RemoveAlerts(context.Context, tenant.OrgID, []alert.Key) error  { return nil }

func (s *logTable) saved() []alert.LogEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []alert.LogEntry
	for _, e := range s.log {
		out = append(out, e)
	}
	return out
}

// run starts an organisation's Alertmanager in front of the bundle's app.
func (b *bundle) run(table *logTable, alerts ...alert.Routed) *instance.Instance {
	b.t.Helper()
	c, err := config.Load(config.Source{YAML: `
route: {receiver: ops, group_by: [project], group_wait: 10ms, group_interval: 100ms, repeat_interval: 4h}
receivers: [{name: ops, slack_app_configs: [{channel: '#ops'}]}]
`}, config.Options{Kinds: []config.Kind{slack.Kind()}})
	if err != nil {
		b.t.Fatal(err)
	}
	i, err := instance.Start(b.t.Context(), instance.Options{
		Org: b.a, Notify: true, ExternalURL: &url.URL{Scheme: "http", Host: "x"}, Store: table, Logger: slog.New(slog.DiscardHandler),
		Build: func(c *config.Config, t *template.Template) (map[string][]notify.Integration, error) {
			e := c.Entries[0]
			n, err := b.app.Factory(b.a)(e, t)
			return map[string][]notify.Integration{"ops": {notify.NewIntegration(n, sendResolved(e.SendResolved), e.Kind, e.Index, e.Receiver)}}, err
		},
	}, c, alert.State{Version: 1, Alerts: alerts, Log: table.saved()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(i.Stop)
	return i
}

// The thread outlives the process: another one, which knows only what is in the database, goes on with it.
func TestTheThreadOutlivesTheProcess(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	r := missed("backup", time.Now().Add(-time.Minute).UTC().Truncate(time.Microsecond))
	r.Org, r.Version, r.Fingerprint = b.a, 1, amAlert(r).Fingerprint().String()
	table := &logTable{log: map[string]alert.LogEntry{}}
	first := b.run(table, r)
	b.settle(func() bool { return len(b.slack.heads()) == 1 && len(table.saved()) == 1 })
	first.Stop()

	other := newBundleOn(t, b)
	second := other.run(table, r)
	r.Version, r.EndsAt, r.UpdatedAt = 2, time.Now().UTC().Truncate(time.Microsecond), time.Now()
	r.AcknowledgedBy, r.AcknowledgedAt = "grace", time.Now()
	r.Annotations = maps.Clone(r.Annotations) // the instances hold the other
	r.Annotations[alert.AnnotationAckBy] = "grace"
	if err := second.Update(t.Context(), alert.State{Version: 2, Alerts: []alert.Routed{r}}); err != nil {
		t.Fatal(err)
	}
	head := b.slack.heads()[0]
	b.settle(func() bool { return len(b.slack.replies(head)) == 1 })
	heads := b.slack.heads()
	if len(heads) != 1 {
		t.Fatalf("%d heads", len(heads))
	}
	has(t, heads[0].shown(), "✅ Resolved: Missed: backup", "Acknowledged by grace")
	has(t, b.slack.replies(head)[0].text, "Resolved after 1 min")
}
