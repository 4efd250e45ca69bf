package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/feed"
	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// eachAlone tells every alert in a message of its own, at once.
const eachAlone = `
route: {receiver: team, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: team}]
`

// house is a database with processes on it, and the receiver that all of them tell.
type house struct {
	t    testing.TB
	url  string
	pool *pgxpool.Pool // the test's own

	mu   sync.Mutex
	told []string // "monitor firing", "monitor resolved"
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, url: pgtest.NewURL(t)}
	h.pool = h.open()
	return h
}

func (h *house) open() *pgxpool.Pool {
	h.t.Helper()
	pool, err := pg.Open(h.t.Context(), h.url, pg.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(pool.Close)
	return pool
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.pool.Exec(h.t.Context(), sql, args...); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h *house) organisation() tenant.OrgID {
	h.t.Helper()
	org := newOrg()
	h.exec(`insert into organisations (id, name) values ($1, 'x')`, org)
	return org
}

// say writes to the outbox what a checkpoint does of a monitor's incident.
func (h *house) say(org tenant.OrgID, monitor string, id uuid.UUID, resolved bool) {
	h.t.Helper()
	at := time.Now().UTC()
	m := alert.Message{Type: alert.TypeOpened, Timestamp: at, Data: alert.Data{
		Incident: alert.Incident{ID: id, Kind: incident.Fail, Severity: "critical", OpenedAt: at, Evidence: json.RawMessage(`{}`)},
		Monitor:  alert.Monitor{Name: monitor},
	}}
	if resolved {
		m.Type, m.Data.Incident.ResolvedAt = alert.TypeResolved, &at
	}
	payload, err := json.Marshal(m)
	if err != nil {
		h.t.Fatal(err)
	}
	h.exec(`with said as (insert into outbox (org_id, incident_id, type, payload) values ($1, $2, $3, $4)) select pg_notify('tokiflow_outbox', '')`,
		org, id, m.Type, payload)
}

func (h *house) Notify(_ context.Context, alerts ...*amalert.Alert) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range alerts {
		h.told = append(h.told, fmt.Sprintf("%s%s %s", a.Labels["monitor"], a.Labels["posted"], a.Status()))
	}
	return false, nil
}

func (h *house) SendResolved() bool { return true }

// heard is all that was told, sorted.
func (h *house) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.told))
}

// eventually waits until a condition holds.
func (h *house) eventually(within time.Duration, what string, holds func() bool) {
	h.t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %v; told: %q", what, within, h.heard())
		}
	}
}

func (h *house) wantHeard(want ...string) {
	h.t.Helper()
	slices.Sort(want)
	h.eventually(20*time.Second, fmt.Sprintf("told is %q", want), func() bool { return len(h.heard()) >= len(want) })
	if diff := cmp.Diff(want, h.heard()); diff != "" {
		h.t.Fatal(diff)
	}
}

// room is one process.
type room struct {
	pool     *pgxpool.Pool
	locks    *pg.Locks
	m        *manager.Manager
	registry *prometheus.Registry
	stop     func()
}

func (h *house) process(yaml string) *room {
	h.t.Helper()
	c, err := config.Load(config.Source{YAML: yaml}, config.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	pool := h.open()
	s := store.New(pool)
	log := slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	r := &room{pool: pool, locks: pg.NewLocks(pool, log), registry: prometheus.NewRegistry()}
	external := &url.URL{Scheme: "https", Host: "toki.example.com", Path: manager.Prefix}
	r.m, err = manager.New(manager.Options{
		Store: s, Locks: r.locks, Listen: s.ListenAlerting, Alert: true, Keys: auth.NewKeys(keyring{}, nil), Logger: log, Registerer: r.registry,
		Config: func(ctx context.Context, org tenant.OrgID) (*config.Config, int64, error) {
			_, _, version, _, err := s.AlertingConfig(ctx, org)
			return c, version, err
		},
		Instance: func(org tenant.OrgID) instance.Options {
			return instance.Options{
				Org: org, ExternalURL: external, Store: s, Logger: log,
				Build: func(*config.Config, *template.Template) (map[string][]notify.Integration, error) {
					return map[string][]notify.Integration{"team": {notify.NewIntegration(h, h, "phone", 0, "team")}}, nil
				},
			}
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	f, err := feed.New(feed.Options{Store: s, Listen: s.ListenOutbox, BaseURL: "https://toki.example.com", Logger: log})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{r.m.Run, f.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				h.t.Error(err)
			}
		})
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		r.locks.Close()
	})
	h.t.Cleanup(r.stop)
	return r
}

