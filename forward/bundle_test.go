package forward_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
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
