package tsdb_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

const logID = "the log"

func newWriter(pool *pgxpool.Pool) *tsdb.Writer {
	return tsdb.NewWriter(pool, logID, slog.New(slog.DiscardHandler), nil)
}

// feed assigns partition 0 and hands over the records from the offset asked for.
func feed(t *testing.T, w *tsdb.Writer, l *topic) {
	t.Helper()
	offset, err := w.Assigned(ctxFor(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(ctxFor(t), 0, l.recs[offset:], true); err != nil {
		t.Fatal(err)
	}
}

type stored struct {
	Ping record.Ping
	RID  *uuid.UUID
	Exit *int16
	Secs *float64
}

func storedPings(t *testing.T, pool *pgxpool.Pool) []stored {
	t.Helper()
	rows, err := pool.Query(ctxFor(t), `select received_at, org_id, monitor_id, id, kind, exit_code, duration_seconds, rid, body_size,
		remote_addr, user_agent, method, body from pings order by received_at, id`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s stored, err error) {
		p := &s.Ping
		err = r.Scan(&p.At, &p.Org.UUID, &p.Monitor, &p.ID, &p.Kind, &s.Exit, &s.Secs, &s.RID, &p.BodySize,
			&p.RemoteAddr, &p.UserAgent, &p.Method, &p.Body)
		return s, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func ids(list []stored) (s string) {
	for _, p := range list {
		s += string(rune('a' - 1 + p.Ping.ID[15]))
	}
	return s
}

func TestWriterKeepsEveryField(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		full := record.Ping{
			ID: id(1), Org: org(2), Monitor: id(3), Kind: record.Fail, RID: id(4), ExitCode: 137, Duration: 1500 * time.Millisecond,
			RemoteAddr: "2001:db8::1", UserAgent: "tokiflow/1 (µ)", Method: "POST", BodySize: 200_000, Body: []byte("out\x00\xffput"),
		}
		l.marker()
		l.ping(full)
		l.ping(simple(2))
		feed(t, newWriter(pool), l)

		rid, exit, secs := id(4), int16(137), 1.5
		full.At, full.RID, full.ExitCode, full.Duration = at("2026-03-01 12:00:00.001"), uuid.Nil, 0, 0
		bare := simple(2)
		bare.At, bare.ExitCode, bare.Duration = at("2026-03-01 12:00:00.002"), 0, 0
		want := []stored{{Ping: full, RID: &rid, Exit: &exit, Secs: &secs}, {Ping: bare}}
		if d := cmp.Diff(want, storedPings(t, pool)); d != "" {
			t.Error(d)
		}
	})
}

func TestWriterTakesWhatPostgreSQLWouldRefuse(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	p := simple(1)
	p.UserAgent, p.Method, p.RemoteAddr = "a\x00b\xff", "G\xc0T", "\x00"
	l.ping(p)
	feed(t, newWriter(pool), l)
	got := storedPings(t, pool)
	if len(got) != 1 || got[0].Ping.UserAgent != "a\uFFFDb\uFFFD" || got[0].Ping.Method != "G\uFFFDT" || got[0].Ping.RemoteAddr != "\uFFFD" {
		t.Fatalf("got %+v", got)
	}
}

func TestWriterDropsProducerRetries(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	for n := byte(1); n <= 3; n++ {
		l.ping(simple(n))
	}
	l.append(l.recs[1].Value) // the batch of b and c was sent twice
	l.append(l.recs[2].Value)
	l.ping(simple(4))
	reg := prometheus.NewRegistry()
	w := tsdb.NewWriter(pool, logID, slog.New(slog.DiscardHandler), reg)
	feed(t, w, l)
	l.append(l.recs[5].Value) // and d, after another process has taken over: the clock is stored
	l.ping(simple(5))
	feed(t, w, l)
	if got := ids(storedPings(t, pool)); got != "abcde" {
		t.Errorf("got %s, want abcde", got)
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
		# HELP tokiflow_tsdb_duplicate_records_total Records of the log that a producer had written twice.
		# TYPE tokiflow_tsdb_duplicate_records_total counter
		tokiflow_tsdb_duplicate_records_total 3
		# HELP tokiflow_tsdb_pings_total Pings written to the database.
		# TYPE tokiflow_tsdb_pings_total counter
		tokiflow_tsdb_pings_total 5
	`), "tokiflow_tsdb_duplicate_records_total", "tokiflow_tsdb_pings_total")
	if err != nil {
		t.Error(err)
	}
}

func TestWriterPassesOverWhatItCannotRead(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.ping(simple(1))
	l.append([]byte("short"))
	l.add(append(record.AppendMarker(nil, record.Marker{}), "behind"...))
	torn := simple(9)
	rec := record.AppendPing(nil, &torn)
	l.add(rec[:len(rec)-3])
	l.now = at("1999-12-31 23:59:59")
	l.ping(simple(8))
	l.now = at("2026-03-01 12:00:01")
	l.ping(simple(2))
	logger, out := logBuffer()
	w := tsdb.NewWriter(pool, logID, logger, nil)
	feed(t, w, l)
	if got := ids(storedPings(t, pool)); got != "ab" {
		t.Errorf("got %s, want ab", got)
	}
	if n := strings.Count(out.String(), "cannot be read"); n != 1 || !strings.Contains(out.String(), "passed_over=4") {
		t.Errorf("%d lines for one streak of 4:\n%s", n, out)
	}
	if offset, err := w.Assigned(ctxFor(t), 0); err != nil || offset != int64(len(l.recs)) {
		t.Errorf("next offset %d, %v; want %d: behind the last", offset, err, len(l.recs))
	}
}

// What was read and not written when a partition is lost is read again by the next, and what was written is not.
func TestWriterIsFenced(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.ping(simple(1))
	old := newWriter(pool)
	feed(t, old, l) // a is written
	l.ping(simple(2))
	if err := old.Batch(ctxFor(t), 0, l.recs[1:], true); err != nil { // b waits for company
		t.Fatal(err)
	}
	if got := ids(storedPings(t, pool)); got != "a" {
		t.Fatalf("got %s, want a", got)
	}
	l.ping(simple(3))
	feed(t, newWriter(pool), l)

	for offset, tries := 3, 0; ; tries++ {
		l.ping(simple(4))
		err := old.Batch(ctxFor(t), 0, l.recs[offset:], true)
		offset = len(l.recs)
		if errors.Is(err, pg.ErrFenced) {
			break
		}
		if err != nil || tries > 5_000 {
			t.Fatalf("try %d: %v, want ErrFenced", tries, err)
		}
	}
	if got := ids(storedPings(t, pool)); got != "abc" {
		t.Errorf("got %s, want abc", got)
	}
	old.Revoked(0)
	if err := old.Batch(ctxFor(t), 0, nil, true); err == nil {
		t.Error("a batch of a revoked partition was taken")
	}
}

// A lone ping is seen at once; pings that follow closely share a transaction.
func TestWriterPacesTransactions(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	w := newWriter(pool)
	if _, err := w.Assigned(ctxFor(t), 0); err != nil {
		t.Fatal(err)
	}
	l := newTopic()
	begun := time.Now()
	for i := range 20 {
		l.ping(simple(byte(1)))
		if err := w.Batch(ctxFor(t), 0, l.recs[i:i+1], true); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if got := ids(storedPings(t, pool)); got != "a" {
				t.Fatalf("the first ping is not there at once: %q", got)
			}
		}
	}
	if len(storedPings(t, pool)) == 20 && time.Since(begun) < 100*time.Millisecond {
		t.Error("20 batches made 20 transactions")
	}
	for len(storedPings(t, pool)) < 20 { // as the log does: nothing came
		if time.Since(begun) > 10*time.Second {
			t.Fatal("the rest was not written without further pings")
		}
		if err := w.Batch(ctxFor(t), 0, nil, true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriterOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	pool, err := pg.Open(ctxFor(t), server.URL("postgres"), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pg.Migrate(ctxFor(t), pool, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w, l := newWriter(pool), newTopic()
	l.ping(simple(1))
	feed(t, w, l)
	server.Kill()
	l.ping(simple(2))
	if _, err := w.Assigned(ctxFor(t), 0); err == nil {
		t.Fatal("assigned without a database")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	feed(t, w, l)
	if got := ids(storedPings(t, pool)); got != "ab" {
		t.Errorf("got %s, want ab", got)
	}
}
