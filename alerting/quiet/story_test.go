package quiet_test

import (
	"context"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/quiet"
	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	rules "github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const eachAlone = `
route: {receiver: team, group_by: [monitor], group_wait: 5s, group_interval: 15s, repeat_interval: 4h}
receivers: [{name: team}]
`

// centre is an organisation's whole instance over tables in memory, with dependencies and storms as app wires them.
type centre struct {
	t     *testing.T
	phone *phone
	edges *edgeTable
	i     *instance.Instance
	deps  *quiet.Dependencies

	mu      sync.Mutex
	version int64
	rows    map[string]alert.Routed
	log     map[string]alert.LogEntry
}

func newCentre(t *testing.T) *centre {
	return &centre{t: t, phone: &phone{}, edges: &edgeTable{edges: rules.Edges{}, version: 1}, rows: map[string]alert.Routed{}, log: map[string]alert.LogEntry{}}
}

func (c *centre) SaveLog(_ context.Context, _ tenant.OrgID, entries []alert.LogEntry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		c.log[e.GroupKey+e.Receiver] = e
	}
	return nil
}

func (c *centre) SaveSilences(context.Context, tenant.OrgID, []alert.StoredSilence) error { return nil }

func (c *centre) SaveAlerts(context.Context, tenant.OrgID, []alert.Routed) error { return nil }

func (c *centre) RemoveAlerts(_ context.Context, _ tenant.OrgID, told []alert.Key) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range told {
		if c.rows[k.Fingerprint].Version == k.Version {
			delete(c.rows, k.Fingerprint)
		}
	}
	return nil
}

func (c *centre) start() {
	c.t.Helper()
	parsed, err := config.Load(config.Source{YAML: eachAlone}, config.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	one := notify.NewIntegration(c.phone, sendResolved(true), "webhook", 0, "team")
	org := tenant.OrgID{UUID: uuid.New()}
	c.deps = quiet.NewDependencies(org, c.edges, nil)
	o := instance.Options{
		Org: org, Notify: true, ExternalURL: &url.URL{Scheme: "https", Host: "toki.example"}, Store: c, Logger: slog.New(slog.DiscardHandler),
		Build: func(*config.Config, *template.Template) (map[string][]notify.Integration, error) {
			return map[string][]notify.Integration{"team": {one}}, nil
		},
		Muters: []instance.Muter{c.deps},
		Teller: func(p instance.Pipeline) instance.Teller {
			return quiet.NewStorms(quiet.StormOptions{Org: org, Rules: rules.StormRules{Limit: rules.DefaultStormLimit}},
				quiet.Pipeline{Next: p.Next, Whole: p.Whole, Log: p.Log, Integrations: p.Integrations})
		},
	}
	c.mu.Lock()
	s := alert.State{Version: c.version, Alerts: slices.Collect(maps.Values(c.rows)), Log: slices.Collect(maps.Values(c.log))}
	c.mu.Unlock()
	if err := c.deps.Update(c.t.Context(), s); err != nil {
		c.t.Fatal(err)
	}
	if c.i, err = instance.Start(c.t.Context(), o, parsed, s); err != nil {
		c.t.Fatal(err)
	}
}

// set has a monitor's incident be open or resolved, as of now.
func (c *centre) set(monitor uuid.UUID, name string, open bool) {
	c.t.Helper()
	l := map[string]string{alert.LabelName: missed, alert.LabelID: monitor.String(), alert.LabelMonitor: name, alert.LabelProject: "shop"}
	fp := alert.Fingerprint(l)
	c.mu.Lock()
	c.version++
	r, ok := c.rows[fp]
	if !ok || open {
		r = alert.Routed{Fingerprint: fp, Source: alert.FromIncident, Labels: l, Monitor: monitor, Incident: uuid.New(), StartsAt: time.Now()}
	}
	if !open {
		r.EndsAt = time.Now()
	}
	r.Version = c.version
	c.rows[fp] = r
	c.mu.Unlock()
	c.update(alert.State{Version: r.Version, Alerts: []alert.Routed{r}})
}

func (c *centre) update(s alert.State) {
	c.t.Helper()
	if err := c.deps.Update(c.t.Context(), s); err != nil {
		c.t.Fatal(err)
	}
	if err := c.i.Update(c.t.Context(), s); err != nil {
		c.t.Fatal(err)
	}
}

func TestASwitchGoesDownWithEverythingBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCentre(t)
		router := uuid.New()
		hosts := make([]uuid.UUID, 100)
		for i := range hosts {
			hosts[i] = uuid.New()
			c.edges.edges[hosts[i]] = []uuid.UUID{router}
		}
		c.start()
		c.set(router, "switch", true)
		for i, h := range hosts {
			c.set(h, monitorName(i), true)
		}
		time.Sleep(10 * time.Minute)
		if got := c.phone.heard(); len(got) != 1 || !contains(got[0].firing, "switch") {
			t.Fatalf("%d messages", len(got))
		}
		for i, h := range hosts[:20] { // they recover behind the switch that is down
			c.set(h, monitorName(i), false)
		}
		time.Sleep(time.Minute)
		c.i.Stop()
		c.start()
		time.Sleep(time.Minute)
		if got := c.phone.heard(); len(got) != 1 {
			t.Fatalf("%d messages after a restart", len(got))
		}
		c.set(router, "switch", false)
		for i, h := range hosts[20:60] { // these recover at once with it
			c.set(h, monitorName(20+i), false)
		}
		time.Sleep(time.Minute)
		firing, resolved := c.phone.told(t)
		for i := range hosts {
			_, ok := firing[monitorName(i)]
			if want := i >= 60; ok != want { // what still fires is told now, the rest never
				t.Errorf("%s was told: %v", monitorName(i), ok)
			}
		}
		if _, ok := resolved["switch"]; !ok || len(resolved) != 1 {
			t.Errorf("%d were told to be resolved", len(resolved))
		}
		if n := len(c.phone.heard()); n > 8 {
			t.Errorf("%d messages", n)
		}
		for i, h := range hosts[60:] {
			c.set(h, monitorName(60+i), false)
		}
		time.Sleep(2 * time.Minute)
		if _, resolved := c.phone.told(t); len(resolved) != 41 {
			t.Errorf("%d were told to be resolved, want 41", len(resolved))
		}
		c.mu.Lock()
		left := len(c.rows)
		c.mu.Unlock()
		if left != 0 {
			t.Errorf("%d alerts are left in the table", left)
		}
		c.i.Stop()
	})
}

// A window that is on mutes what is in its scope, within a second, and what still fires when it is deleted is told.
func TestAWindowMutesAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCentre(t)
		c.start()
		in, out := uuid.New(), uuid.New()
		now := time.Now()
		u := &rules.Untold{Planned: rules.Planned{
			Occurrence: rules.Occurrence{StartsAt: now, EndsAt: now.Add(time.Hour)}, Window: uuid.New(), Name: "upgrade", DueAt: now,
			Scope: rules.Scope{Monitors: []uuid.UUID{in, uuid.New()}},
		}}
		c.version++
		c.update(alert.State{Version: c.version, Silences: c.silences(u, now)})
		c.set(in, "in", true)
		c.set(out, "out", true)
		time.Sleep(time.Minute)
		if firing, _ := c.phone.told(t); len(firing) != 1 || firing["out"].IsZero() {
			t.Errorf("told: %v", firing)
		}
		u.Cancelled, u.Silenced = true, []string{"monitors"}
		c.version++
		c.update(alert.State{Version: c.version, Silences: c.silences(u, time.Now())})
		time.Sleep(16 * time.Second)
		if firing, _ := c.phone.told(t); firing["in"].IsZero() {
			t.Error("what still fires was not told after the window")
		}
		c.i.Stop()
	})
}

// silences are what Windows stores of an occurrence.
func (c *centre) silences(u *rules.Untold, now time.Time) []alert.StoredSilence {
	c.t.Helper()
	table := &untoldTable{list: []rules.Untold{*u}}
	w := quiet.NewWindows(quiet.WindowOptions{Windows: table, Silences: table, Now: func() time.Time { return now }})
	if err := w.Once(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	for i := range table.stored {
		table.stored[i].Version = c.version
		if _, err := silences.Unmarshal(table.stored[i].Body); err != nil {
			c.t.Error(err)
		}
	}
	return table.stored
}

// untoldTable has occurrences to be silenced.
type untoldTable struct {
	quiet.WindowStore
	list   []rules.Untold
	stored []alert.StoredSilence
}

func (u *untoldTable) PlanMaintenance(context.Context, time.Time, int) (int, error) { return 0, nil }

func (u *untoldTable) UntoldOccurrences(context.Context, int) ([]rules.Untold, error) {
	return u.list, nil
}

func (u *untoldTable) MarkOccurrence(context.Context, tenant.OrgID, rules.Untold, []string) error {
	return nil
}

func (u *untoldTable) SaveSilences(_ context.Context, _ tenant.OrgID, list []alert.StoredSilence) error {
	u.stored = append(u.stored, list...)
	return nil
}
