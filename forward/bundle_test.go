package forward_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"
	"go.uber.org/goleak"

	core "github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/forward"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
)

// step is the interval of the tests' forwards.
const step = core.Grid

// bundle is a database with two organisations, their series, and forwarders as the test starts them.
type bundle struct {
	t       *testing.T
	ctx     context.Context
	pool    *pgxpool.Pool
	store   *store.Store
	box     *seal.Box
	source  *source
	begin   time.Time    // of every forward: an instant of the grid
	horizon atomic.Int64 // milliseconds
	log     *lockedBuffer
	reg     *prometheus.Registry
	a, b    tenant.OrgID
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	s := &bundle{t: t, ctx: ctx, pool: pgtest.New(t), log: &lockedBuffer{}, reg: prometheus.NewRegistry()}
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, leaks)
		if t.Failed() {
			t.Logf("logged:\n%s", s.log.String())
		}
	})
	s.store = store.New(s.pool)
	s.begin = time.Now().UTC().Add(-10 * time.Minute).Truncate(step)
	s.horizon.Store(s.begin.UnixMilli())
	var err error
	if s.box, err = seal.New(bytes.Repeat([]byte{7}, seal.KeySize)); err != nil {
		t.Fatal(err)
	}
	s.a, s.b = s.organisation("one"), s.organisation("two")
	s.source = &source{series: map[tenant.OrgID]int{s.a: 50, s.b: 30}}
	return s
}

func (s *bundle) organisation(name string) tenant.OrgID {
	org := tenant.OrgID{UUID: uuid.New()}
	s.exec(`insert into organisations (id, name) values ($1, $2)`, org, name)
	return org
}

func (s *bundle) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// put makes or changes a forward; a new one begins at begin.
func (s *bundle) put(org tenant.OrgID, name string, c core.Config, secret core.Secret) {
	s.t.Helper()
	if c.Interval == 0 {
		c.Interval = step
	}
	plain, err := json.Marshal(secret)
	if err != nil {
		s.t.Fatal(err)
	}
	sealed, err := s.box.Seal(plain, core.About(org, name))
	if err != nil {
		s.t.Fatal(err)
	}
	created, err := s.store.PutForward(s.ctx, org, core.Forward{Name: name, Config: c, Hints: secret.Hints(), Sealed: sealed})
	if err != nil {
		s.t.Fatal(err)
	}
	if created {
		s.exec(`update forwards set position = $3 where org_id = $1 and name = $2`, org, name, s.begin)
	}
}

// advance moves the horizon by n steps, and returns it.
func (s *bundle) advance(n int) time.Time {
	return time.UnixMilli(s.horizon.Add(int64(n) * step.Milliseconds())).UTC()
}

func (s *bundle) status(org tenant.OrgID, name string) core.Status {
	s.t.Helper()
	f, err := s.store.Forward(s.ctx, org, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return f.Status
}

// awaitStatus waits until the forward's status is as it should be.
func (s *bundle) awaitStatus(org tenant.OrgID, name, what string, ok func(core.Status) bool) core.Status {
	s.t.Helper()
	var st core.Status
	eventually(s.t, func() string { return fmt.Sprintf("%s; it is %+v", what, st) }, func() bool {
		st = s.status(org, name)
		return ok(st)
	})
	return st
}

func (s *bundle) awaitPosition(org tenant.OrgID, name string, at time.Time) core.Status {
	s.t.Helper()
	return s.awaitStatus(org, name, "position "+at.String(), func(st core.Status) bool { return st.Position.Equal(at) })
}

// start runs a forwarder; what it returns stops it in order.
func (s *bundle) start(change ...func(*forward.Options)) (stop func()) {
	s.t.Helper()
	client := safehttp.New(safehttp.Options{AllowPrivate: true})
	o := forward.Options{
		Store: s.store, Source: s.source, Secrets: s.box, Client: client,
		Horizon: func(context.Context) (time.Time, error) { return time.UnixMilli(s.horizon.Load()), nil },
		Logger:  slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Poll:    10 * time.Millisecond, Lease: 2 * time.Second, Patience: 40 * time.Millisecond, Pause: time.Millisecond, Timeout: 5 * time.Second,
		Version: "test",
	}
	for _, c := range change {
		c(&o)
	}
	f, err := forward.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx) // it is ctx's end that ends it
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		client.CloseIdleConnections()
	})
	s.t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what())
		}
	}
}

// source is series of which every value is known: of each organisation so many counters.
type source struct {
	series map[tenant.OrgID]int
	fail   atomic.Bool
}

