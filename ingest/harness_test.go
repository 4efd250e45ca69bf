package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The world of these tests: two organisations, of which the first has two projects.
const (
	mainKey   = "11111111-aaaa-4bbb-8ccc-dddddddddddd" // ping key of main-job
	otherKey  = "22222222-aaaa-4bbb-8ccc-dddddddddddd" // of a monitor of the other organisation
	noKey     = "99999999-aaaa-4bbb-8ccc-dddddddddddd" // nobody's
	projKey   = "prj1_abcdefghijklmn"
	sideKey   = "prj2_abcdefghijklmn"
	apiKeyAll = "tkf_all"
	runID     = "123e4567-e89b-12d3-a456-426614174000"
)

func orgA() tenant.OrgID {
	return tenant.OrgID{UUID: uuid.MustParse("0a000000-0000-4000-8000-000000000001")}
}
func orgB() tenant.OrgID {
	return tenant.OrgID{UUID: uuid.MustParse("0b000000-0000-4000-8000-000000000002")}
}
func projA() tenant.ProjectID {
	return tenant.ProjectID{UUID: uuid.MustParse("0c000000-0000-4000-8000-000000000003")}
}
func sideA() tenant.ProjectID {
	return tenant.ProjectID{UUID: uuid.MustParse("0d000000-0000-4000-8000-000000000004")}
}

func targetOf(org tenant.OrgID, project tenant.ProjectID, key, slug string) tenant.PingTarget {
	k := uuid.MustParse(key)
	return tenant.PingTarget{Org: org, Project: project, Monitor: uuid.NewSHA1(k, []byte("monitor")), Key: k, Slug: slug}
}

func mainTarget() tenant.PingTarget { return targetOf(orgA(), projA(), mainKey, "main-job") }

// appender keeps what is appended, in memory.
type appender struct {
	mu    sync.Mutex
	pings []record.Ping
	fail  error
	block chan struct{} // appends wait for its closing
	calls int           // of AppendAll
}

func (a *appender) Append(ctx context.Context, partition int, rec []byte) (time.Time, error) {
	return a.AppendAll(ctx, partition, [][]byte{rec})
}

func (a *appender) AppendAll(_ context.Context, partition int, recs [][]byte) (time.Time, error) {
	a.mu.Lock()
	block := a.block
	a.mu.Unlock()
	if block != nil {
		<-block
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.fail != nil {
		return time.Time{}, a.fail
	}
	at := time.Date(2026, 11, 22, 20, 51, 0, 0, time.UTC)
	for _, rec := range recs {
		record.Stamp(rec, 1, uint64(len(a.pings)+1), at)
		p, err := record.ParsePing(append([]byte(nil), rec...)) // what is handed over is used again
		if err != nil {
			return time.Time{}, err
		}
		if want := record.Partition(p.Monitor, 4); want != partition {
			return time.Time{}, errors.New("wrong partition")
		}
		a.pings = append(a.pings, p)
	}
	return at, nil
}

func (a *appender) setFail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = err
}

func (a *appender) all() []record.Ping {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]record.Ping(nil), a.pings...)
}

// last is the ping stored last; there must be n.
func (a *appender) last(t *testing.T, n int) record.Ping {
	t.Helper()
	pings := a.all()
	if len(pings) != n {
		t.Fatalf("%d pings are stored, want %d", len(pings), n)
	}
	return pings[n-1]
}

// source is a Targets whose connection the test holds.
type source struct {
	mu       sync.Mutex
	projects []tenant.ProjectKey
	targets  map[uuid.UUID]tenant.PingTarget
	down     error
	apply    func(tenant.PingTargets)
	lost     chan error
	watches  int
}

func newSource() *source {
	s := &source{targets: map[uuid.UUID]tenant.PingTarget{}}
	s.projects = []tenant.ProjectKey{
		{Org: orgA(), Project: projA(), Key: projKey}, {Org: orgA(), Project: sideA(), Key: sideKey},
	}
	s.set(mainTarget())
	s.set(targetOf(orgB(), tenant.ProjectID{UUID: uuid.NewSHA1(orgB().UUID, nil)}, otherKey, "other-job"))
	for i, slug := range []string{"twin", "twin"} {
		s.set(targetOf(orgA(), projA(), "3333333"+string(rune('0'+i))+"-aaaa-4bbb-8ccc-dddddddddddd", slug))
	}
	// The same slug in two projects: fine in URLs, ambiguous in a batch.
	s.set(targetOf(orgA(), projA(), "44444440-aaaa-4bbb-8ccc-dddddddddddd", "shared"))
	s.set(targetOf(orgA(), sideA(), "44444441-aaaa-4bbb-8ccc-dddddddddddd", "shared"))
	return s
}

