package alerting_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/alerting/webhook"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/store"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// way is the whole way on real parts: a PostgreSQL, the store, HTTP servers.
type way struct {
	t    testing.TB
	ctx  context.Context
	url  string
	pool *pgxpool.Pool
}

func newWay(t *testing.T, url string) *way {
	t.Helper()
	t.Parallel()
	return wayOn(t, url)
}

func wayOn(t testing.TB, url string) *way {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return &way{t: t, ctx: ctx, url: url, pool: openPool(t, url)}
}

func openPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(context.Background(), url, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (w *way) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.ctx, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *way) count(sql string, args ...any) (n int) {
	w.t.Helper()
	if err := w.pool.QueryRow(w.ctx, sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// say commits an outbox row as the evaluator does.
func (w *way) say(incident uuid.UUID, kind string) {
	w.t.Helper()
	w.exec(`with said as (
		insert into outbox (org_id, incident_id, type, payload)
		values ($1, $1, $2::text, jsonb_build_object('type', $2::text, 'data', jsonb_build_object('incident', jsonb_build_object('id', $1::uuid))))
		) select pg_notify('tokiflow_outbox', '')`, incident, kind)
}

// relay runs a relay to the URLs on a pool of its own.
func (w *way) relay(urls ...string) (stop func()) {
	w.t.Helper()
	return start(w.t, options(w.t, openPool(w.t, w.url), urls...))
}

func options(t testing.TB, pool *pgxpool.Pool, urls ...string) alerting.Options {
	t.Helper()
	s := store.New(pool)
	o := alerting.Options{Store: s, Listen: s.ListenOutbox, Logger: slog.New(slog.DiscardHandler)}
	for _, url := range urls {
		client := safehttp.New(safehttp.Options{AllowPrivate: true})
		t.Cleanup(client.CloseIdleConnections)
		r, err := webhook.New(webhook.Config{URL: url, Secret: secret, Client: client})
		if err != nil {
			t.Fatal(err)
		}
		o.Receivers = append(o.Receivers, r)
	}
	return o
}

// hook is a webhook's receiver: it verifies, remembers, and answers as told (nil: 200).
type hook struct {
	url string

	mu     sync.Mutex
	change chan struct{} // closed at the next request
	got    []got
}

type got struct {
	id, kind, incident string
	at                 time.Time
	taken              bool
}

func newHook(t testing.TB, answer func(g got, nth int) int) *hook {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{change: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		if err != nil {
			t.Errorf("a request that does not verify: %v", err)
		}
		g := got{id: r.Header.Get("webhook-id"), at: time.Now(), kind: alert.TypeOpened}
		if strings.Contains(string(body), alert.TypeResolved) {
			g.kind = alert.TypeResolved
		}
		g.incident, _, _ = strings.Cut(strings.TrimPrefix(g.id, "msg_"), "_")
		status := 200
		if answer != nil {
			status = answer(g, h.times(g.id)+1)
		}
		g.taken = status == 200
		h.mu.Lock()
		h.got = append(h.got, g)
		close(h.change)
		h.change = make(chan struct{})
		h.mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *hook) all() []got {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

func (h *hook) times(id string) (n int) {
	for _, g := range h.all() {
		if g.id == id {
			n++
		}
	}
	return n
}

func taken(all []got) []got {
	return slices.DeleteFunc(all, func(g got) bool { return !g.taken })
}

// await waits until so many messages were taken.
func (h *hook) await(ctx context.Context, t testing.TB, n int) {
	t.Helper()
	for {
		h.mu.Lock()
		change := h.change
		h.mu.Unlock()
		have := len(taken(h.all()))
		if have >= n {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			t.Fatalf("%d messages were taken, want %d", have, n)
		}
	}
}

// wantFirstOrder holds that each message was taken at least once, and for the first time in order.
func (h *hook) wantFirstOrder(t *testing.T, incidents int) {
	t.Helper()
	seen := map[string]bool{}
	first := slices.DeleteFunc(taken(h.all()), func(g got) bool {
		again := seen[g.id]
		seen[g.id] = true
		return again
	})
	wantOrder(t, first, incidents)
}

// wantOrder holds that of each incident opened was taken before resolved, both exactly once.
func wantOrder(t *testing.T, messages []got, incidents int) {
	t.Helper()
	by := map[string][]string{}
	for _, g := range messages {
		by[g.incident] = append(by[g.incident], g.kind)
	}
	if len(by) != incidents {
		t.Errorf("%d incidents, want %d", len(by), incidents)
	}
	for incident, kinds := range by {
		if !slices.Equal(kinds, []string{alert.TypeOpened, alert.TypeResolved}) {
			t.Errorf("incident %s: %v", incident, kinds)
		}
	}
}

// settled waits until every delivery is marked as taken.
func (w *way) settled() {
	w.t.Helper()
	for w.waiting() > 0 {
		time.Sleep(5 * time.Millisecond)
	}
}

// expire ends the leases of the dead, again and again, until all is settled. Those of the living end too: then a message
// may come twice, as after any crash.
func (w *way) expire() {
	w.t.Helper()
	for w.waiting() > 0 {
		w.exec(`update deliveries set next_attempt_at = now()
			where id in (select id from deliveries where delivered_at is null for update skip locked)`)
		time.Sleep(50 * time.Millisecond)
	}
}

// waiting is how much is not marked as taken yet.
func (w *way) waiting() int {
	w.t.Helper()
	return w.count(`select count(*) from outbox o where not fanned_out or exists
		(select from deliveries d where d.outbox_id = o.id and d.delivered_at is null)`)
}

func TestFromTheCommitToThePost(t *testing.T) {
	w, h := newWay(t, pgtest.NewURL(t)), newHook(t, nil)
	stop := w.relay(h.url)
	defer stop()
	var delays []time.Duration
	for i := range 20 {
		began := time.Now()
		w.say(uuid.New(), alert.TypeOpened)
		h.await(w.ctx, t, i+1)
		delays = append(delays, time.Since(began))
	}
	slices.Sort(delays)
	t.Logf("from the commit to the post: median %v, most %v", delays[10], delays[19])
	if delays[10] > 900*time.Millisecond {
		t.Errorf("the median is %v: only the poll finds the alerts", delays[10])
	}
	w.settled()
	if n := w.count(`select count(*) from notifications where status_code = 200 and error = '' and attempt = 1 and latency_seconds > 0`); n != 20 {
		t.Errorf("%d attempts written down", n)
	}
}

func TestTheOrderOutlivesFailures(t *testing.T) {
	w := newWay(t, pgtest.NewURL(t))
	h := newHook(t, func(g got, nth int) int {
		if g.kind == alert.TypeOpened && nth <= 2 {
			return 500
		}
		return 200
	})
	stop := w.relay(h.url)
	defer stop()
	const incidents = 25
	for range incidents {
		incident := uuid.New()
		w.say(incident, alert.TypeOpened)
		w.say(incident, alert.TypeResolved)
	}
	h.await(w.ctx, t, 2*incidents)
	wantOrder(t, taken(h.all()), incidents)
	w.settled()
	if n := w.count(`select count(*) from notifications where status_code = 500 and error <> ''`); n != 2*incidents {
		t.Errorf("%d failed attempts written down, want %d", n, 2*incidents)
	}
}

func TestAHangingHostHoldsUpNoOther(t *testing.T) {
	w, good := newWay(t, pgtest.NewURL(t)), newHook(t, nil)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hanging.Close)
	defer close(release)
	stop := w.relay(hanging.URL, good.url)
	const alerts = 60 // more than may be under way at the hanging one
	for range alerts {
		w.say(uuid.New(), alert.TypeOpened)
	}
	good.await(w.ctx, t, alerts)
	began := time.Now()
	stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("stopping took %v", took)
	}
	if n := w.count(`select count(*) from notifications where error = 'cut short: Tokiflow was stopped'`); n == 0 {
		t.Error("the attempts cut short are not written down")
	}
	if n := w.count(`select count(*) from deliveries where delivered_at is null and next_attempt_at > now()`); n != 0 {
		t.Errorf("%d deliveries are not due at the next start", n)
	}
}

func TestSeveralProcessesSendEachAlertOnce(t *testing.T) {
	w, h := newWay(t, pgtest.NewURL(t)), newHook(t, nil)
	for range 3 {
		defer w.relay(h.url)()
	}
	const incidents = 150
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range incidents / 3 {
				incident := uuid.New()
				w.say(incident, alert.TypeOpened)
				w.say(incident, alert.TypeResolved)
			}
		})
	}
	wg.Wait()
	h.await(w.ctx, t, 2*incidents)
	w.settled()
	wantOrder(t, taken(h.all()), incidents)
	if n := len(h.all()); n != 2*incidents {
		t.Errorf("%d requests for %d messages", n, 2*incidents)
	}
}

