package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	alertconfig "github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
)

// everything is one monitor with an incident and a ping with output.
func (s *bundle) everything(o owner) (monitor, incidentID, ping string) {
	s.t.Helper()
	monitor = s.hourly(o, "m")
	incidentID = s.open(o, monitor, incident.Missed, at(0))
	p := history.Ping{ID: uuid.New(), ReceivedAt: at(0), Kind: 1, HasOutput: true, Key: history.Key{At: at(0), Tie: "0"}}
	s.history.pings[place{o.org, uuid.MustParse(monitor)}] = []history.Ping{p}
	s.history.outputs[p.ID] = []byte("secret of the tenant")
	return monitor, incidentID, p.ID.String()
}

func TestEveryOperationNeedsAKeyWithItsScope(t *testing.T) {
	s := newBundle(t)
	monitor, inc, ping := s.everything(s.a)
	for _, c := range calls(t) {
		path, body := c.at(monitor, inc, ping)
		for _, key := range []string{"", "tkf_unknown", s.a.org.String()} {
			r := s.do(key, c.method, path, body).want(http.StatusUnauthorized)
			if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: WWW-Authenticate %q", c.id, r.header.Get("WWW-Authenticate"))
			}
		}
		poor := s.a.read
		if c.scope == "read" {
			poor = s.a.write
		}
		r := s.do(poor, c.method, path, body).want(http.StatusForbidden)
		if !strings.Contains(r.text("detail"), `"`+c.scope+`"`) {
			t.Errorf("%s: %q does not name the scope %s", c.id, r.text("detail"), c.scope)
		}
	}
	if n := s.count(`select count(*) from monitors where version = 1 and not paused`); n != 1 {
		t.Error("a request without the right changed something")
	}
	if strings.Contains(s.out.String(), "tkf_") {
		t.Errorf("a key in the log: %s", s.out)
	}
}

// noSlack is a server with a Slack app that no organisation has connected.
type noSlack struct{}

func (noSlack) InstallLink(context.Context, tenant.OrgID) (string, time.Time, error) {
	return "", time.Time{}, fault.New(fault.NotFound, "none")
}

func (noSlack) Workspace(context.Context, tenant.OrgID) (alert.Workspace, error) {
	return alert.Workspace{}, fault.New(fault.NotFound, "none")
}

func (noSlack) RemoveWorkspace(context.Context, tenant.OrgID) error {
	return fault.New(fault.NotFound, "none")
}

