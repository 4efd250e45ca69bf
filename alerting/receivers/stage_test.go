package receivers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// other is another Alertmanager: it keeps what it was sent.
type other struct {
	*httptest.Server
	mu       sync.Mutex
	requests [][]received
	status   int
}

type received struct {
	Labels   map[string]string `json:"labels"`
	StartsAt time.Time         `json:"startsAt"`
	EndsAt   time.Time         `json:"endsAt"`
}

func newOther(t testing.TB) *other {
	o := &other{status: http.StatusOK}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var alerts []received
		if err := json.Unmarshal(body, &alerts); err != nil || r.URL.Path != "/api/v2/alerts" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.requests = append(o.requests, alerts)
		w.WriteHeader(o.status)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *other) got() [][]received {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests
}

// pipeline stands for what asks the notification log: it calls the integrations that are to be notified in this flush.
type pipeline struct{ pending []*notify.Integration }

func (p *pipeline) Exec(ctx context.Context, _ *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	var err error
	for _, i := range p.pending {
		_, failed := i.Notify(ctx, alerts...)
		err = errors.Join(err, failed)
	}
	if err != nil {
		return ctx, nil, err
	}
	return ctx, alerts, nil
}

func TestFiringAlertsAreSentAgain(t *testing.T) {
	o := newOther(t)
	b := newBundle(t)
	c := b.config("alertmanager_configs", "url: "+o.URL+"\nresend_interval: 10s")
	i := b.integration(c)
	p := &pipeline{}
	stage := b.receivers.Stage(p)
	run := func(alerts ...*amalert.Alert) error {
		ctx, cancel := flush(t, 1)
		defer cancel()
		_, _, err := stage.Exec(ctx, slog.New(slog.DiscardHandler), alerts...)
		return err
	}
	// A restart: the log says that it was told, so nobody is notified. The other Alertmanager hears of it all the same, and at once.
	if err := run(append(firing("a"), resolved("b")...)...); err != nil {
		t.Fatal(err)
	}
	got := o.got()
	if len(got) != 1 || len(got[0]) != 1 || got[0][0].Labels["monitor"] != "a" {
		t.Fatalf("%+v", got)
	}
	// Five minutes at least, though the group is flushed every 15 s.
	if ahead := time.Until(got[0][0].EndsAt); ahead < 4*time.Minute || ahead > 6*time.Minute {
		t.Errorf("it ends in %s", ahead)
	}
	// The next flush comes at once: that is too soon.
	if err := run(firing("a")...); err != nil || len(o.got()) != 1 {
		t.Errorf("%v, %d requests", err, len(o.got()))
	}
	// What is resolved is told once, with the end that it had.
	p.pending = []*notify.Integration{&i}
	gone := resolved("a")
	if err := run(gone...); err != nil {
		t.Fatal(err)
	}
	if got = o.got(); len(got) != 2 || !got[1][0].EndsAt.Equal(gone[0].EndsAt) {
		t.Errorf("%+v", got)
	}
	if n := testutil.ToFloat64(counter(t, b, "tokiflow_alertmanager_resends_total", "status", "delivered")); n != 1 {
		t.Errorf("%v were counted", n)
	}
}

// Another integration of the receiver hangs until the flush has no time left.
func TestABrokenNeighbourDoesNotEndAlerts(t *testing.T) {
	o, broken := newOther(t), httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		<-r.Context().Done()
	}))
	t.Cleanup(broken.Close)
	b := newBundle(t)
	c := b.load("route: {receiver: ops, group_interval: 2h}\nreceivers: [{name: ops, webhook_configs: [{url: '" + broken.URL + "'}]}]\n")
	c.Entries = b.config("alertmanager_configs", "url: "+o.URL).Entries
	all, err := b.receivers.Build(c, b.tmpl)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{pending: []*notify.Integration{&all["ops"][0]}}
	ctx, _ := flush(t, 1)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, _, err := b.receivers.Stage(p).Exec(ctx, slog.New(slog.DiscardHandler), firing("a")...); err == nil {
		t.Error("the broken one did not fail")
	}
	got := o.got()
	if len(got) != 1 || len(got[0]) != 1 || got[0][0].Labels["monitor"] != "a" {
		t.Fatalf("%+v", got)
	}
	if ahead := time.Until(got[0][0].EndsAt); ahead < 7*time.Hour { // four of the group's intervals
		t.Errorf("it ends in %s", ahead)
	}
}

func TestWhatCannotBeSentAgainIsCounted(t *testing.T) {
	o := newOther(t)
	o.status = http.StatusServiceUnavailable
	b := newBundle(t)
	b.integration(b.config("alertmanager_configs", "url: "+o.URL))
	ctx, cancel := flush(t, 1)
	defer cancel()
	for range 2 { // what was not taken is due again in the next flush
		if _, _, err := b.receivers.Stage(&pipeline{}).Exec(ctx, slog.New(slog.DiscardHandler), firing("a")...); err != nil {
			t.Error(err)
		}
	}
	if n := testutil.ToFloat64(counter(t, b, "tokiflow_alertmanager_resends_total", "status", "failed")); n != 2 || len(o.got()) != 2 {
		t.Errorf("%v were counted, %d came", n, len(o.got()))
	}
}

// Receivers without another Alertmanager are left alone, and those of a configuration before, too.
func TestTheStageServesTheLastBuild(t *testing.T) {
	o := newOther(t)
	b := newBundle(t)
	b.integration(b.config("alertmanager_configs", "url: "+o.URL))
	if _, err := b.receivers.Build(&config.Config{Alertmanager: b.load("route: {receiver: ops}\nreceivers: [{name: ops}]\n").Alertmanager}, b.tmpl); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := flush(t, 1)
	defer cancel()
	_, out, err := b.receivers.Stage(&pipeline{}).Exec(ctx, slog.New(slog.DiscardHandler), firing("a")...)
	if err != nil || len(out) != 1 || len(o.got()) != 0 {
		t.Errorf("%v, %d alerts, %d requests", err, len(out), len(o.got()))
	}
}
