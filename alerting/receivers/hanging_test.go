package receivers_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
)

// One receiver hangs, in every group; the other's notifications come at once, through Alertmanager's own stages.
func TestAHangingReceiverDelaysNoOther(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	var quick atomic.Int64
	works := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { quick.Add(1) }))
	t.Cleanup(func() { close(release); hangs.Close(); works.Close() })
	one, two := newBundle(t), newBundle(t)
	slow, fast := one.integrationOf("webhook_configs", "url: "+hangs.URL), two.integrationOf("webhook_configs", "url: "+works.URL)
	metrics := notify.NewMetrics(prometheus.NewRegistry(), featurecontrol.NoopFlags{})
	run := func(i *notify.Integration, n uint64, limit time.Duration) error {
		ctx, _ := flush(t, n)
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		_, _, err := notify.NewRetryStage(*i, "ops", metrics, eventrecorder.NopRecorder()).Exec(ctx, slog.New(slog.DiscardHandler), firing("a")...)
		return err
	}
	var wait sync.WaitGroup
	for n := range uint64(20) {
		wait.Go(func() {
			if err := run(slow, n, 2*time.Second); err == nil {
				t.Error("the hanging one answered")
			}
		})
	}
	start := time.Now()
	for n := range uint64(20) {
		if err := run(fast, n, 30*time.Second); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 1500*time.Millisecond || quick.Load() != 20 {
		t.Errorf("%d came within %s", quick.Load(), took)
	}
	wait.Wait()
	for _, n := range one.rows.wait(t, func(all []alert.Notification) bool {
		for _, n := range all {
			if n.EndedAt.IsZero() {
				return false
			}
		}
		return len(all) == 20
	}) {
		if n.Status != alert.Failed || !strings.Contains(n.Error, "given up") {
			t.Errorf("%+v", n)
		}
	}
}
