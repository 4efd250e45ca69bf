package rules_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/rules"
)

// house is evaluators over a real database, with a log of samples and a storage in memory.
type house struct {
	*world
	ctx   context.Context
	pool  *pgxpool.Pool
	store *store.Store
	a, b  tenant.OrgID
	out   *bytes.Buffer

	mu       sync.Mutex
	horizon  time.Time
	appended map[string]int // how often each sample came, as text
	failing  error          // of the log
	asked    func(ctx context.Context, org tenant.OrgID, expr string) error
	outMu    sync.Mutex
}

func newHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	h := &house{world: newWorld(t), ctx: ctx, pool: pgtest.New(t), appended: map[string]int{}, out: &bytes.Buffer{}, horizon: start}
	h.store = store.New(h.pool)
	for _, o := range []*tenant.OrgID{&h.a, &h.b} {
		o.UUID = uuid.New()
		if _, err := h.pool.Exec(ctx, `insert into organisations (id, name) values ($1, 'o')`, o.UUID); err != nil {
			t.Fatal(err)
		}
	}
	h.of(h.a)
	h.of(h.b)
	return h
}

func (h *house) Write(p []byte) (int, error) {
	h.outMu.Lock()
	defer h.outMu.Unlock()
	return h.out.Write(p)
}

func (h *house) log() string {
	h.outMu.Lock()
	defer h.outMu.Unlock()
	return h.out.String()
}

// AppendSamples is the log: what it takes can be asked at once.
func (h *house) AppendSamples(_ context.Context, org tenant.OrgID, s []series.Series, _ []series.Metadata) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing != nil {
		return h.failing
	}
	for _, line := range lines(s) {
		h.appended[line]++
	}
	for _, one := range s {
		_ = h.of(org).Add(one) // the first write wins
	}
	return nil
}

// Query lets a test fail or hold up an expression.
func (h *house) Query(ctx context.Context, org tenant.OrgID, expr string, at time.Time) (promql.Vector, error) {
	return h.QueryOver(ctx, org, expr, at, nil)
}

// QueryOver is Query with samples laid over.
func (h *house) QueryOver(ctx context.Context, org tenant.OrgID, expr string, at time.Time, over storage.Queryable) (promql.Vector, error) {
	if h.asked != nil {
		if err := h.asked(ctx, org, expr); err != nil {
			return nil, err
		}
	}
	return h.querier.QueryOver(ctx, org, expr, at, over)
}

func (h *house) Horizon(context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.horizon, nil
}

func (h *house) evaluator(change ...func(*rules.Options)) *rules.Evaluator {
	h.t.Helper()
	o := rules.Options{
		Store: h.store, Querier: h, Samples: h, Horizon: h.Horizon, BaseURL: "https://toki.example/",
		Logger: slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug})), Registerer: prometheus.NewRegistry(),
		PollInterval: 10 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	e, err := rules.New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

func (h *house) put(org tenant.OrgID, name, text string) {
	h.t.Helper()
	if _, err := h.store.PutRuleGroup(h.ctx, org, parseGroup(h.t, name, text), h.horizon); err != nil {
		h.t.Fatal(err)
	}
}

// slot is the n-th instant of a group with the interval of a minute.
func (h *house) slot(org tenant.OrgID, name string, n int) time.Time {
	return rule.NextSlot(org, name, time.Minute, start).Add(time.Duration(n) * time.Minute)
}

// until sets the watermark and evaluates what is due.
func (h *house) until(e *rules.Evaluator, at time.Time) int {
	h.t.Helper()
	h.mu.Lock()
	h.horizon = at
	h.mu.Unlock()
	n, err := e.Round(h.ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// said is what stands in the outbox, in order: type and labels but for the alert's name.
func (h *house) said(org tenant.OrgID) []string {
	h.t.Helper()
	rows, err := h.pool.Query(h.ctx, `select type, payload from outbox where org_id = $1 order by id`, org.UUID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var kind string
		var payload []byte
		if err := rows.Scan(&kind, &payload); err != nil {
			h.t.Fatal(err)
		}
		var m rule.Message
		if err := json.Unmarshal(payload, &m); err != nil || m.Type != kind {
			h.t.Fatal(err, m.Type)
		}
		out = append(out, fmt.Sprintf("%s %s since %s", kind, m.Data.Alert.Labels["i"], m.Data.Alert.StartsAt.Sub(start).Truncate(time.Minute)))
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *house) wantSaid(org tenant.OrgID, want ...string) {
	h.t.Helper()
	got := h.said(org)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		h.t.Errorf("said %q, want %q", got, want)
	}
}

func (h *house) status(org tenant.OrgID) rule.Status {
	h.t.Helper()
	all, err := h.store.RuleGroups(h.ctx, org)
	if err != nil || len(all) != 1 {
		h.t.Fatal(all, err)
	}
	return all[0]
}
