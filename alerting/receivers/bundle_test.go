package receivers_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/alerting/texts"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func TestMain(m *testing.M) {
	// The AWS SDK tries thrice by itself; a table of every status has no time for that.
	_ = os.Setenv("AWS_MAX_ATTEMPTS", "1")
	_ = os.Unsetenv("AWS_CA_BUNDLE") // the SDK would make connections of its own
	goleak.VerifyTestMain(m)
}

// secret stands wherever a configuration has one. It is to be seen nowhere else.
const secret = "hidden0123456789"

// bundle is an organisation's receivers with a log whose rows can be looked at.
type bundle struct {
	t         testing.TB
	options   receivers.Options
	receivers *receivers.Receivers
	registry  *prometheus.Registry
	rows      *rows
	tmpl      *template.Template
}

func newBundle(t testing.TB, change ...func(*receivers.Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, registry: prometheus.NewRegistry(), rows: newRows()}
	log, err := receivers.NewLog(receivers.LogOptions{Store: b.rows, Registerer: b.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = log.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	open := safehttp.Options{AllowPrivate: true}
	client := safehttp.New(open)
	t.Cleanup(client.CloseIdleConnections)
	b.options = receivers.Options{
		Org: tenant.OrgID{UUID: uuid.New()}, Dial: safehttp.DialContext(open), Client: client, Log: log, AttemptTimeout: 5 * time.Second,
	}
	for _, c := range change {
		c(&b.options)
	}
	if b.receivers, err = receivers.New(b.options); err != nil {
		t.Fatal(err)
	}
	if b.tmpl, err = template.FromGlobs(nil); err != nil {
		t.Fatal(err)
	}
	if err := texts.Parse(b.tmpl); err != nil {
		t.Fatal(err)
	}
	b.tmpl.ExternalURL = &url.URL{Scheme: "https", Host: "toki.example", Path: "/alertmanager"}
	return b
}

// config reads a receiver ops with the entries of a list of Alertmanager's, or of one of ours.
func (b *bundle) config(list, entry string) *config.Config {
	b.t.Helper()
	entry = strings.TrimSpace(entry)
	ours := map[string]string{"alertmanager_configs": "alertmanager", "signed_webhook_configs": "signed_webhook", "discord_app_configs": "discord_app"}
	if kind := ours[list]; kind != "" {
		c := b.load("route: {receiver: ops, group_interval: 15s}\nreceivers: [{name: ops}]\n")
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(entry), &n); err != nil {
			b.t.Fatal(err)
		}
		c.Entries = []config.Entry{{Kind: kind, Receiver: "ops", SendResolved: true, Node: n.Content[0]}}
		return c
	}
	return b.load("route: {receiver: ops, group_interval: 15s}\nreceivers:\n- name: ops\n  " + list + ":\n  - " + strings.ReplaceAll(entry, "\n", "\n    ") + "\n")
}

func (b *bundle) load(text string) *config.Config {
	b.t.Helper()
	c, err := amconfig.Load(text)
	if err != nil {
		b.t.Fatalf("%v:\n%s", err, text)
	}
	return &config.Config{Alertmanager: c}
}

// integration builds the receiver ops and returns its first integration.
func (b *bundle) integration(c *config.Config) notify.Integration {
	b.t.Helper()
	all, err := b.receivers.Build(c, b.tmpl)
	if err != nil {
		b.t.Fatal(err)
	}
	return all["ops"][0]
}

// rows keep what is saved.
type rows struct {
	mu    sync.Mutex
	saved map[uuid.UUID]alert.Notification
	count int
	fail  error
	hold  chan struct{} // not nil: saving waits for it
	more  chan struct{} // gets one for each that is saved
}

func newRows() *rows {
	return &rows{saved: map[uuid.UUID]alert.Notification{}, more: make(chan struct{}, 100_000)}
}

func (r *rows) SaveNotification(ctx context.Context, _ tenant.OrgID, n alert.Notification) error {
	r.mu.Lock()
	hold, fail := r.hold, r.fail
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved[n.ID] = n
	r.count++
	r.more <- struct{}{}
	return nil
}

// wait returns the rows when they satisfy the condition.
func (r *rows) wait(t testing.TB, condition func([]alert.Notification) bool) []alert.Notification {
	t.Helper()
	end := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		all := make([]alert.Notification, 0, len(r.saved))
		for _, n := range r.saved {
			all = append(all, n)
		}
		r.mu.Unlock()
		if condition(all) {
			return all
		}
		select {
		case <-r.more:
		case <-end:
			t.Fatalf("the rows did not come: %+v", all)
		}
	}
}