func (s *source) Samples(_ context.Context, org tenant.OrgID, from, to time.Time, step time.Duration, f func([]series.Series) error) error {
	if s.fail.Load() {
		return fmt.Errorf("reading failed with the password hunter2-database")
	}
	var piece []series.Series
	for i := range s.series[org] {
		one := series.Series{Labels: []series.Label{
			{Name: "__name__", Value: "tokiflow_monitor_runs_total"}, {Name: "id", Value: fmt.Sprint(org, "/", i)}, {Name: "outcome", Value: "success"},
		}}
		for at := from.Add(step); !at.After(to); at = at.Add(step) {
			one.Floats = append(one.Floats, series.Float{At: at.UnixMilli(), Value: worth(i, at.UnixMilli())})
		}
		if piece = append(piece, one); len(piece) == 7 {
			if err := f(piece); err != nil {
				return fmt.Errorf("reading: %w", err)
			}
			clear(piece) // what f gets is valid until f returns
			piece = piece[:0]
		}
	}
	return f(piece)
}

func worth(i int, at int64) float64 { return float64(at/1000) + float64(i)/1000 }

// receiver takes remote write and remembers every sample and how often it came.
type receiver struct {
	*httptest.Server
	t *testing.T
	// answer says what to answer to a request, before (taken false) or after its samples are kept; 0: 204.
	mu       sync.Mutex
	answer   func(n int) (status int, taken bool)
	requests int
	came     map[string]map[int64]int // times by series and instant
	headers  []http.Header
	most     int // samples in one request
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, came: map[string]map[int64]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

func (r *receiver) answers(f func(n int) (status int, taken bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // it was killed while sending
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.headers = append(r.headers, req.Header.Clone())
	status, taken := http.StatusNoContent, true
	if r.answer != nil {
		if status, taken = r.answer(r.requests); status == 0 {
			status = http.StatusNoContent
		}
	}
	if taken {
		r.keep(body)
	}
	if status >= 400 {
		w.Header().Set("Retry-After", "0")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "said "+req.Header.Get("Authorization"))
}

func (r *receiver) keep(body []byte) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		r.t.Errorf("not snappy: %v", err)
		return
	}
	var m prompb.WriteRequest
	if err := m.Unmarshal(plain); err != nil {
		r.t.Errorf("no write request: %v", err)
		return
	}
	n := 0
	for _, ts := range m.Timeseries {
		if !slices.IsSortedFunc(ts.Labels, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) }) {
			r.t.Errorf("labels are not sorted: %v", ts.Labels)
		}
		id := ""
		for _, l := range ts.Labels {
			if l.Name == "id" {
				id = l.Value
			}
		}
		if r.came[id] == nil {
			r.came[id] = map[int64]int{}
		}
		var i int
		_, number, _ := strings.Cut(id, "/")
		_, _ = fmt.Sscan(number, &i)
		for _, s := range ts.Samples {
			n++
			r.came[id][s.Timestamp]++
			if math.Float64bits(s.Value) != math.Float64bits(worth(i, s.Timestamp)) {
				r.t.Errorf("%s at %d is %v", id, s.Timestamp, s.Value)
			}
		}
	}
	r.most = max(r.most, n)
}

// check fails the test unless each of the organisation's series came at every instant after from up to to, and nothing else did.
// It returns the instants that came more than once.
func (r *receiver) check(org tenant.OrgID, count int, from, to time.Time) (again []int64) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.came) != count {
		r.t.Errorf("%d series came, want %d", len(r.came), count)
	}
	twice := map[int64]bool{}
	for i := range count {
		came := r.came[fmt.Sprint(org, "/", i)]
		for at := from.Add(step); !at.After(to); at = at.Add(step) {
			switch n := came[at.UnixMilli()]; {
			case n == 0:
				r.t.Errorf("series %d has a gap at %v", i, at)
			case n > 1:
				twice[at.UnixMilli()] = true
			}
		}
		if want := int(to.Sub(from) / step); len(came) != want {
			r.t.Errorf("series %d came at %d instants, want %d", i, len(came), want)
		}
	}
	return slices.Sorted(maps.Keys(twice))
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type tenantID = tenant.OrgID

// newReceiverAt listens where another did.
func newReceiverAt(t *testing.T, addr string) *receiver {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, came: map[string]map[int64]int{}}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	_ = r.Listener.Close()
	r.Listener = l
	r.Start()
	t.Cleanup(r.Close)
	return r
}

// gauge is the sum of a gauge's series.
func (s *bundle) gauge(name string) float64 {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
