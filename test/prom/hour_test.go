package prom_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	prommodel "github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/evaluator"
	"github.com/tokiflow/tokiflow/exporter"
	"github.com/tokiflow/tokiflow/infra/store"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/saas/auth"
	"github.com/tokiflow/tokiflow/tsdb"
)

const testKey = "tkf_prom_test_key_0123456789abcdef0123456789"

// logID is of a log that is never written down: its records go straight to the evaluator.
const logID = "an hour"

// hour is an hour of pings that lies in the past: records stamped then, judged by the real evaluator, which writes its
// checkpoints into a real database; read by the real exporter and the real PromQL API. Only time is made up.
type hour struct {
	t        *testing.T
	ctx      context.Context
	store    *store.Store
	org      tenant.OrgID
	project  tenant.ProjectID
	base     time.Time    // when it begins, on the grid
	moment   atomic.Int64 // now, in microseconds since 1970
	scrapes  atomic.Int64
	events   []event
	eval     *evaluator.Evaluator
	offset   int64
	appender uint64
	since    time.Time // the appender could receive since
	seq      uint64
	server   *httptest.Server // exporter and PromQL
}

// event is something that happens in the hour.
type event struct {
	at time.Time
	do func()
}

const (
	grid     = 15 * time.Second
	lasts    = time.Hour
	monitors = 200
)

