package ingest

import (
	"context"
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