// flush is the context of a group's flush, as the dispatcher makes it.
func flush(t testing.TB, number uint64) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx = notify.WithReceiverName(ctx, "ops")
	ctx = notify.WithGroupKey(ctx, `{}:{project="billing"}`)
	ctx = notify.WithGroupLabels(ctx, model.LabelSet{"project": "billing"})
	ctx = notify.WithNotificationReason(ctx, notify.ReasonFirstNotification)
	ctx = notify.WithNow(ctx, time.Now())
	ctx = notify.WithRepeatInterval(ctx, 4*time.Hour)
	ctx = notify.WithAggrGroupID(ctx, "group-"+t.Name())
	ctx = notify.WithFlushID(ctx, number)
	ctx = notify.WithFiringAlerts(ctx, []uint64{1})
	ctx = notify.WithResolvedAlerts(ctx, nil)
	return notify.WithNflogStore(ctx, nflog.NewStore(nil)), cancel
}

func firing(names ...string) []*amalert.Alert {
	var out []*amalert.Alert
	for _, name := range names {
		out = append(out, &amalert.Alert{Alert: model.Alert{
			Labels: model.LabelSet{
				alert.LabelName: "MonitorMissed", alert.LabelMonitor: model.LabelValue(name), alert.LabelID: "7a3c5d1e-0000-4000-8000-000000000001",
				alert.LabelProject: "billing", alert.LabelSeverity: "critical",
			},
			Annotations: model.LabelSet{
				alert.AnnotationSummary: model.LabelValue(name + " missed its deadline"), alert.AnnotationDescription: "Due: 2026-01-01T01:55:00Z",
				alert.AnnotationIncident: "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", alert.AnnotationKind: "missed", alert.AnnotationEvidence: `{"exit_code":3}`,
			},
			StartsAt: time.Now().Add(-time.Minute).UTC(), GeneratorURL: "https://toki.example/api/v1/incidents/0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a",
		}})
	}
	return out
}

func resolved(names ...string) []*amalert.Alert {
	out := firing(names...)
	for _, a := range out {
		a.EndsAt = time.Now().Add(-time.Second).UTC()
	}
	return out
}

// raw answers with any status, also those that net/http would not let a handler send. body is sent where the status may have one.
func raw(w http.ResponseWriter, status int, contentType, body string) {
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = c.Close() }()
	if status == 204 || status == 304 || status < 200 {
		body = ""
	}
	_, _ = fmt.Fprintf(rw, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\n", status, http.StatusText(status), contentType)
	if status >= 300 && status <= 399 {
		_, _ = rw.WriteString("Location: /elsewhere\r\n")
	}
	if status >= 200 && status != 204 && status != 304 {
		_, _ = fmt.Fprintf(rw, "Content-Length: %d\r\n", len(body))
	}
	_, _ = rw.WriteString("\r\n" + body)
	_ = rw.Flush()
}

// to dials one address whatever is asked for, as if every name resolved to it.
func to(address string) receivers.DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

// through gives a client that dials so, for the kinds of ours.
func through(t testing.TB, dial receivers.DialFunc) *http.Client {
	c := &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a server of a test
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (b *bundle) integrationOf(list, entry string) *notify.Integration {
	b.t.Helper()
	i := b.integration(b.config(list, entry))
	return &i
}

// fails expects an attempt to fail so that it is tried again, to say why, and to tell no secret.
func fails(t testing.TB, b *bundle, attempt func(context.Context, ...*amalert.Alert) (bool, error), words string) {
	t.Helper()
	ctx, cancel := flush(t, 1)
	retry, err := attempt(ctx, firing("nightly backup")...)
	if err == nil || !retry || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "hidden") {
		t.Errorf("tried again %t: %v", retry, err)
	}
	n := b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 1 })[0]
	if n.Status != alert.Retrying || n.StatusCode != 0 || n.Error != err.Error() || !n.EndedAt.IsZero() {
		t.Errorf("%+v", n)
	}
	cancel() // the flush is over, and the notification with it
	b.rows.wait(t, func(all []alert.Notification) bool { return all[0].Status == alert.Failed && !all[0].EndedAt.IsZero() })
}