func newHour(t *testing.T, pool *pgxpool.Pool) *hour {
	t.Helper()
	h := &hour{
		t: t, ctx: t.Context(), store: store.New(pool), appender: 1,
		base: time.Now().UTC().Add(-lasts - 10*time.Minute).Truncate(time.Minute),
	}
	h.since = h.base
	h.set(h.base)
	boot, err := h.store.Bootstrap(h.ctx, testKey)
	if err != nil {
		t.Fatal(err)
	}
	h.org, h.project = boot.Org.ID, boot.Project.ID
	h.assign()
	keys := auth.NewKeys(h.store, nil)
	// The exporter does not run: in a time that jumps, what it reads in the background is of long ago. It reads at each scrape.
	e, err := exporter.New(exporter.Options{States: h.store, Keys: keys, Clock: h.now})
	if err != nil {
		t.Fatal(err)
	}
	p, err := promapi.New(promapi.Options{
		Timelines: tsdb.NewReader(pool), Keys: keys, Clock: h.now,
		Horizon: func(ctx context.Context, _ tenant.OrgID) (time.Time, error) { return h.store.Watermark(ctx, logID, 1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	e.Routes(r)
	p.Routes(r)
	h.server = httptest.NewServer(r)
	t.Cleanup(h.server.Close)
	return h
}

func (h *hour) now() time.Time  { return time.UnixMicro(h.moment.Load()).UTC() }
func (h *hour) set(t time.Time) { h.moment.Store(t.UnixMicro()) }

// patience is the evaluator's clock, which says nothing of the pings, but when a checkpoint is due: before every scrape, so that
// what a scrape shows is as of its instant, and not up to half a second older.
func (h *hour) patience() time.Time {
	return h.now().Add(time.Duration(h.scrapes.Load()) * time.Hour)
}

// assign starts an evaluator on what the last one left.
func (h *hour) assign() {
	h.t.Helper()
	e, err := evaluator.New(evaluator.Options{
		Store: h.store.Checkpoints(logID), Partitions: 1, Clock: h.patience, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if h.offset, err = e.Assigned(h.ctx, 0); err != nil {
		h.t.Fatal(err)
	}
	h.eval = e
}

// append stamps records with now and has them judged.
func (h *hour) append(recs ...[]byte) {
	h.t.Helper()
	batch := make([]record.Entry, len(recs))
	for i, rec := range recs {
		h.seq++
		record.Stamp(rec, h.appender, h.seq, h.now())
		batch[i] = record.Entry{Offset: h.offset, Value: rec}
		h.offset++
	}
	if err := h.eval.Batch(h.ctx, 0, batch, true); err != nil {
		h.t.Fatal(err)
	}
}

// run lets the hour pass: a marker a second, and at every instant of the grid what scrape does.
func (h *hour) run(scrape func(at time.Time)) {
	h.t.Helper()
	slices.SortStableFunc(h.events, func(a, b event) int { return a.at.Compare(b.at) })
	next := 0
	down := h.base.Add(32*time.Minute + 2*time.Second) // the restart: no markers, no pings, and a gap
	for s := time.Duration(0); s <= lasts; s += time.Second {
		second := h.base.Add(s)
		for next < len(h.events) && h.events[next].at.Before(second) {
			h.set(h.events[next].at)
			if h.up(down) {
				h.events[next].do()
			}
			next++
		}
		h.set(second)
		if !h.up(down) {
			continue
		}
		if h.appender == 1 && second.After(down) {
			h.assign()
			h.appender, h.seq, h.since = 2, 0, second
		}
		if !second.Equal(second.Truncate(grid)) {
			h.append(record.AppendMarker(nil, record.Marker{Since: h.since, Exclusive: h.seq == 0}))
			continue
		}
		// A scrape comes a moment after what happens in its instant.
		h.scrapes.Add(1)
		h.set(second.Add(time.Microsecond))
		h.append(record.AppendMarker(nil, record.Marker{Since: h.since, Exclusive: h.seq == 0}))
		h.set(second)
		scrape(second)
	}
}

func (h *hour) up(down time.Time) bool {
	return h.now().Before(down) || h.now().Sub(down) >= 9*time.Second
}

// at plans something so long after the beginning.
func (h *hour) at(after time.Duration, do func()) {
	h.events = append(h.events, event{at: h.base.Add(after).Truncate(time.Microsecond), do: do})
}

// publish appends the changes that the store has queued.
func (h *hour) publish(id uuid.UUID) {
	h.t.Helper()
	if _, err := h.store.DrainControls(h.ctx, &id, func(_ context.Context, c record.Control) error {
		h.append(record.AppendControl(nil, &c))
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
}

// ping plans a ping.
func (h *hour) ping(id *uuid.UUID, after time.Duration, kind record.PingKind, exit int16, took time.Duration) {
	if after >= lasts {
		return
	}
	h.at(after, func() {
		h.append(record.AppendPing(nil, &record.Ping{
			ID: uuid.Must(uuid.NewV7()), Org: h.org, Monitor: *id, Kind: kind, ExitCode: exit, Duration: took, Method: http.MethodGet, RemoteAddr: "127.0.0.1",
		}))
	})
}

// begins plans the making of a monitor; the id is known once it is made.
func (h *hour) begins(after time.Duration, c monitor.Config) *uuid.UUID {
	id := new(uuid.UUID)
	h.at(after, func() {
		m, err := h.store.CreateMonitor(h.ctx, h.org, inventory.NewMonitor{Project: h.project, Config: c})
		if err != nil {
			h.t.Fatal(err)
		}
		*id = m.ID
		h.publish(m.ID)
	})
	return id
}

func (h *hour) changes(after time.Duration, id *uuid.UUID, change func() error) {
	h.at(after, func() {
		if err := change(); err != nil {
			h.t.Fatal(err)
		}
		h.publish(*id)
	})
}

// fleet plans the hour of all monitors: ten kinds of fate, twenty monitors of each, none like another.
func (h *hour) fleet() {
	for i := range monitors {
		r := rand.New(rand.NewPCG(7, uint64(i))) //nolint:gosec // the same every time
		jitter := time.Duration(r.Int64N(int64(20 * time.Second)))
		c := monitor.DefaultConfig()
		c.Name = fmt.Sprintf("monitor %d", i)
		c.Tags = []string{fmt.Sprintf("kind-%d", i%10), "all"}
		c.Labels = map[string]string{"team": fmt.Sprintf("team-%d", i%3)}
		every := func(d time.Duration) { c.Schedule.Interval = prommodel.Duration(d) }
		c.Grace = prommodel.Duration(time.Minute)
		every(2 * time.Minute)
		switch i % 10 {
		case 2:
			every(time.Minute)
			c.Grace = prommodel.Duration(20 * time.Second)
		case 3:
			c.MaxRuntime = prommodel.Duration(30 * time.Second)
		case 4:
			every(time.Minute)
			c.Grace, c.LateIncidents = prommodel.Duration(2*time.Minute), true
		case 5:
			c.ManualResume = true
		case 8:
			c.Schedule.Interval, c.Schedule.Cron, c.Schedule.Timezone = 0, "*/5 * * * *", "Europe/Berlin"
		case 9:
			every(time.Minute)
			c.FailureTolerance = 2
		}
		begin := jitter
		if i%10 == 6 && i%20 > 9 {
			begin += 20 * time.Minute
		}
		id := h.begins(begin, c)
		h.fate(i, id, begin+time.Second, r)
	}
}

// fate plans what happens to a monitor.
func (h *hour) fate(i int, id *uuid.UUID, begin time.Duration, r *rand.Rand) {
	random := func(median float64) time.Duration { // log-normal, as runs are
		return time.Duration(median * math.Exp(r.NormFloat64()*0.6) * float64(time.Second)).Truncate(time.Microsecond)
	}
	run := func(at time.Duration, took time.Duration, exit int16) {
		h.ping(id, at, record.Start, record.NoExitCode, record.NoDuration)
		kind := record.Success
		if exit > 0 {
			kind = record.Fail
		}
		h.ping(id, at+took, kind, exit, record.NoDuration)
	}
	n := 0
	switch kind := i % 10; kind {
	case 2: // silent for a while
		for at := begin; at < lasts; at += 55 * time.Second {
			if at < 15*time.Minute || at > 25*time.Minute+time.Duration(i)*time.Second {
				h.ping(id, at, record.Success, record.NoExitCode, random(5))
			}
		}
	case 3: // every third run never ends
		for at := begin; at < lasts; at, n = at+115*time.Second, n+1 {
			if n%3 == 2 {
				h.ping(id, at, record.Start, record.NoExitCode, record.NoDuration)
			} else {
				run(at, random(10), 0)
			}
		}
	case 4: // every sixth is late
		for at := begin; at < lasts; at, n = at+58*time.Second, n+1 {
			late := time.Duration(0)
			if n%6 == 5 {
				late = 90 * time.Second
			}
			h.ping(id, at+late, record.Success, record.NoExitCode, record.NoDuration)
			at += late
		}
	case 6: // nobody ever pings it
	case 9: // durations that are given, and one that is unusual; three failures in a row
		for at := begin; at < lasts; at, n = at+57*time.Second, n+1 {
			took := time.Duration(900+r.IntN(200)) * time.Millisecond
			if n == 40 {
				took = 30 * time.Second
			}
			h.ping(id, at, map[bool]record.PingKind{true: record.Fail, false: record.Success}[n > 20 && n < 24], record.NoExitCode, took)
		}
	default: // a run every two minutes; of some every fifth fails
		pause := 110 * time.Second
		if kind == 8 {
			pause = 5 * time.Minute
		}
		for at := begin; at < lasts; at, n = at+pause, n+1 {
			exit := int16(0)
			if kind == 1 && n%5 == 4 {
				exit = 3
			}
			run(at, random(20), exit)
		}
	}
	mid := 25*time.Minute + time.Duration(i)*1700*time.Millisecond
	switch i % 10 {
	case 5:
		pause := func(on bool) func() error {
			return func() error { _, err := h.store.SetPaused(h.ctx, h.org, *id, on); return err }
		}
		h.changes(mid, id, pause(true))
		h.changes(mid+12*time.Minute, id, pause(false))
	case 7:
		h.changes(mid, id, func() error { return h.store.DeleteMonitor(h.ctx, h.org, *id) })
	case 8:
		h.changes(mid, id, func() error {
			_, err := h.store.UpdateMonitor(h.ctx, h.org, *id, func(c monitor.Config) (monitor.Config, error) {
				c.Name += " renamed"
				c.Tags = []string{"renamed"}
				return c, nil
			})
			return err
		})
	}
}
