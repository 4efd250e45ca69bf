package instance_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

var errDown = errors.New("the database is down")

// table is a Store in memory that behaves as PostgreSQL does, and the feeder beside it. down makes the methods named in it fail.
type table struct {
	mu       sync.Mutex
	version  int64
	alerts   map[string]alert.Routed
	silences map[string]alert.StoredSilence
	log      map[string]alert.LogEntry
	down     map[string]bool
	calls    map[string]int
	refuses  func(alert.LogEntry) bool // nil: it takes every entry of the log
}

func newTable() *table {
	return &table{
		alerts: map[string]alert.Routed{}, silences: map[string]alert.StoredSilence{}, log: map[string]alert.LogEntry{},
		down: map[string]bool{}, calls: map[string]int{},
	}
}

// begin counts a call, under the lock, and returns what it is to fail with.
func (s *table) begin(method string) error {
	s.calls[method]++
	if s.down[method] {
		return errDown
	}
	return nil
}

func (s *table) fail(method string, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[method] = down
}

func (s *table) SaveLog(_ context.Context, _ tenant.OrgID, entries []alert.LogEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SaveLog"); err != nil {
		return err
	}
	if s.refuses != nil && slices.ContainsFunc(entries, s.refuses) {
		return fault.New(fault.Invalid, "the database does not take this")
	}
	for _, e := range entries {
		if key := e.GroupKey + "|" + e.Receiver; !s.log[key].LoggedAt.After(e.LoggedAt) {
			s.log[key] = e
		}
	}
	return nil
}

func (s *table) SaveSilences(_ context.Context, _ tenant.OrgID, silences []alert.StoredSilence) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SaveSilences"); err != nil {
		return err
	}
	s.version++
	for _, x := range silences {
		x.Version = s.version
		s.silences[x.ID] = x
	}
	return nil
}

func (s *table) SaveAlerts(_ context.Context, _ tenant.OrgID, alerts []alert.Routed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("SaveAlerts"); err != nil {
		return err
	}
	s.put(alerts...)
	return nil
}

func (s *table) RemoveAlerts(_ context.Context, _ tenant.OrgID, told []alert.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("RemoveAlerts"); err != nil {
		return err
	}
	for _, k := range told {
		if s.alerts[k.Fingerprint].Version == k.Version {
			delete(s.alerts, k.Fingerprint)
		}
	}
	return nil
}

// put stores alerts under a new version. The lock is held.
func (s *table) put(alerts ...alert.Routed) {
	s.version++
	for _, a := range alerts {
		a.Version = s.version
		s.alerts[a.Fingerprint] = a
	}
}

// open has a monitor's incident open at the instant, as the feeder does.
func (s *table) open(monitor string, at time.Time, labels ...string) alert.Routed {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := map[string]string{"alertname": "MonitorMissed", "monitor": monitor, "project": "shop", "severity": "critical"}
	for n := 0; n+1 < len(labels); n += 2 {
		l[labels[n]] = labels[n+1]
	}
	r := alert.Routed{Fingerprint: fingerprint(l), Source: alert.FromIncident, Labels: l, Annotations: map[string]string{"summary": monitor + " is missed"}, StartsAt: at, Incident: uuid.New()}
	s.put(r)
	return r
}

// change stores the alert of an incident as f leaves it.
func (s *table) change(r alert.Routed, f func(*alert.Routed)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.alerts[r.Fingerprint]; ok && have.Incident == r.Incident {
		f(&have)
		s.put(have)
	}
}

func (s *table) resolve(r alert.Routed, at time.Time) {
	s.change(r, func(have *alert.Routed) { have.EndsAt = at })
}

// since returns what an instance is to be told that has seen up to the version; 0: all, with the log.
func (s *table) since(version int64) alert.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := alert.State{Version: s.version}
	for _, a := range s.alerts {
		if a.Version > version {
			out.Alerts = append(out.Alerts, a)
		}
	}
	for _, x := range s.silences {
		if x.Version > version {
			out.Silences = append(out.Silences, x)
		}
	}
	if version == 0 {
		out.Log = slices.Collect(maps.Values(s.log))
	}
	return out
}

// left returns the monitors, or names, of the alerts in the table.
func (s *table) left() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, a := range s.alerts {
		out = append(out, cmp.Or(a.Labels["monitor"], a.Labels["alertname"]))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func fingerprint(labels map[string]string) string {
	set := model.LabelSet{}
	for k, v := range labels {
		set[model.LabelName(k)] = model.LabelValue(v)
	}
	return set.Fingerprint().String()
}

// phone is what a receiver's integration heard, message by message: "a b, -c" is that a and b fire and c is resolved.
type phone struct {
	mu    sync.Mutex
	heard []string
	last  []*amalert.Alert
	down  error
	hang  bool // until the context ends
	quiet bool // it does not want to hear of resolutions
}

func (p *phone) SendResolved() bool { return !p.quiet }

func (p *phone) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	p.mu.Lock()
	down, hang := p.down, p.hang
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return true, ctx.Err()
	}
	if down != nil {
		return true, down
	}
	var firing, resolved []string
	for _, a := range alerts {
		name := string(cmp.Or(a.Labels["monitor"], a.Labels["alertname"]))
		if a.Resolved() {
			resolved = append(resolved, "-"+name)
		} else {
			firing = append(firing, name)
		}
	}
	slices.Sort(firing)
	slices.Sort(resolved)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.last = append(p.heard, strings.Join(append(firing, resolved...), " ")), alerts
	return false, nil
}

func (p *phone) set(f func(*phone)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func TestMetricsAreNamedAsTheyShould(t *testing.T) {
	reg := prometheus.NewRegistry()
	instance.NewMetrics(reg)
	problems, err := testutil.GatherAndLint(reg, "tokiflow_alerting_log_unsaved", "tokiflow_alerting_log_forsaken_total", "tokiflow_alerting_told_late_total", "tokiflow_alerting_alerts_done_total")
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
