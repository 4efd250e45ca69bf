package receivers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// scripted is a notifier that does what it is told.
type scripted func(ctx context.Context, attempt int) (bool, error)

type scriptedNotifier struct {
	f scripted
	n atomic.Int64
}

func (s *scriptedNotifier) Notify(ctx context.Context, _ ...*amalert.Alert) (bool, error) {
	return s.f(ctx, int(s.n.Add(1)))
}

// scripting makes the kind discord_app the notifier.
func scripting(f scripted, change ...func(*receivers.Options)) func(*receivers.Options) {
	return func(o *receivers.Options) {
		o.Factories = map[string]receivers.Factory{"discord_app": func(config.Entry, *template.Template) (notify.Notifier, error) {
			return &scriptedNotifier{f: f}, nil
		}}
		for _, c := range change {
			c(o)
		}
	}
}

func (b *bundle) scripted() *notify.Integration {
	return b.integrationOf("discord_app_configs", "connection: ops")
}

func TestAttemptsOfAFlushAreOneNotification(t *testing.T) {
	b := newBundle(t, scripting(func(_ context.Context, attempt int) (bool, error) {
		if attempt < 3 {
			return true, outgoing.NewError(503, 0, "busy")
		}
		return false, nil
	}))
	i := b.scripted()
	ctx, cancel := flush(t, 7)
	for attempt := range 3 {
		_, err := i.Notify(ctx, firing("a", "b")...)
		want := alert.Notification{Status: alert.Retrying, StatusCode: 503, Error: "answered 503 Service Unavailable: busy"}
		if attempt == 2 {
			want = alert.Notification{Status: alert.Delivered}
		}
		n := b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 1 && all[0].Attempts == attempt+1 })[0]
		if n.Status != want.Status || n.StatusCode != want.StatusCode || n.Error != want.Error || n.EndedAt.IsZero() != (attempt < 2) || n.AlertCount != 2 {
			t.Errorf("attempt %d: %+v, %v", attempt, n, err)
		}
	}
	cancel()
	next, _ := flush(t, 8)
	if _, err := i.Notify(next, firing("a")...); err != nil {
		t.Fatal(err)
	}
	b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 2 })
	// In one flush the firing ones may be told first and the resolved ones then: two notifications.
	if _, err := i.Notify(notify.WithResolvedAlerts(notify.WithFiringAlerts(next, nil), []uint64{1}), resolved("a")...); err != nil {
		t.Fatal(err)
	}
	all := b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 3 })
	for _, n := range all {
		if n.FiringCount == 0 && (n.Alerts[0].Status != "resolved" || n.Alerts[0].EndsAt == nil) {
			t.Errorf("%+v", n)
		}
	}
	if got := testutil.ToFloat64(counter(t, b, "tokiflow_notifications_total", "integration", "discord_app", "status", "retrying")); got != 2 {
		t.Errorf("%v retrying", got)
	}
	if got := testutil.ToFloat64(counter(t, b, "tokiflow_notifications_total", "integration", "discord_app", "status", "delivered")); got != 3 {
		t.Errorf("%v delivered", got)
	}
}

// counter reads a series of the registry.
func counter(t testing.TB, b *bundle, name string, labels ...string) prometheus.Collector {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"})
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := f.GetName() == name
			for i := 0; i < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || (l.GetName() == labels[i] && l.GetValue() == labels[i+1])
				}
				match = match && found
			}
			if match {
				g.Set(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return g
}

func TestTheFailingAreCounted(t *testing.T) {
	fail := true
	b := newBundle(t, scripting(func(context.Context, int) (bool, error) {
		if fail {
			return false, errors.New("no")
		}
		return false, nil
	}))
	i := b.scripted()
	ctx, _ := flush(t, 1)
	for range 3 {
		_, _ = i.Notify(ctx, firing("a")...)
	}
	if got := testutil.ToFloat64(counter(t, b, "tokiflow_receivers_failing", "integration", "discord_app")); got != 1 {
		t.Errorf("%v fail", got)
	}
	fail = false
	_, _ = i.Notify(ctx, firing("a")...)
	if got := testutil.ToFloat64(counter(t, b, "tokiflow_receivers_failing", "integration", "discord_app")); got != 0 {
		t.Errorf("%v fail", got)
	}
}

func TestPanicsFailOneAttempt(t *testing.T) {
	b := newBundle(t, scripting(func(context.Context, int) (bool, error) { panic("https://x.example/hidden0123456789") }))
	ctx, _ := flush(t, 1)
	if retry, err := b.scripted().Notify(ctx, firing("a")...); err == nil || retry || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%t, %v", retry, err)
	}
	// Alertmanager's notifier for Telegram looks into a message that is not there.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"ok":true,"result":{}}`) }))
	t.Cleanup(s.Close)
	b = newBundle(t)
	i := b.integrationOf("telegram_configs", "bot_token: '1:"+secret+"'\nchat_id: 1\napi_url: "+s.URL)
	if retry, err := i.Notify(ctx, firing("a")...); err == nil || retry {
		t.Errorf("%t, %v", retry, err)
	}
}

