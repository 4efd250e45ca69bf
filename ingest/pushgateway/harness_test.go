package pushgateway

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func orgOf(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{15: n}} }

// fakeKeys knows the keys k1 and k2, of organisations 1 and 2, and "readonly".
type fakeKeys struct{}

func (fakeKeys) Request(r *http.Request, scope tenant.Scope) (tenant.Identity, error) {
	switch key := auth.KeyOf(r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")); key {
	case "k1", "k2":
		return tenant.Identity{Org: orgOf(key[1] - '0')}, nil
	case "readonly":
		return tenant.Identity{}, auth.Lacking(scope)
	}
	return tenant.Identity{}, fault.New(fault.Unauthenticated, "the API key is not valid")
}

// point is a sample as PromQL would find it.
type point struct {
	at    int64
	value string // "stale" for a staleness marker
}

// tsdb keeps what is appended, by organisation and series. It is what a database would make of it.
type tsdb struct {
	mu       sync.Mutex
	err      error
	series   map[tenant.OrgID]map[string][]point
	metadata map[string]series.Metadata
	t        testing.TB
}

func (d *tsdb) AppendSamples(_ context.Context, org tenant.OrgID, list []series.Series, about []series.Metadata) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if d.series[org] == nil {
		d.series[org] = map[string][]point{}
	}
	for _, s := range list {
		name := nameOf(s.Labels)
		for _, f := range s.Floats {
			v := fmt.Sprint(f.Value)
			if math.Float64bits(f.Value) == 0x7ff0000000000002 {
				v = "stale"
			}
			d.add(org, name, point{f.At, v})
		}
		for _, h := range s.Histograms {
			d.add(org, name, point{h.At, "histogram"})
		}
	}
	for _, m := range about {
		d.metadata[m.Name] = m
	}
	return nil
}

func (d *tsdb) add(org tenant.OrgID, name string, p point) {
	s := d.series[org][name]
	// Nothing that the gateway writes may be older than what it wrote, else the older value would come back.
	if n := len(s); n > 0 && s[n-1].at >= p.at {
		d.t.Errorf("%s: %v is written after %v", name, p, s[n-1])
	}
	d.series[org][name] = append(s, p)
}

func nameOf(l []series.Label) string {
	var name string
	var rest []string
	for _, l := range l {
		if l.Name == "__name__" {
			name = l.Value
		} else {
			rest = append(rest, fmt.Sprintf("%s=%q", l.Name, l.Value))
		}
	}
	return name + "{" + strings.Join(rest, ",") + "}"
}

// at is what an instant query finds: the last sample of each series within five minutes that is no staleness marker.
func (d *tsdb) at(org tenant.OrgID, now time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for name, points := range d.series[org] {
		var last *point
		for i := range points {
			if points[i].at <= now.UnixMilli() && points[i].at > now.Add(-5*time.Minute).UnixMilli() {
				last = &points[i]
			}
		}
		if last != nil && last.value != "stale" && !strings.HasPrefix(name, "push_") {
			lines = append(lines, name+" "+last.value)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// harness is a gateway over a real store, with a clock that is set.
type harness struct {
	t       testing.TB
	now     time.Time
	db      *tsdb
	store   *store.Store
	pool    *pgxpool.Pool
	gateway *Gateway
	beat    *beat
	handler http.Handler
}

func newHarness(t testing.TB, change func(*Options)) *harness {
	t.Helper()
	pool := pgtest.New(t)
	h := &harness{t: t, now: time.Date(2026, 11, 22, 20, 51, 0, 0, time.UTC), pool: pool, store: store.New(pool)}
	h.db = &tsdb{t: t, series: map[tenant.OrgID]map[string][]point{}, metadata: map[string]series.Metadata{}}
	for n := byte(1); n <= 2; n++ {
		if _, err := pool.Exec(t.Context(), `insert into organisations (id, name) values ($1, $2)`, orgOf(n), fmt.Sprint("org", n)); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{
		Appender: h.db, Groups: h.store, Standing: h.store, Keys: fakeKeys{}, Clock: func() time.Time { return h.now },
		Metrics: prometheus.NewPedanticRegistry(),
	}
	if change != nil {
		change(&o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.gateway, h.beat = g, &beat{g: g}
	r := chi.NewRouter()
	g.Routes(r)
	h.handler = r
	return h
}

// do sends a request of organisation 1, unless the headers say otherwise, and wants that status.
func (h *harness) do(status int, method, path, body string, headers ...string) string {
	h.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer k1")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != status {
		h.t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	return w.Body.String()
}

// pass lets time go by as Run would see it, looking every five seconds.
func (h *harness) pass(d time.Duration) {
	h.t.Helper()
	for end := h.now.Add(d); h.now.Before(end); {
		h.now = h.now.Add(min(lookEvery, end.Sub(h.now)))
		if _, err := h.beat.look(h.t.Context()); err != nil {
			h.t.Error(err)
		}
	}
}

// want says what an instant query finds of organisation 1 now.
func (h *harness) want(lines ...string) {
	h.t.Helper()
	slices.Sort(lines)
	if got, want := h.db.at(orgOf(1), h.now), strings.Join(lines, "\n"); got != want {
		h.t.Errorf("at %s there is\n%s\nwant\n%s", h.now.Format(time.TimeOnly), got, want)
	}
}

// points are the samples of a series of organisation 1.
func (h *harness) points(name string) []point {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	return slices.Clone(h.db.series[orgOf(1)][name])
}