// withAlerting is all that an API of a server that routes alerts has besides its store.
func withAlerting(o *api.Options) {
	box, err := seal.New(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	o.Alerting = alertconfig.NewStore(o.Store.(*store.Store), box, alertconfig.Options{})
	o.Receivers, o.Slack = &triedReceivers{}, noSlack{}
}

func TestEveryOperationStaysInItsOrganisation(t *testing.T) {
	s := newBundle(t, withAlerting)
	monitor, inc, ping := s.everything(s.a)
	before := s.snapshot()
	theirs, _, theirPing := s.everything(s.b)
	for _, c := range calls(t) {
		if c.id == "put-rule-group" || c.id == "put-forward" || c.id == "put-recipient" {
			continue // makes one's own of that name: TestRulesStayInTheirOrganisation, TestForwardsBelongToTheirOrganisation, TestRecipientsAreMadeAndRead
		}
		path, body := c.at(monitor, inc, ping)
		if strings.Contains(c.path, "{") {
			r := s.do(s.b.all, c.method, path, body).want(http.StatusNotFound)
			if strings.Contains(string(r.raw), "secret") || strings.Contains(string(r.raw), monitor) {
				t.Errorf("%s: %s", c.id, r.raw)
			}
			// An id that nobody has looks the same.
			nobody, body := c.at(uuid.NewString(), uuid.NewString(), uuid.NewString())
			if d := cmp.Diff(s.do(s.b.all, c.method, nobody, body).want(http.StatusNotFound).body, r.body); d != "" {
				t.Errorf("%s tells another's id from nobody's: %s", c.id, d)
			}
			continue
		}
		if c.method == http.MethodGet && c.id != "get-slack" { // which is not there for either
			r := s.do(s.b.all, c.method, path, body).want(http.StatusOK)
			if strings.Contains(string(r.raw), monitor) || strings.Contains(string(r.raw), inc) || strings.Contains(string(r.raw), s.a.org.String()) {
				t.Errorf("%s shows another organisation: %s", c.id, r.raw)
			}
		}
	}
	// One's own monitor with another's ping.
	s.do(s.b.all, http.MethodGet, "/api/v1/monitors/"+theirs+"/pings/"+ping+"/output", nil).want(http.StatusNotFound)
	s.do(s.b.all, http.MethodGet, "/api/v1/monitors/"+theirs+"/pings/"+theirPing+"/output", nil).want(http.StatusOK)
	s.do(s.b.all, http.MethodGet, "/api/v1/incidents?monitor="+monitor, nil).want(http.StatusOK)
	if d := cmp.Diff(before, s.snapshot()); d != "" {
		t.Errorf("another organisation changed something: %s", d)
	}
}

// snapshot is all that organisation a has in the database.
func (s *bundle) snapshot() string {
	s.t.Helper()
	var out string
	if err := s.pool.QueryRow(s.ctx, `select concat(
		(select string_agg(m::text, E'\n' order by id) from monitors m where org_id = $1),
		(select string_agg(i::text, E'\n' order by id) from incidents i where org_id = $1),
		(select string_agg(q::text, E'\n' order by id) from control_queue q where org_id = $1))`, s.a.org).Scan(&out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestBothWaysToSendAKey(t *testing.T) {
	s := newBundle(t)
	for name, c := range map[string]struct {
		header, value string
		status        int
	}{
		"bearer":       {"Authorization", "Bearer " + s.a.read, http.StatusOK},
		"any case":     {"Authorization", "bearer  " + s.a.read, http.StatusOK},
		"header":       {"X-Api-Key", s.a.read, http.StatusOK},
		"basic":        {"Authorization", "Basic " + s.a.read, http.StatusUnauthorized},
		"bare":         {"Authorization", s.a.read, http.StatusUnauthorized},
		"empty bearer": {"Authorization", "Bearer ", http.StatusUnauthorized},
	} {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.server.URL+"/api/v1/organisation", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		if r := s.send(req); r.status != c.status {
			t.Errorf("%s: %d, want %d", name, r.status, c.status)
		}
	}
	s.do("", http.MethodGet, "/api/openapi.json", nil).want(http.StatusOK)
}

// counting counts how often the store is asked for a key.
type counting struct {
	api.Store
	asked atomic.Int64
	fail  atomic.Pointer[error]
}

func (c *counting) Authenticate(ctx context.Context, key string) (tenant.Identity, error) {
	c.asked.Add(1)
	if e := c.fail.Load(); e != nil {
		return tenant.Identity{}, *e
	}
	return c.Store.Authenticate(ctx, key)
}

func TestAKeyIsRememberedForAMoment(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	c := &counting{}
	s := newBundle(t, func(o *api.Options) {
		c.Store = o.Store
		o.Store, o.Clock = c, func() time.Time { return time.Unix(now.Load(), 0) }
	})
	get := func(key string, status int, asked int64) {
		t.Helper()
		s.do(key, http.MethodGet, "/api/v1/organisation", nil).want(status)
		if n := c.asked.Load(); n != asked {
			t.Errorf("asked %d times, want %d", n, asked)
		}
	}
	get(s.a.all, http.StatusOK, 1)
	get(s.a.all, http.StatusOK, 1)
	get(s.a.read, http.StatusOK, 2)
	get("tkf_x", http.StatusUnauthorized, 3)
	get("tkf_x", http.StatusUnauthorized, 4) // what is unknown is not remembered: the key may be made any moment
	s.exec(`update api_keys set revoked_at = now()`)
	get(s.a.all, http.StatusOK, 4)
	now.Add(5)
	get(s.a.all, http.StatusUnauthorized, 5)
}

func TestFailuresBeforeTheHandler(t *testing.T) {
	c := &counting{}
	s := newBundle(t, func(o *api.Options) { c.Store, o.Store = o.Store, c })
	var err error = &fault.Error{Code: fault.Unavailable, Message: "the database cannot be reached, try again", Err: errors.New("dial tcp 10.0.0.7")}
	c.fail.Store(&err)
	r := s.do(s.a.all, http.MethodGet, "/api/v1/organisation", nil).want(http.StatusServiceUnavailable)
	if r.header.Get("Retry-After") != "1" || strings.Contains(string(r.raw), "10.0.0.7") {
		t.Errorf("%v %s", r.header, r.raw)
	}
	err = errors.New("password of the database")
	c.fail.Store(&err)
	r = s.do(s.a.all, http.MethodGet, "/api/v1/organisation", nil).want(http.StatusInternalServerError)
	if strings.Contains(string(r.raw), "password") {
		t.Errorf("%s", r.raw)
	}
	if log := s.out.String(); !strings.Contains(log, "10.0.0.7") || !strings.Contains(log, "password of the database") {
		t.Errorf("the log says nothing of the causes: %s", log)
	}
}

// TestABrowserIsAskedForAPassword: whoever follows the link of an alert has a key to type in, and no header to set.
func TestABrowserIsAskedForAPassword(t *testing.T) {
	s := newBundle(t)
	for accept, want := range map[string]int{"text/html,application/xhtml+xml": 2, "*/*": 1, "": 1} {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.server.URL+"/api/v1/incidents/"+uuid.NewString(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		r := s.send(req).want(http.StatusUnauthorized)
		if got := r.header.Values("WWW-Authenticate"); len(got) != want {
			t.Errorf("%q: %q", accept, got)
		}
	}
}