func TestAHangingNotifierLosesItsTimeOnly(t *testing.T) {
	b := newBundle(t, scripting(func(ctx context.Context, _ int) (bool, error) {
		<-ctx.Done()
		return true, ctx.Err()
	}, func(o *receivers.Options) { o.AttemptTimeout = 20 * time.Millisecond }))
	fails(t, b, b.scripted().Notify, "no answer within 20ms")
}

// A receiver that asks to be left alone is: within a flush the attempt waits, where there is time for it, and where there is none it
// is given up until the next.
func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := receivers.NewLog(receivers.LogOptions{Store: newRows()})
		if err != nil {
			t.Fatal(err)
		}
		after := 3 * time.Second
		var at []time.Time
		o := receivers.Options{Org: tenant.OrgID{UUID: uuid.New()}, Dial: to("127.0.0.1:1"), Client: http.DefaultClient, Log: log}
		scripting(func(context.Context, int) (bool, error) {
			at = append(at, time.Now())
			return true, outgoing.NewError(429, after, "")
		})(&o)
		r, err := receivers.New(o)
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.Build(scriptedConfig(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		i := list["ops"][0]
		ctx, cancel := flush(t, 1)
		if retry, err := i.Notify(ctx, firing("a")...); !retry || err == nil {
			t.Errorf("%t, %v", retry, err)
		}
		after = 2 * time.Minute // longer than the flush
		if retry, err := i.Notify(ctx, firing("a")...); !retry || err == nil {
			t.Errorf("%t, %v", retry, err)
		}
		if waited := at[1].Sub(at[0]); waited < 3*time.Second || waited > 4*time.Second {
			t.Errorf("it waited %s", waited)
		}
		if retry, err := i.Notify(ctx, firing("a")...); retry || err == nil || !strings.Contains(err.Error(), "asked to be left alone for another 2m0s") {
			t.Errorf("%t, %v", retry, err)
		}
		cancel()
		if len(at) != 2 {
			t.Errorf("%d attempts were made", len(at))
		}
		synctest.Wait()
	})
}

func scriptedConfig(t testing.TB) *config.Config {
	c, err := amconfig.Load("route: {receiver: ops}\nreceivers: [{name: ops}]\n")
	if err != nil {
		t.Fatal(err)
	}
	return &config.Config{Alertmanager: c, Entries: []config.Entry{{Kind: "discord_app", Receiver: "ops"}}}
}

// Errors hold URLs, tokens and what the server echoed. None of it is written down, logged or handed on.
func TestErrorsHoldNoSecrets(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.URL.String()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Token")+" "+string(body))
	}))
	t.Cleanup(echo.Close)
	for _, p := range protocols() {
		if p.secure || p.name == "telegram" { // telegram shows nothing of a body
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			var out strings.Builder
			b := newBundle(t, func(o *receivers.Options) {
				o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
			})
			ctx, _ := flush(t, 1)
			i := b.integrationOf(p.list, p.written(echo.URL))
			_, err := i.Notify(ctx, firing("a")...)
			if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(out.String(), secret) {
				t.Errorf("%v\n%s", err, &out)
			}
			n := b.rows.wait(t, func(all []alert.Notification) bool { return len(all) == 1 })[0]
			if strings.Contains(n.Error, secret) || n.Error != err.Error() {
				t.Errorf("%+v", n)
			}
		})
	}
	// A token in a header, and one in a query.
	b := newBundle(t)
	i := b.integrationOf("webhook_configs", "url: "+echo.URL+"/a?key="+secret+"\nhttp_config: {http_headers: {X-Token: {values: [head"+secret+"]}}}")
	ctx, _ := flush(t, 1)
	if _, err := i.Notify(ctx, firing("a")...); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("%v", err)
	}
}

func TestBuildAsksForWhatItNeeds(t *testing.T) {
	if _, err := receivers.New(receivers.Options{}); err == nil {
		t.Error("nothing was enough")
	}
	if _, err := receivers.NewLog(receivers.LogOptions{}); err == nil {
		t.Error("a log without a store")
	}
	var got *amconfig.EmailConfig
	b := newBundle(t, func(o *receivers.Options) {
		o.Email = func(c *amconfig.EmailConfig, _ *template.Template) (notify.Notifier, error) {
			if got != nil {
				return nil, errors.New("from: is not yours")
			}
			got = c
			return &scriptedNotifier{f: func(context.Context, int) (bool, error) { return false, nil }}, nil
		}
	})
	c := b.config("email_configs", "to: a@b.example\nfrom: a@b.example\nsmarthost: smtp.example:25\nsend_resolved: true")
	i := b.integration(c)
	if got.To != "a@b.example" || i.Name() != "email" || !i.SendResolved() {
		t.Errorf("%+v, %s", got, i.Name())
	}
	if _, err := b.receivers.Build(c, b.tmpl); err == nil || !strings.Contains(err.Error(), "email_configs[0]: from: is not yours") {
		t.Errorf("%v", err)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}
