package instance_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// world is an organisation with its table, its phones by receiver's name, and an instance that may stop and start again.
type world struct {
	t      *testing.T
	o      instance.Options
	table  *table
	phones map[string][]*phone
	config *config.Config
	i      *instance.Instance
	seen   int64
	reg    *prometheus.Registry
}

const plainConfig = `
route: {receiver: team, group_by: [project], group_wait: 10s, group_interval: 15s, repeat_interval: 4h}
receivers: [{name: team}]
`

// newWorld makes a world whose every receiver has one phone. It starts nothing.
func newWorld(t *testing.T, yaml string) *world {
	t.Helper()
	w := &world{t: t, table: newTable(), phones: map[string][]*phone{}, reg: prometheus.NewRegistry()}
	w.config = w.parse(yaml)
	for _, r := range w.config.Alertmanager.Receivers {
		w.phones[r.Name] = []*phone{{}}
	}
	external, err := url.Parse("https://tokiflow.example/alertmanager")
	if err != nil {
		t.Fatal(err)
	}
	w.o = instance.Options{
		Org: tenant.OrgID{UUID: uuid.New()}, Notify: true, ExternalURL: external, Build: w.build, Store: w.table, Metrics: instance.NewMetrics(w.reg),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	return w
}

func (w *world) parse(yaml string) *config.Config {
	w.t.Helper()
	c, err := config.Load(config.Source{YAML: yaml}, config.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) build(c *config.Config, _ *template.Template) (map[string][]notify.Integration, error) {
	out := map[string][]notify.Integration{}
	for _, r := range c.Alertmanager.Receivers {
		if r.Name == "broken" {
			return nil, errors.New("receiver broken cannot be made")
		}
		for n, p := range w.phones[r.Name] {
			out[r.Name] = append(out[r.Name], notify.NewIntegration(p, p, "phone", n, r.Name))
		}
	}
	return out, nil
}

func (w *world) start() {
	w.t.Helper()
	s := w.table.since(0)
	i, err := instance.Start(w.t.Context(), w.o, w.config, s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.i, w.seen = i, s.Version
}

// restart stops the instance and starts another one from what was saved.
func (w *world) restart() {
	w.i.Stop()
	w.start()
}

// update gives the instance what changed since it was given something last.
func (w *world) update() {
	w.t.Helper()
	s := w.table.since(w.seen)
	if err := w.i.Update(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
	w.seen = s.Version
}

// after lets time pass.
func (w *world) after(d time.Duration) { time.Sleep(d); synctest.Wait() }

// hears checks what the first phone of a receiver heard since it was last asked.
func (w *world) hears(receiver string, want ...string) {
	w.t.Helper()
	p := w.phones[receiver][0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := fmt.Sprintf("%q", p.heard); got != fmt.Sprintf("%q", want) {
		w.t.Errorf("%s heard %s, want %q", receiver, got, want)
	}
	p.heard = nil
}

func (w *world) leaves(want string) {
	w.t.Helper()
	if got := w.table.left(); got != want {
		w.t.Errorf("the table has %q, want %q", got, want)
	}
}

// counts returns the value of a metric, all its series together.
func (w *world) counts(name string) float64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// story runs f in a bubble with a clock of its own, and stops what is running after it.
func story(t *testing.T, yaml string, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, yaml)
		defer func() {
			if w.i != nil {
				w.i.Stop()
			}
		}()
		f(w)
	})
}
