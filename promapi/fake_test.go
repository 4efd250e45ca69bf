package promapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// now is the instant of every test: 2026-11-23 12:00:00 UTC, a multiple of 15 s since 1970.
func now() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// ago is a time before now, given as Go writes durations.
func ago(s string) time.Time {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return now().Add(-d)
}

func org(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{0: n, 15: n}} }

// history is a fake of the timelines of some organisations. It holds to the contract to the letter: what f gets is spoilt
// as soon as f returns.
type history struct {
	of   map[tenant.OrgID][]timeline.Timeline
	fail error

	mu    sync.Mutex
	asked []timeline.Query
}

func (h *history) Timelines(ctx context.Context, org tenant.OrgID, q timeline.Query, f func(*timeline.Timeline) error) error {
	h.mu.Lock()
	h.asked = append(h.asked, q)
	h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	for _, t := range h.of[org] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if q.IDs != nil && !slices.Contains(q.IDs, t.ID) || !t.End.IsZero() && t.End.Before(q.From) {
			continue
		}
		c := clipped(t, q)
		if len(c.Points) == 0 && len(c.Labels) == 0 {
			continue
		}
		err := f(&c)
		for i := range c.Points {
			c.Points[i] = metric.Point{}
		}
		for i := range c.Labels {
			c.Labels[i] = timeline.Span{}
		}
		c.ID = uuid.Nil
		if err != nil {
			return errors.Join(err, context.Canceled) // as who ends a transaction may say
		}
	}
	return nil
}

func (h *history) queries() []timeline.Query {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

// clipped is what the query shows of a timeline.
func clipped(t timeline.Timeline, q timeline.Query) timeline.Timeline {
	c := timeline.Timeline{ID: t.ID, End: t.End}
	if t.End.After(q.To) {
		c.End = time.Time{}
	}
	for i, p := range t.Points {
		if p.At.After(q.To) || i+1 < len(t.Points) && !t.Points[i+1].At.After(q.From) {
			continue
		}
		c.Points = append(c.Points, p)
	}
	for i, s := range t.Labels {
		if s.From.After(q.To) || i+1 < len(t.Labels) && !t.Labels[i+1].From.After(q.From) {
			continue
		}
		c.Labels = append(c.Labels, s)
	}
	return c
}

// life makes a timeline step by step.
type life struct {
	timeline.Timeline
	name   string
	status monitor.Status
	since  time.Time
	totals monitor.Totals
	last   metric.Point
}

// born is a monitor that is up from an instant on.
func born(n byte, name string, at time.Time) *life {
	return bornAs(uuid.UUID{0: 0xaa, 15: n}, name, at)
}

func bornAs(id uuid.UUID, name string, at time.Time) *life {
	l := &life{name: name, status: monitor.Up, since: at, Timeline: timeline.Timeline{ID: id}}
	l.named(at, name)
	l.point(at)
	return l
}

func (l *life) id() string { return l.ID.String() }

// named gives the monitor a name.
func (l *life) named(at time.Time, name string) *life {
	l.Labels = append(l.Labels, timeline.Span{From: at, Labels: metric.Labels(l.ID, "main", &monitor.Config{
		Name: name, Tags: []string{"a", "b"}, Labels: map[string]string{"team": "ops"},
	})})
	return l
}

func (l *life) point(at time.Time) *life {
	p := metric.Point{At: at, Status: l.status, Since: l.since, LastPing: l.last.LastPing, LastSuccess: l.last.LastSuccess, Due: l.last.Due}
	if !l.totals.Durations.IsZero() || l.totals.Succeeded+l.totals.Failed > 0 || l.totals.Outages > 0 {
		p.Totals = l.totals.Clone()
		p.LastDuration = l.totals.LastDuration
	}
	p.Open = map[incident.Kind]bool{incident.Fail: l.status == monitor.Down}
	l.last = p
	l.Points = append(l.Points, p)
	return l
}

// run counts a run; took < 0 is no duration.
func (l *life) run(at time.Time, o monitor.Outcome, took time.Duration) *life {
	l.totals.AddRun(&monitor.Run{Outcome: o, Duration: took}, 1)
	l.last.LastPing = at
	if o == monitor.Succeeded {
		l.last.LastSuccess = at
	}
	return l.point(at)
}

// turns changes the status.
func (l *life) turns(at time.Time, s monitor.Status) *life {
	l.totals.AddTransition(&monitor.Transition{At: at, From: l.status, To: s, SecondsInPrevious: at.Sub(l.since).Seconds()}, 1)
	l.status, l.since = s, at
	return l.point(at)
}

func (l *life) deleted(at time.Time) *life {
	l.End = at
	return l
}

func lives(list ...*life) []timeline.Timeline {
	out := make([]timeline.Timeline, len(list))
	for i, l := range list {
		out[i] = l.Timeline
	}
	slices.SortFunc(out, func(a, b timeline.Timeline) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return out
}

// keys says that "key-1" is of organisation 1 and so on, and that "write-1" lacks the scope.
type keys struct{ fail error }

func (k keys) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	if k.fail != nil {
		return tenant.Identity{}, k.fail
	}
	kind, n, _ := strings.Cut(key, "-")
	if len(n) != 1 || kind != "key" && kind != "write" {
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "there is no such API key")
	}
	who := tenant.Identity{Org: org(n[0] - '0'), Scopes: []tenant.Scope{tenant.ScopeMetrics}}
	if kind == "write" {
		who.Scopes = []tenant.Scope{tenant.ScopeWrite}
	}
	return who, nil
}

// bench is an API with its fakes, served over HTTP.
type bench struct {
	t       testing.TB
	api     *promapi.API
	history *history
	server  *httptest.Server
}

func newBench(t testing.TB, list []timeline.Timeline, change func(*promapi.Options)) *bench {
	t.Helper()
	h := &history{of: map[tenant.OrgID][]timeline.Timeline{org(1): list}}
	o := promapi.Options{Timelines: h, Keys: auth.NewKeys(keys{}, now), Clock: now, Version: "test"}
	if change != nil {
		change(&o)
	}
	a, err := promapi.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	a.Routes(r)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return &bench{t: t, api: a, history: h, server: s}
}

// get asks with a key, and gives status and body.
func (b *bench) get(key, path string, form url.Values) (int, string) {
	b.t.Helper()
	return b.send(http.MethodGet, key, path, form)
}

func (b *bench) send(method, key, path string, form url.Values) (int, string) {
	b.t.Helper()
	u := b.server.URL + "/prometheus/api/v1" + path
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else if len(form) > 0 {
		u += "?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, u, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := b.server.Client().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// vector evaluates for organisation 1, and gives one line a sample: labels and value, in order.
func (b *bench) vector(expr string) string {
	b.t.Helper()
	v, err := b.api.Query(b.t.Context(), org(1), expr, now())
	if err != nil {
		return "error: " + err.Error()
	}
	lines := make([]string, len(v))
	for i, s := range v {
		if s.H != nil {
			lines[i] = fmt.Sprintf("%s %s", s.Metric, s.H)
		} else {
			lines[i] = fmt.Sprintf("%s %v", s.Metric, s.F)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// metadata is a fake.
type metadata map[tenant.OrgID]map[string][]series.Metadata

func (m metadata) Metadata(_ context.Context, org tenant.OrgID, name string, _ int) (map[string][]series.Metadata, error) {
	if m == nil {
		return nil, errors.New("no connection to 10.1.2.3")
	}
	if name == "" {
		return m[org], nil
	}
	if list, ok := m[org][name]; ok {
		return map[string][]series.Metadata{name: list}, nil
	}
	return nil, nil
}
