package instance_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// BenchmarkInstances measures what an organisation's running instance costs: with nothing to do, with 20 alerts in a group, and when
// somebody has asked its API. B/instance is heap and stacks after a collection.
func BenchmarkInstances(b *testing.B) {
	for _, c := range []struct {
		name   string
		notify bool
		alerts int
		api    bool
	}{{"idle", true, 0, false}, {"alerts", true, 20, false}, {"api", true, 0, true}, {"viewer", false, 0, true}} {
		b.Run(c.name, func(b *testing.B) {
			running := make([]*instance.Instance, 0, b.N)
			o := benchOptions(b)
			o.Notify = c.notify
			shared := config.Options{}.Shared() // as a process has them
			before := inUse()
			for b.Loop() {
				running = append(running, benchInstance(b, o, shared, c.alerts, c.api))
			}
			if c.alerts > 0 {
				time.Sleep(2 * time.Second) // they are told
			}
			b.ReportMetric(float64(inUse()-before)/float64(len(running)), "B/instance")
			b.ReportMetric(float64(runtime.NumGoroutine())/float64(len(running)), "goroutines/instance")
			stopAll(running)
		})
	}
}

func stopAll(running []*instance.Instance) {
	done := make(chan struct{})
	for _, i := range running {
		go func() { i.Stop(); done <- struct{}{} }()
	}
	for range running {
		<-done
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func benchOptions(b *testing.B) instance.Options {
	b.Helper()
	external, err := url.Parse("https://tokiflow.example/alertmanager")
	if err != nil {
		b.Fatal(err)
	}
	p := &phone{}
	return instance.Options{
		Notify: true, ExternalURL: external, Metrics: instance.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler),
		Build: func(*config.Config, *template.Template) (map[string][]notify.Integration, error) {
			return map[string][]notify.Integration{"team": {notify.NewIntegration(p, p, "phone", 0, "team")}}, nil
		},
	}
}

func benchInstance(b *testing.B, o instance.Options, shared config.Options, alerts int, api bool) *instance.Instance {
	b.Helper()
	c, err := config.Read(config.Source{YAML: plainConfig}, shared)
	if err != nil {
		b.Fatal(err)
	}
	s := newTable()
	o.Org, o.Store = tenant.OrgID{UUID: uuid.New()}, s
	for n := range alerts {
		s.open(fmt.Sprintf("m%d", n), time.Now().Add(-time.Hour))
	}
	i, err := instance.Start(b.Context(), o, c, s.since(0))
	if err != nil {
		b.Fatal(err)
	}
	if api {
		i.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/api/v2/alerts", http.NoBody))
	}
	return i
}