func (s *source) WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error {
	s.mu.Lock()
	s.watches++
	if s.down != nil {
		defer s.mu.Unlock()
		return s.down
	}
	full := tenant.PingTargets{Full: true, Projects: s.projects}
	for _, t := range s.targets {
		full.Targets = append(full.Targets, t)
	}
	apply(full)
	lost := make(chan error, 1)
	s.apply, s.lost = apply, lost
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return err
	}
}

func (s *source) set(t tenant.PingTarget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets[t.Monitor] = t
	if s.apply != nil {
		s.apply(tenant.PingTargets{Monitor: t.Monitor, Targets: []tenant.PingTarget{t}})
	}
}

func (s *source) remove(monitor uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.targets, monitor)
	if s.apply != nil {
		s.apply(tenant.PingTargets{Monitor: monitor})
	}
}

// lose cuts the connection; it stays cut until err is nil.
func (s *source) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.apply = err, nil
	if s.lost != nil && err != nil {
		s.lost <- err
		s.lost = nil
	}
}

func (s *source) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down != nil && s.watches > 0
}

// creator makes monitors, after the gate (if any) opens.
type creator struct {
	src   *source
	gate  chan struct{}
	mu    sync.Mutex
	err   error
	made  int
	calls int
	quiet bool // the source does not hear of them
}

func (c *creator) Create(_ context.Context, p tenant.ProjectKey, slug string) (tenant.PingTarget, bool, error) {
	c.mu.Lock()
	c.calls++
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return tenant.PingTarget{}, false, c.err
	}
	c.src.mu.Lock()
	for _, t := range c.src.targets {
		if t.Project == p.Project && t.Slug == slug {
			c.src.mu.Unlock()
			return t, false, nil
		}
	}
	c.src.mu.Unlock()
	c.made++
	t := targetOf(p.Org, p.Project, uuid.NewString(), slug)
	if !c.quiet {
		c.src.set(t)
	}
	return t, true, nil
}

// authority knows one key with every scope, one that may only read, and one of the other organisation.
type authority struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (a *authority) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.err != nil {
		return tenant.Identity{}, a.err
	}
	who := tenant.Identity{Org: orgA(), Key: uuid.NewSHA1(uuid.NameSpaceOID, []byte(key)), Scopes: []tenant.Scope{tenant.ScopePing}}
	switch key {
	case apiKeyAll, "tkf_second":
	case "tkf_read":
		who.Scopes = []tenant.Scope{tenant.ScopeRead, tenant.ScopeWrite}
	case "tkf_b":
		who.Org = orgB()
	default:
		return tenant.Identity{}, fault.New(fault.Unauthenticated, "unknown key")
	}
	return who, nil
}

func (a *authority) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// clock is a clock that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bundle is an Ingest behind a real HTTP server, with all of its surroundings.
type bundle struct {
	t       *testing.T
	ingest  *Ingest
	log     *appender
	src     *source
	creator *creator
	auth    *authority
	clock   *clock
	url     string
	client  *http.Client
}

// start runs an Ingest until the test ends. change may alter its options.
func start(t *testing.T, change func(*Options)) *bundle {
	t.Helper()
	b := &bundle{t: t, log: new(appender), src: newSource(), auth: new(authority)}
	b.creator = &creator{src: b.src}
	b.clock = &clock{t: time.Date(2026, 11, 22, 20, 51, 0, 0, time.UTC)}
	o := Options{
		Appender: b.log, Partitions: 4, Targets: b.src, Creator: b.creator, Authenticator: b.auth,
		BodyLimit: DefaultBodyLimit, Clock: b.clock.now,
	}
	if change != nil {
		change(&o)
	}
	if given, ok := o.Targets.(*source); ok {
		b.src, b.creator.src = given, given
	}
	var err error
	if b.ingest, err = New(o); err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	b.ingest.Routes(r)
	server := httptest.NewServer(r)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- b.ingest.Run(ctx) }()
	b.url = server.URL
	b.client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		b.client.CloseIdleConnections()
		server.Close()
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	b.until("the monitors are loaded", func() bool { return b.ingest.Ready() == nil || b.src.isDown() })
	return b
}

// until waits for what another goroutine is about to do.
func (b *bundle) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// reply is an answer, read to its end.
type reply struct {
	status int
	body   string
	header http.Header
}

func (b *bundle) do(method, path string, body io.Reader, header ...string) reply {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{res.StatusCode, string(text), res.Header}
}

func (b *bundle) get(path string) reply { b.t.Helper(); return b.do(http.MethodGet, path, nil) }

func (b *bundle) post(path, body string) reply {
	b.t.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(body))
}

// want checks status and body.
func (r reply) want(t *testing.T, status int, body string) {
	t.Helper()
	if r.status != status || r.body != body {
		t.Errorf("answered %d %q, want %d %q", r.status, r.body, status, body)
	}
}
