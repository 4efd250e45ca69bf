package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/tsdb"
)

// baseURL is where the served API says that it is.
const baseURL = "https://toki.example"

// bundle is the API over a fresh database with two organisations.
type bundle struct {
	t       *testing.T
	ctx     context.Context
	pool    *pgxpool.Pool
	store   *store.Store
	history *memory
	log     *evaluatorLog
	server  *httptest.Server
	out     *bytes.Buffer // what was logged
	a, b    owner
}

// owner is an organisation, its project and its keys.
type owner struct {
	org              tenant.OrgID
	project          tenant.ProjectID
	all, read, write string // API keys
}

func newBundle(t *testing.T, change ...func(*api.Options)) *bundle {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &bundle{t: t, ctx: ctx, pool: pgtest.New(t), history: newMemory(), out: &bytes.Buffer{}}
	s.store = store.New(s.pool)
	s.log = &evaluatorLog{store: s.store}
	s.a, s.b = s.organisation("one"), s.organisation("two")

	o := api.Options{
		Store: s.store, History: s.history, Publisher: s.log, Rules: rules.NewFormat(false), BaseURL: baseURL + "/", Version: "test",
		Logger:      slog.New(slog.NewTextHandler(&lockedWriter{w: s.out}, nil)),
		ResolveWait: 20 * time.Second,
	}
	for _, c := range change {
		c(&o)
	}
	if o.History == nil {
		o.History = tsdb.NewReader(s.pool)
	}
	r := chi.NewRouter()
	api.New(o).Routes(r)
	s.server = httptest.NewServer(r)
	t.Cleanup(s.server.Close)
	return s
}

func (s *bundle) organisation(name string) owner {
	s.t.Helper()
	o := owner{org: tenant.OrgID{UUID: uuid.New()}, project: tenant.ProjectID{UUID: uuid.New()}}
	s.exec(`insert into organisations (id, name) values ($1, $2)`, o.org, name)
	s.exec(`insert into projects (id, org_id, name, slug, ping_key) values ($1, $2, $3, $3, $4)`, o.project, o.org, name, "key-of-"+name)
	key := func(scopes ...string) string {
		k := "tkf_" + uuid.NewString()
		h := sha256.Sum256([]byte(k))
		s.exec(`insert into api_keys (id, org_id, name, hash, prefix, scopes) values ($1, $2, 'test', $3, 'tkf_', $4)`, uuid.New(), o.org, h[:], scopes)
		return k
	}
	o.all, o.read, o.write = key("read", "write", "ping", "metrics", "samples"), key("read"), key("write")
	return o
}

func (s *bundle) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func (s *bundle) count(sql string, args ...any) int {
	s.t.Helper()
	var n int
	if err := s.pool.QueryRow(s.ctx, sql, args...).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// answer is a response with its body read.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// do sends a request with a key; body may be nil, a string of JSON, or something to be made JSON of.
func (s *bundle) do(key, method, path string, body any) *answer {
	s.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(s.ctx, method, s.server.URL+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return s.send(req)
}

func (s *bundle) send(req *http.Request) *answer {
	s.t.Helper()
	resp, err := s.server.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	out := &answer{t: s.t, what: req.Method + " " + req.URL.RequestURI(), status: resp.StatusCode, header: resp.Header}
	if out.raw, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	_ = json.Unmarshal(out.raw, &out.body) // not every answer is an object
	return out
}

// want fails the test at another status.
func (r *answer) want(status int) *answer {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %.500s", r.what, r.status, status, r.raw)
	}
	if status >= 400 {
		if ct := r.header.Get("Content-Type"); ct != "application/problem+json" {
			r.t.Errorf("%s: content type %q of a problem", r.what, ct)
		}
		if r.body["status"] != float64(status) || r.body["title"] == "" || r.body["detail"] == "" {
			r.t.Errorf("%s: incomplete problem %s", r.what, r.raw)
		}
	}
	return r
}

// problem fails the test unless the answer is a 422 that names the place and says the words.
func (r *answer) problem(location string, words ...string) {
	r.t.Helper()
	r.want(http.StatusUnprocessableEntity)
	list, _ := r.body["errors"].([]any)
	for _, e := range list {
		d := e.(map[string]any)
		if d["location"] != location {
			continue
		}
		for _, w := range words {
			if !strings.Contains(fmt.Sprint(d["message"]), w) {
				r.t.Errorf("%s: message %q at %s does not say %q", r.what, d["message"], location, w)
			}
		}
		return
	}
	r.t.Errorf("%s: no error at %s: %.500s", r.what, location, r.raw)
}

func (r *answer) text(name string) string {
	r.t.Helper()
	v, ok := r.body[name].(string)
	if !ok {
		r.t.Fatalf("%s: %s is %v: %s", r.what, name, r.body[name], r.raw)
	}
	return v
}

func (r *answer) items() []map[string]any {
	r.t.Helper()
	list, ok := r.body["items"].([]any)
	if !ok {
		r.t.Fatalf("%s: no items: %s", r.what, r.raw)
	}
	out := make([]map[string]any, len(list))
	for i, v := range list {
		out[i] = v.(map[string]any)
	}
	return out
}

// create makes a monitor and returns its answer.
func (s *bundle) create(o owner, body string) *answer {
	s.t.Helper()
	return s.do(o.all, http.MethodPost, "/api/v1/monitors", body).want(http.StatusCreated)
}

func (s *bundle) hourly(o owner, name string) string {
	s.t.Helper()
	return s.create(o, `{"name":"`+name+`","schedule":{"interval":"1h"}}`).text("id")
}

// open inserts an open incident as the evaluator would.
func (s *bundle) open(o owner, monitorID string, k incident.Kind, at time.Time) string {
	s.t.Helper()
	id := incident.ID(uuid.MustParse(monitorID), k, at, 1)
	s.exec(`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, evidence)
		values ($1, $2, $3, 'backup', $4, $5, $6, '{"exit_code": 3, "output": "no space left"}')`, id, o.org, monitorID, string(k), string(k.Severity()), at)
	return id.String()
}

// evaluatorLog takes changes as the log and an evaluator that follows at once would.
type evaluatorLog struct {
	store *store.Store
	mu    sync.Mutex
	seen  []record.Control
	down  error
	apply func(record.Control) error
}

var errDown = errors.New("the log is down")

// Publish drains the monitor's changes.
func (l *evaluatorLog) Publish(ctx context.Context, monitor uuid.UUID) error {
	_, err := l.store.DrainControls(ctx, &monitor, func(_ context.Context, c record.Control) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.down != nil {
			return l.down
		}
		l.seen = append(l.seen, c)
		if l.apply != nil {
			return l.apply(c)
		}
		return nil
	})
	return err
}

func (l *evaluatorLog) actions(monitor string) []record.Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []record.Action
	for _, c := range l.seen {
		if c.Monitor.String() == monitor {
			out = append(out, c.Action)
		}
	}
	return out
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