func TestAReceiverThatCameLaterAndOneThatLeft(t *testing.T) {
	w := newWay(t, pgtest.NewURL(t))
	old, later := newHook(t, func(got, int) int { return 503 }), newHook(t, nil)
	stop := w.relay(old.url)
	w.say(uuid.New(), alert.TypeOpened)
	for len(old.all()) == 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	before := len(old.all())
	stop = w.relay(later.url)
	defer stop()
	w.say(uuid.New(), alert.TypeOpened)
	later.await(w.ctx, t, 1)
	if n := len(later.all()); n != 1 {
		t.Errorf("the later receiver heard %d", n)
	}
	if n := len(old.all()); n != before {
		t.Error("the receiver that left is still sent to")
	}
	for w.count(`select count(*) from deliveries where delivered_at is null`) != 1 { // the one for the receiver that left
		time.Sleep(5 * time.Millisecond)
	}
}

func TestTheDatabaseIsKilled(t *testing.T) {
	server := pgtest.Server(t, "fsync=on", "synchronous_commit=on")
	w := newWay(t, server.URL("postgres"))
	if err := pg.Migrate(w.ctx, w.pool, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	h := newHook(t, func(_ got, nth int) int {
		if nth == 1 {
			return 500
		}
		return 200
	})
	stop := w.relay(h.url)
	defer stop()
	const rounds, each = 3, 10
	for range rounds {
		for range each {
			incident := uuid.New()
			w.say(incident, alert.TypeOpened)
			w.say(incident, alert.TypeResolved)
		}
		server.Kill()
		restart(t, server)
		w.pool.Reset()
	}
	w.expire() // what was under way when the server died
	h.wantFirstOrder(t, rounds*each)
}

// restart starts a server that was killed: one of its processes may take a moment to be gone.
func restart(t *testing.T, server *pgtest.Cluster) {
	t.Helper()
	var err error
	for range 20 {
		if err = server.Start(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(err)
}

// BenchmarkRelay is alerts a second from the outbox through one process to one receiver on this machine.
func BenchmarkRelay(b *testing.B) {
	w := wayOn(b, pgtest.NewURL(b))
	var heard atomic.Int64
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if heard.Add(1) == int64(b.N) {
			close(all)
		}
	}))
	b.Cleanup(server.Close)
	w.exec(`insert into outbox (org_id, incident_id, type, payload)
		select id, id, 'incident.opened', '{"type": "incident.opened"}' from (select gen_random_uuid() id from generate_series(1, $1)) i`, b.N)
	b.ResetTimer()
	stop := w.relay(server.URL)
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
	b.StopTimer()
	stop()
}
