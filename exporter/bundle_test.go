package exporter_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	pmodel "github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/exporter"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// memory is a store of states with the cursor of a real one: the number of the last change.
type memory struct {
	mu      sync.Mutex
	changes int64
	orgs    map[tenant.OrgID]map[uuid.UUID]changed
	fails   error
	stall   chan struct{} // readings wait until it is closed; nil: they don't
	reads   int
}

type changed struct {
	inventory.MonitorState
	at      int64
	deleted bool
}

func (m *memory) MonitorStates(ctx context.Context, org tenant.OrgID, since int64) (inventory.States, error) {
	m.mu.Lock()
	stall := m.stall
	m.reads++
	m.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return inventory.States{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return inventory.States{}, m.fails
	}
	out := inventory.States{Cursor: m.changes, Full: since == 0}
	for id, c := range m.orgs[org] {
		switch {
		case since > 0 && c.at <= since:
		case !c.deleted:
			out.Monitors = append(out.Monitors, c.MonitorState)
		case since > 0:
			out.Deleted = append(out.Deleted, id)
		}
	}
	return out, nil
}

func (m *memory) put(org tenant.OrgID, states ...inventory.MonitorState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.orgs[org] == nil {
		m.orgs[org] = map[uuid.UUID]changed{}
	}
	m.changes++
	for _, s := range states {
		m.orgs[org][s.ID] = changed{MonitorState: s, at: m.changes}
	}
}

func (m *memory) remove(org tenant.OrgID, id uuid.UUID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	m.orgs[org][id] = changed{at: m.changes, deleted: true}
}

func (m *memory) set(f func(m *memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *memory) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// all are the organisation's monitors by id.
func (m *memory) all(org tenant.OrgID) []inventory.MonitorState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []inventory.MonitorState
	for _, c := range m.orgs[org] {
		if !c.deleted {
			all = append(all, c.MonitorState)
		}
	}
	slices.SortFunc(all, func(a, b inventory.MonitorState) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return all
}

// identities knows keys by what they are.
type identities map[string]tenant.Identity

func (i identities) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	who, ok := i[key]
	switch {
	case key == "broken":
		return who, io.ErrUnexpectedEOF
	case !ok:
		return who, fault.New(fault.Unauthenticated, "the API key is not valid")
	}
	return who, nil
}

// bundle is an exporter over a memory, with two organisations: the keys "a" and "b" are theirs, "a-read" lacks the scope.
type bundle struct {
	t        testing.TB
	store    *memory
	a, b     tenant.OrgID
	exporter *exporter.Exporter
	router   chi.Router
	now      time.Time // of the exporter's clock
	registry *prometheus.Registry
}