// value is that of a metric of the manager with this label, or over all.
func (r *room) value(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (r *room) owns(t testing.TB) float64 { return r.value(t, "tokiflow_alerting_instances", "owner") }

// kill takes the database away from a process and ends the connection that holds its locks, as its death would. It keeps running: that
// it is silent is its own doing.
func (h *house) kill(r *room) {
	h.t.Helper()
	r.pool.Close()
	h.exec(`select pg_terminate_backend(pid) from (select distinct pid from pg_locks where locktype = 'advisory' and database =
		(select oid from pg_database where datname = current_database())) as holders`)
}

func TestAProcessIsKilled(t *testing.T) {
	h := newHouse(t)
	a := h.process(eachAlone)
	org := h.organisation()
	first, second := uuid.New(), uuid.New()
	h.say(org, "first", first, false)
	h.wantHeard("first firing")
	b := h.process(eachAlone)
	h.say(org, "second", second, false)
	h.wantHeard("first firing", "second firing")
	if a.owns(t) != 1 || b.owns(t) != 0 {
		t.Fatalf("a owns %v, b %v", a.owns(t), b.owns(t))
	}

	began := time.Now()
	h.kill(a)
	h.eventually(15*time.Second, "the other takes over", func() bool { return b.owns(t) == 1 })
	t.Logf("taken over after %v", time.Since(began))
	if a.owns(t) != 0 {
		t.Error("the first goes on")
	}
	h.say(org, "third", uuid.New(), false)
	h.say(org, "first", first, true)
	h.wantHeard("first firing", "second firing", "third firing", "first resolved")

	// In peace: the next takes over at once, and tells nothing again.
	c := h.process(eachAlone)
	began = time.Now()
	b.stop()
	h.eventually(5*time.Second, "the third takes over", func() bool { return c.owns(t) == 1 })
	t.Logf("taken over after %v", time.Since(began))
	h.say(org, "second", second, true)
	h.wantHeard("first firing", "second firing", "third firing", "first resolved", "second resolved")
	time.Sleep(2500 * time.Millisecond) // two intervals of the groups: what would be told again is told by now
	h.wantHeard("first firing", "second firing", "third firing", "first resolved", "second resolved")
	h.eventually(10*time.Second, "what was told to the end is forgotten", func() bool {
		var n int
		err := h.pool.QueryRow(t.Context(), `select count(*) from alerts where org_id = $1`, org).Scan(&n)
		return err == nil && n == 1
	})
}

// What is posted to a process that does not own the organisation is told by the one that does, and shown by both.
func TestPostedToAViewer(t *testing.T) {
	h := newHouse(t)
	a := h.process(eachAlone)
	org := h.organisation()
	h.say(org, "first", uuid.New(), false)
	h.wantHeard("first firing")
	b := h.process(eachAlone)
	ask := func(r *room, method, path, body string) *httptest.ResponseRecorder {
		router := chi.NewRouter()
		r.m.Routes(router)
		req := httptest.NewRequestWithContext(t.Context(), method, manager.Prefix+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth("", org.String())
		w := httptest.NewRecorder()
		router.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w
	}
	ask(b, "POST", "/api/v2/alerts", `[{"labels":{"alertname":"Posted","posted":"here"}}]`)
	if got := ask(b, "GET", "/api/v2/alerts", "").Body.String(); !strings.Contains(got, `"posted":"here"`) || !strings.Contains(got, `"monitor":"first"`) {
		t.Errorf("the viewer shows %s", got)
	}
	if b.owns(t) != 0 || b.value(t, "tokiflow_alerting_instances", "viewer") != 1 || a.owns(t) != 1 {
		t.Error("it is not a viewer")
	}
	h.wantHeard("first firing", "here firing")
	h.eventually(5*time.Second, "the owner shows it", func() bool {
		return strings.Contains(ask(a, "GET", "/api/v2/alerts", "").Body.String(), `"posted":"here"`)
	})
	// A silence too: what comes under it is told to nobody.
	ask(b, "POST", "/api/v2/silences", fmt.Sprintf(
		`{"matchers":[{"name":"monitor","value":"quiet","isRegex":false}],"startsAt":%q,"endsAt":%q,"createdBy":"me","comment":"c"}`,
		time.Now().Add(-time.Minute).Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339)))
	if got := ask(b, "GET", "/api/v2/silences", "").Body.String(); !strings.Contains(got, `"quiet"`) {
		t.Errorf("the viewer shows %s", got)
	}
	h.eventually(5*time.Second, "the owner has it", func() bool {
		return strings.Contains(ask(a, "GET", "/api/v2/silences", "").Body.String(), `"quiet"`)
	})
	h.say(org, "quiet", uuid.New(), false)
	h.say(org, "loud", uuid.New(), false)
	h.wantHeard("first firing", "here firing", "loud firing")
}

func TestOrganisationsWithoutAlertsCostNothing(t *testing.T) {
	h := newHouse(t)
	h.exec(`insert into organisations (id, name) select gen_random_uuid(), 'x' from generate_series(1, 1000)`)
	h.exec(`insert into alerting (org_id, version, config, config_hash, config_version) select id, 1, $1, 'x', 1 from organisations`, []byte(eachAlone))
	before := heap()
	r := h.process(eachAlone)
	h.eventually(5*time.Second, "it has looked", func() bool {
		var n int
		err := h.pool.QueryRow(t.Context(), `select count(*) from pg_stat_activity where query = 'listen tokiflow_alerting' and datname = current_database()`).Scan(&n)
		return err == nil && n == 1
	})
	time.Sleep(1500 * time.Millisecond) // one poll more
	after := heap()
	t.Logf("%.1f MB more", float64(after-before)/1e6)
	if after-before > 50e6 {
		t.Errorf("%d bytes more", after-before)
	}
	if n := r.value(t, "tokiflow_alerting_instance_starts_total", ""); n != 0 {
		t.Errorf("%v instances were started", n)
	}
}

// heap is what lives in it, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
