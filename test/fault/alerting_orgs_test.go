//go:build fault

package fault

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/loadgen"
)

// makeOrg makes an organisation with a project and returns its key: there is no API for that yet.
func makeOrg(t *testing.T, pool *pgxpool.Pool, name string) (key string) {
	t.Helper()
	org := uuid.New()
	key = "tkf_" + uuid.NewString() + uuid.NewString()
	hash := sha256.Sum256([]byte(key))
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`insert into organisations (id, name) values ($1, $2)`, []any{org, name}},
		{`insert into projects (id, org_id, name, slug, ping_key) values ($1, $2, $3, 'default', $4)`, []any{uuid.New(), org, name, uuid.NewString()}},
		{
			`insert into api_keys (id, org_id, name, hash, prefix, scopes) values ($1, $2, 'test', $3, 'tkf_test', '{read,write}')`,
			[]any{uuid.New(), org, hash[:]},
		},
	} {
		if _, err := pool.Exec(t.Context(), q.sql, q.args...); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

func openEmbedded(t *testing.T, s *server) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), s.embeddedURL(), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestABrokenReceiverDelaysNobodyElse has one organisation with receivers that hang, refuse and break off, under hundreds of alerts,
// and another whose alerts come as soon as without it.
func TestABrokenReceiverDelaysNobodyElse(t *testing.T) {
	e := hear(t, nil)
	s := newServer(t, build(t), "--storm-groups=-1") // of which it would be told too
	s.start()
	pool := openEmbedded(t, s)
	broken, well := makeOrg(t, pool, "broken"), makeOrg(t, pool, "well")
	over := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	defer hangs.Close()
	defer close(over)
	breaks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer breaks.Close()
	const one = `
route: {receiver: hook, group_by: [id], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: hook, webhook_configs: [%s]}]
`
	putConfig(t, s, broken, fmt.Sprintf(one, fmt.Sprintf(
		`{url: "%s"}, {url: "%s"}, {url: "http://127.0.0.1:1/"}, {url: "http://does.not.exist.invalid/"}`, hangs.URL, breaks.URL)))
	putConfig(t, s, well, fmt.Sprintf(one, fmt.Sprintf(`{url: "%s"}`, e.url)))
	mk := func(key string, n int) []loadgen.Monitor {
		admin, err := loadgen.NewAdmin(s.base(), key)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		all, err := admin.Make(t.Context(), loadgen.Spec{Prefix: "m", Count: n, Interval: time.Hour, Grace: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	theirs, ours := mk(broken, 300), mk(well, 60)
	for _, m := range theirs {
		ping(t, s, m.PingKey, "/fail")
	}
	time.Sleep(5 * time.Second)
	latest := time.Duration(0)
	for _, m := range ours {
		at := time.Now()
		ping(t, s, m.PingKey, "/fail")
		eventually(t, 30*time.Second, "an alert of the organisation that is well", func() bool {
			_, ok := e.first("firing")[m.ID]
			return ok
		})
		latest = max(latest, e.first("firing")[m.ID].at.Sub(at))
	}
	t.Logf("the latest of %d alerts came after %v", len(ours), latest.Round(time.Millisecond))
	if latest > 5*time.Second {
		t.Errorf("beside a broken organisation an alert took %v", latest)
	}
	if n := count(t, pool, `select count(*) from alerts a join organisations o on o.id = a.org_id where o.name = 'broken'`); n != len(theirs) {
		t.Errorf("%d of the %d alerts that could not be told are kept", n, len(theirs))
	}
}

// TestAThousandIdleOrganisations: configurations without alerts cost less than 50 MiB.
func TestAThousandIdleOrganisations(t *testing.T) {
	s := newServer(t, build(t))
	s.start()
	pool := openEmbedded(t, s)
	time.Sleep(10 * time.Second)
	before := memory(t, s)
	for i := range 1000 {
		key := makeOrg(t, pool, fmt.Sprintf("org-%04d", i))
		putConfig(t, s, key, fmt.Sprintf(`
route:
  receiver: team
  group_by: [project]
  routes:
    - {matchers: ['severity="critical"'], receiver: pager}
receivers:
  - {name: team, webhook_configs: [{url: "https://example.org/hook/%d"}]}
  - {name: pager, pagerduty_configs: [{routing_key: "0123456789abcdef0123456789abcdef"}]}
inhibit_rules:
  - {source_matchers: ['severity="critical"'], target_matchers: ['severity="warning"'], equal: [monitor]}
`, i))
	}
	put := memory(t, s)
	time.Sleep(3 * time.Minute) // the collector looks by itself every two minutes, and gives back what it finds
	quiet := memory(t, s)
	s.stop()
	s.start() // as after a restart: nobody has asked for any of them
	time.Sleep(10 * time.Second)
	after := memory(t, s)
	t.Logf("%.0f MiB without organisations, %.0f when a thousand have put a configuration, %.0f three minutes later, %.0f after a restart",
		before, put, quiet, after)
	if cost := max(quiet, after) - before; cost > 50 {
		t.Errorf("a thousand idle organisations cost %.0f MiB", cost)
	}
}
