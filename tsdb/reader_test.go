package tsdb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// turn reads a list page by page and returns it whole.
func turn[T any](t *testing.T, w history.Window, limit int, read func(history.Page) ([]T, error), key func(T) history.Key) []T {
	t.Helper()
	var all []T
	var after history.Key
	for {
		page, err := read(history.Page{Window: w, After: after, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit {
			t.Fatalf("%d rows, %d were asked for", len(page), limit)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = key(page[len(page)-1])
	}
}

func TestPingsPageByPage(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		var want []history.Ping
		for n := byte(1); n <= 50; n++ {
			p := simple(n)
			p.Kind = record.PingKind(n%4 + 1)
			if n%3 == 0 {
				p.RID, p.ExitCode, p.Duration, p.Body, p.BodySize = id(100+n), int16(n), time.Duration(n)*time.Millisecond, []byte{n}, 1
			}
			if n%2 == 0 {
				l.now = l.now.Add(-time.Millisecond) // several in one microsecond
			}
			l.ping(p)
			want = append([]history.Ping{{
				Key: history.Key{At: l.now.Add(-time.Millisecond), Tie: p.ID.String()}, ID: p.ID,
				ReceivedAt: l.now.Add(-time.Millisecond), Kind: p.Kind, RID: p.RID, ExitCode: p.ExitCode, Duration: p.Duration,
				RemoteAddr: p.RemoteAddr, UserAgent: p.UserAgent, Method: p.Method, BodySize: p.BodySize, HasOutput: p.Body != nil,
			}}, want...)
		}
		other := simple(99)
		other.Org = org(2)
		l.ping(other)
		feed(t, newWriter(pool), l)
		r := tsdb.NewReader(pool)
		list := func(w history.Window, limit int) []history.Ping {
			t.Helper()
			return turn(t, w, limit, func(p history.Page) ([]history.Ping, error) { return r.Pings(ctxFor(t), org(1), id(200), p) },
				func(p history.Ping) history.Key { return p.Key })
		}
		for _, limit := range []int{1, 3, 7, 50, 1000} {
			if d := cmp.Diff(want, list(history.Window{}, limit)); d != "" {
				t.Fatalf("by %d: %s", limit, d)
			}
		}
		w := history.Window{From: want[40].ReceivedAt, To: want[10].ReceivedAt}
		var inside []history.Ping
		for _, p := range want {
			if !p.ReceivedAt.Before(w.From) && p.ReceivedAt.Before(w.To) {
				inside = append(inside, p)
			}
		}
		if d := cmp.Diff(inside, list(w, 4)); d != "" {
			t.Errorf("in a window: %s", d)
		}
		if mine, err := r.Pings(ctxFor(t), org(2), id(200), history.Page{Limit: 100}); err != nil || len(mine) != 1 || mine[0].ID != id(99) {
			t.Errorf("another organisation sees %v, %v", mine, err)
		}
	})
}

func TestListsRefuseForeignKeys(t *testing.T) {
	t.Parallel()
	r := tsdb.NewReader(pgtest.New(t))
	f := func(name string, read func(history.Page) error) {
		t.Helper()
		for _, key := range []history.Key{{Tie: "x"}, {At: at("2026-03-01 12:00:00")}, {At: at("2026-03-01 12:00:00"), Tie: "x"}, {Tie: "7"}} {
			if err := read(history.Page{After: key, Limit: 1}); !errors.Is(err, tsdb.ErrBadKey) || fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%s after %v: %v", name, key, err)
			}
		}
	}
	f("pings", func(p history.Page) error { _, err := r.Pings(ctxFor(t), org(1), id(1), p); return err })
	f("runs", func(p history.Page) error { _, err := r.Runs(ctxFor(t), org(1), id(1), p); return err })
	f("transitions", func(p history.Page) error { _, err := r.Transitions(ctxFor(t), org(1), id(1), p); return err })
}

func TestPingOutput(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		l.now = time.Now().UTC().Truncate(time.Microsecond)
		with, without, old := simple(0), simple(0), simple(5)
		with.ID, without.ID = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
		with.Body, old.Body = []byte("first\x00second"), []byte("old")
		l.ping(with)
		l.ping(without)
		l.ping(old) // its id is not of version 7 and tells no time
		feed(t, newWriter(pool), l)
		r := tsdb.NewReader(pool)
		f := func(ping uuid.UUID, want []byte) {
			t.Helper()
			if got, err := r.PingOutput(ctxFor(t), org(1), id(200), ping); err != nil || string(got) != string(want) {
				t.Errorf("%s: %q, %v; want %q", ping, got, err, want)
			}
		}
		f(with.ID, with.Body)
		f(old.ID, old.Body)
		none := func(o byte, mon, ping uuid.UUID) {
			t.Helper()
			if got, err := r.PingOutput(ctxFor(t), org(o), mon, ping); !errors.Is(err, tsdb.ErrNoOutput) || fault.CodeOf(err) != fault.NotFound {
				t.Errorf("%s: %q, %v", ping, got, err)
			}
		}
		none(1, id(200), without.ID)
		none(1, id(200), uuid.Must(uuid.NewV7()))
		none(2, id(200), with.ID)
		none(1, id(201), with.ID)
	})
}

func TestRunsAndTransitionsPageByPage(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		m := newModel(rand.New(rand.NewPCG(7, 7)), 4, 12)
		m.save(t, pool, everything)
		r := tsdb.NewReader(pool)
		for _, mon := range m.monitors {
			runs := turn(t, history.Window{}, 17, func(p history.Page) ([]history.Run, error) { return r.Runs(ctxFor(t), mon.org, mon.id, p) },
				func(v history.Run) history.Key { return v.Key })
			if len(runs) != len(mon.runs) {
				t.Fatalf("%d runs, want %d", len(runs), len(mon.runs))
			}
			for i, got := range runs {
				want := mon.runs[len(mon.runs)-1-i]
				if got.FinishedAt != want.at || got.Outcome != want.outcome || got.Duration != span(want.duration) ||
					got.Lateness != span(want.lateness) || !got.StartedAt.IsZero() || got.ExitCode != record.NoExitCode {
					t.Fatalf("run %d: %+v, want %+v", i, got, want)
				}
			}
			changes := turn(t, history.Window{}, 3, func(p history.Page) ([]history.Transition, error) {
				return r.Transitions(ctxFor(t), mon.org, mon.id, p)
			}, func(v history.Transition) history.Key { return v.Key })
			var got, want []string
			for _, c := range changes {
				got = append(got, fmt.Sprint(c.At, c.From, c.To, c.Reason))
			}
			for i := len(mon.spans) - 1; i > 0; i-- {
				want = append(want, fmt.Sprint(mon.spans[i].from, mon.spans[i-1].status, mon.spans[i].status, "test"))
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		}
		mon := m.monitors[0]
		if runs, err := r.Runs(ctxFor(t), org(1), mon.id, history.Page{Limit: 10}); err != nil || len(runs) > 0 {
			t.Errorf("another organisation sees %d runs, %v", len(runs), err)
		}
		if list, err := r.Transitions(ctxFor(t), org(1), mon.id, history.Page{Limit: 10}); err != nil || len(list) > 0 {
			t.Errorf("another organisation sees %d transitions, %v", len(list), err)
		}
	})
}

func span(seconds float64) time.Duration {
	if seconds < 0 {
		return record.NoDuration
	}
	return time.Duration(seconds*1e6+0.5) * time.Microsecond
}