func start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func newBundle(t testing.TB, change ...func(o *exporter.Options)) *bundle {
	t.Helper()
	s := &bundle{
		t: t, store: &memory{orgs: map[tenant.OrgID]map[uuid.UUID]changed{}, changes: 1}, now: start(),
		a: tenant.OrgID{UUID: uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000000")},
		b: tenant.OrgID{UUID: uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000000")}, registry: prometheus.NewRegistry(),
	}
	metrics := []tenant.Scope{tenant.ScopeMetrics}
	keys := identities{
		"a": {Org: s.a, Scopes: metrics}, "b": {Org: s.b, Scopes: metrics},
		"a-read": {Org: s.a, Scopes: []tenant.Scope{tenant.ScopeRead, tenant.ScopeWrite, tenant.ScopePing, tenant.ScopeSamples}},
	}
	o := exporter.Options{
		States: s.store, Keys: auth.NewKeys(keys, nil), Clock: func() time.Time { return s.now }, Registerer: s.registry,
		BaseURL: "https://tokiflow.example.com", MaxSeries: exporter.DefaultMaxSeries,
	}
	for _, c := range change {
		c(&o)
	}
	e, err := exporter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.exporter, s.router = e, chi.NewRouter()
	e.Routes(s.router)
	return s
}

// ask sends a request with the key; headers are names and values in turn.
func (s *bundle) ask(key, method, target string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, target, nil)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	return w
}

// get is the body of a good answer.
func (s *bundle) get(key, target string, headers ...string) string {
	s.t.Helper()
	w := s.ask(key, http.MethodGet, target, headers...)
	if w.Code != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	return w.Body.String()
}

// numbered is the nth id.
func numbered(n int) uuid.UUID {
	id := uuid.MustParse("01900000-0000-7000-8000-000000000000")
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// plainMonitor is the nth monitor, of which nothing is known.
func plainMonitor(n int) inventory.MonitorState {
	c := monitor.DefaultConfig()
	c.Name = "monitor " + strconv.Itoa(n)
	c.Schedule = schedule.Spec{Interval: pmodel.Duration(time.Hour)}
	return inventory.MonitorState{
		ID: numbered(n), Project: "shop", Config: c, State: monitor.State{Status: monitor.New, Since: start().Add(-time.Hour)},
	}
}

// randomMonitor is the nth monitor, in any state.
func randomMonitor(r *rand.Rand, n int) inventory.MonitorState {
	m := plainMonitor(n)
	binary.BigEndian.PutUint64(m.ID[8:], r.Uint64())
	m.Project = "project-" + strconv.Itoa(r.IntN(3))
	m.Config.Tags = slices.Repeat([]string{"nightly", "db"}, 1)[:r.IntN(3)]
	m.Config.Labels = map[string]string{"team": "team " + strconv.Itoa(r.IntN(5))}
	randomState(r, &m.State)
	m.GapSeconds = float64(r.IntN(100))
	return m
}

// randomState puts a state where it could have got.
func randomState(r *rand.Rand, s *monitor.State) {
	past := func(d time.Duration) time.Time {
		return start().Add(-time.Duration(r.Int64N(int64(d)))).Truncate(time.Microsecond)
	}
	s.Status = metric.Statuses()[r.IntN(5)]
	s.Since = past(48 * time.Hour)
	if s.Status == monitor.New && r.IntN(2) == 0 {
		return
	}
	s.LastPing.At, s.Due = past(time.Hour), start().Add(time.Duration(r.Int64N(int64(time.Hour))))
	s.Deadline = s.Due.Add(5 * time.Minute)
	s.Open = make([]monitor.OpenRun, r.IntN(3))
	s.ZScore = r.NormFloat64()
	s.Incidents = map[incident.Kind]uuid.UUID{}
	for _, k := range metric.Kinds() {
		if r.IntN(6) == 0 {
			s.Incidents[k] = uuid.Max
		}
	}
	t := &monitor.Totals{}
	mean := 1 + r.Float64()*600
	for range r.IntN(200) {
		run := monitor.Run{Outcome: monitor.Succeeded, Duration: -1}
		switch r.IntN(12) {
		case 0:
			run.Outcome = monitor.Failed
		case 1:
			run.Outcome = monitor.Missed
		case 2:
			run.Outcome, run.Duration = monitor.Unknown, 0
		case 3:
			run.Outcome = monitor.Abandoned
		}
		if r.IntN(10) > 0 {
			run.Duration = time.Duration(mean*(0.8+0.4*r.Float64())*1e6) * time.Microsecond
		}
		t.AddRun(&run, 1)
		s.LastSuccess = s.LastPing.At
	}
	for range r.IntN(3) {
		t.AddTransition(&monitor.Transition{From: monitor.Up, To: monitor.Down, SecondsInPrevious: r.Float64() * 1e6}, 1)
		t.AddTransition(&monitor.Transition{From: monitor.Down, To: monitor.Up, SecondsInPrevious: r.Float64() * 1e4}, 1)
	}
	if r.IntN(8) > 0 {
		s.Totals = t
	}
}

func randomMonitors(n int) []inventory.MonitorState {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]inventory.MonitorState, n)
	for i := range all {
		all[i] = randomMonitor(r, i)
	}
	return all
}
