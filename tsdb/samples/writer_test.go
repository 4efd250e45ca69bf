package samples_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

const stale = 0x7ff0000000000002 // the bits of Prometheus' staleness marker

// row is a sample as it lies in the tables.
type row struct {
	Org       byte
	Labels    string
	At        int64
	Bits      uint64
	Histogram string
}

func rowsOf(t *testing.T, pool *pgxpool.Pool) []row {
	t.Helper()
	rows, err := pool.Query(ctxFor(t), `
		select s.org_id::uuid, s.name || s.labels::text, a.at, a.value, a.histogram
		from samples a left join series s on s.id = a.series_id order by 1, 2, 3, 4`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (x row, err error) {
		var org [16]byte
		var at time.Time
		var value float64
		var histogram []byte
		err = r.Scan(&org, &x.Labels, &at, &value, &histogram)
		x.Org, x.At, x.Bits, x.Histogram = org[15], at.UnixMilli(), math.Float64bits(value), string(histogram)
		return x, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// base is the time that most samples here are near, in milliseconds.
func base() float64 { return float64(at("2026-03-01 12:00:00").UnixMilli()) }

// step is base and n seconds.
func step(n float64) float64 { return base() + n*1000 }

func up(host string, f ...float64) series.Series {
	return series.Series{Labels: labelled("__name__", "up", "host", host), Floats: floats(f...)}
}

func TestWriterKeepsEverySampleOnce(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		l.add(record.AppendMarker(nil, record.Marker{Since: l.now}))
		l.samples(org(1), up("a", step(0), 1, step(15), 2), up("b", step(0), math.Float64frombits(stale)))
		l.samples(org(2), up("a", step(0), 3))                                       // another's, of the same labels
		l.samples(org(1), up("a", step(15), 9, step(30), 4, step(7), 5, step(7), 6)) // twice, new, late, late twice
		l.samples(org(1), up("a", step(30), 9), up("b", step(1), math.Copysign(0, -1), step(2), math.Inf(-1)))
		l.samples(org(1), series.Series{Labels: labelled("__name__", "up", "host", "c"), Histograms: []series.Histogram{
			{At: int64(step(0)), Data: []byte("h1")}, {At: int64(step(0)), Data: []byte("h2")}, {At: int64(step(1)), Data: []byte("h3")},
		}})
		want := []row{
			{1, `up{"host": "a"}`, int64(step(0)), math.Float64bits(1), ""},
			{1, `up{"host": "a"}`, int64(step(7)), math.Float64bits(5), ""},
			{1, `up{"host": "a"}`, int64(step(15)), math.Float64bits(2), ""},
			{1, `up{"host": "a"}`, int64(step(30)), math.Float64bits(4), ""},
			{1, `up{"host": "b"}`, int64(step(0)), stale, ""},
			{1, `up{"host": "b"}`, int64(step(1)), 1 << 63, ""},
			{1, `up{"host": "b"}`, int64(step(2)), math.Float64bits(math.Inf(-1)), ""},
			{1, `up{"host": "c"}`, int64(step(0)), 0, "h1"},
			{1, `up{"host": "c"}`, int64(step(1)), 0, "h3"},
			{2, `up{"host": "a"}`, int64(step(0)), math.Float64bits(3), ""},
		}
		feed(t, newWriter(pool), l)
		if d := cmp.Diff(want, rowsOf(t, pool)); d != "" {
			t.Fatalf("at once:\n%s", d)
		}
		// The same again from each offset, by another writer each time, changes nothing.
		for offset := range l.recs {
			exec(t, pool, `update log_offsets set next_offset = $1, clock = '{}'`, offset)
			feed(t, newWriter(pool), l)
			if d := cmp.Diff(want, rowsOf(t, pool)); d != "" {
				t.Fatalf("again from %d:\n%s", offset, d)
			}
		}
	})
}

// A restart behind each record, and retries of some of what came before, come to the same table as one writer does.
func TestWriterAfterRestarts(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	l, first := newTopic(), map[[2]int64]float64{}
	for n := range 40 {
		var list []series.Series
		for s := range int64(7) {
			x := up(fmt.Sprint(s))
			for range rng.IntN(4) {
				at := int64(step(float64(n*10 + rng.IntN(30) - 15))) // some late, some twice
				v := float64(rng.IntN(1000))
				x.Floats = append(x.Floats, series.Float{At: at, Value: v})
				if _, there := first[[2]int64{s, at}]; !there {
					first[[2]int64{s, at}] = v
				}
			}
			list = append(list, x)
		}
		l.samples(org(1), list...)
	}
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		w := newWriter(pool)
		for n := 0; n < len(l.recs); {
			if _, err := w.Assigned(ctxFor(t), 0); err != nil {
				t.Fatal(err)
			}
			more := min(1+n%5, len(l.recs)-n)
			if err := w.Batch(ctxFor(t), 0, l.recs[n:n+more], true); err != nil {
				t.Fatal(err)
			}
			w.Revoked(0)
			if n += more; n%3 == 0 {
				w = newWriter(pool)
			}
		}
		got := map[[2]int64]float64{}
		for _, r := range rowsOf(t, pool) {
			var s int64
			if _, err := fmt.Sscanf(r.Labels, `up{"host": "%d"}`, &s); err != nil {
				t.Fatal(r.Labels, err)
			}
			k := [2]int64{s, r.At}
			if _, there := got[k]; there {
				t.Errorf("series %d has %d twice", s, r.At)
			}
			got[k] = math.Float64frombits(r.Bits)
		}
		if d := cmp.Diff(first, got); d != "" {
			t.Error(d)
		}
	})
}

func TestWriterPassesOverWhatItCannotTake(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.append([]byte("short"))
	torn := record.AppendSamples(nil, org(1), []series.Series{up("x", step(0), 1)}, nil)
	l.add(torn[:len(torn)-3])
	early, late := step(0)-float64(samples.MaxAge.Milliseconds()), step(0)+float64(samples.MaxAhead.Milliseconds())
	l.samples(org(1), up("a", early-1, 1, early, 2, step(0), 3, late, 4, late+1, 5), up("b", early-1, 1), up("c"))
	l.samples(org(1),
		series.Series{Labels: []series.Label{{Name: "__name__", Value: "twice"}, {Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, Floats: floats(step(0), 1)},
		series.Series{Labels: labelled("__name__", strings.Repeat("n", 1025)), Floats: floats(step(0), 1, step(1), 1)},
		series.Series{Labels: labelled("__name__", strings.Repeat("n", 1024), "v", strings.Repeat("ä", 9000)), Floats: floats(step(0), 1)},
		// What is stored is the same series, in whatever way it was written.
		series.Series{Labels: []series.Label{{Name: "z", Value: "µ\x00\xff"}, {Name: "__name__", Value: "up"}, {Name: "empty"}}, Floats: floats(step(0), 7)},
		series.Series{Labels: labelled("__name__", "up", "z", "µ\uFFFD\uFFFD"), Floats: floats(step(0), 8)},
		series.Series{Floats: floats(step(0), 9)}, // no label at all
	)
	reg := prometheus.NewRegistry()
	logger, out := logBuffer()
	w := samples.NewWriter(pool, logID, logger, reg)
	feed(t, w, l)
	var got []string
	for _, r := range rowsOf(t, pool) {
		got = append(got, fmt.Sprintf("%.30s %v", r.Labels, math.Float64frombits(r.Bits)))
	}
	want := []string{
		strings.Repeat("n", 30) + " 1", `up{"host": "a"} 2`, `up{"host": "a"} 3`, `up{"host": "a"} 4`, "up{\"z\": \"µ\uFFFD\uFFFD\"} 7", "{} 9",
	}
	if d := cmp.Diff(want, got); d != "" {
		// The order of names is the database's.
		t.Error(d)
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
		# HELP tokiflow_samples_malformed_records_total Records of the log of samples that could not be read.
		# TYPE tokiflow_samples_malformed_records_total counter
		tokiflow_samples_malformed_records_total 2
		# HELP tokiflow_samples_refused_total Samples that no table can take: of an absurd time, or with labels that cannot be.
		# TYPE tokiflow_samples_refused_total counter
		tokiflow_samples_refused_total 6
		# HELP tokiflow_samples_written_total Samples written to the database.
		# TYPE tokiflow_samples_written_total counter
		tokiflow_samples_written_total 6
		# HELP tokiflow_samples_duplicate_total Samples whose instant was there already.
		# TYPE tokiflow_samples_duplicate_total counter
		tokiflow_samples_duplicate_total 1
	`), "tokiflow_samples_malformed_records_total", "tokiflow_samples_refused_total", "tokiflow_samples_written_total", "tokiflow_samples_duplicate_total")
	if err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "cannot be read"); n != 1 || strings.Count(out.String(), "samples refused") != 2 {
		t.Errorf("log:\n%s", out)
	}
}

func TestWriterStopsAtANewerRecord(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	newer := record.AppendSamples(nil, org(1), []series.Series{up("a", step(1), 1)}, nil)
	newer[0] = record.Version + 1
	l.add(newer)
	w := newWriter(pool)
	if _, err := w.Assigned(ctxFor(t), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(ctxFor(t), 0, l.recs, true); !errors.Is(err, record.ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

// What was read and not written when a partition is lost is read again by the next, and what was written is not.
func TestWriterIsFenced(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	old := newWriter(pool)
	feed(t, old, l)
	l.samples(org(1), up("a", step(1), 2))
	if err := old.Batch(ctxFor(t), 0, l.recs[1:], true); err != nil { // waits for company
		t.Fatal(err)
	}
	l.samples(org(1), up("a", step(2), 3))
	feed(t, newWriter(pool), l)
	for late := time.Now().Add(time.Minute); ; { // it writes when what it read has waited long enough
		err := old.Batch(ctxFor(t), 0, nil, true)
		if errors.Is(err, pg.ErrFenced) {
			break
		}
		if err != nil || time.Now().After(late) {
			t.Fatalf("%v, want ErrFenced", err)
		}
	}
	if got := rowsOf(t, pool); len(got) != 3 {
		t.Errorf("got %v, want three samples", got)
	}
	old.Revoked(0)
	if err := old.Batch(ctxFor(t), 0, nil, true); err == nil {
		t.Error("a batch of a revoked partition was taken")
	}
}

// A connection that dies in the middle of a transaction leaves nothing behind; the next assignment writes it all.
func TestWriterLosesItsConnection(t *testing.T) {
	t.Parallel()
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		l := newTopic()
		for n := range 3 {
			l.samples(org(1), up("a", step(float64(n)), float64(n)), up(fmt.Sprint(n), step(0), 1))
		}
		// Another holds the row that the metadata is to be written to, so that the transaction stands still before its end.
		exec(t, pool, `insert into series_metadata values ($1, 'up', '', '', '')`, org(1).UUID)
		other, err := pool.Begin(ctxFor(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Exec(ctxFor(t), `update series_metadata set help = 'x'`); err != nil {
			t.Fatal(err)
		}
		l.add(record.AppendSamples(nil, org(1), nil, []series.Metadata{{Name: "up", Type: "gauge"}}))
		w := newWriter(pool)
		if _, err := w.Assigned(ctxFor(t), 0); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- w.Batch(context.WithoutCancel(t.Context()), 0, l.recs, true) }()
		for killed := int64(0); killed == 0; {
			killed = count(t, pool, `select count(pg_terminate_backend(pid)) from pg_stat_activity
				where datname = current_database() and wait_event_type = 'Lock' and query like '%series_metadata%'`)
		}
		if err := <-done; err == nil {
			t.Fatal("a batch whose connection died was taken")
		}
		w.Revoked(0)
		if err := other.Rollback(ctxFor(t)); err != nil {
			t.Fatal(err)
		}
		if got := rowsOf(t, pool); len(got) != 0 {
			t.Fatalf("%d samples of a transaction that failed", len(got))
		}
		feed(t, w, l)
		if got := rowsOf(t, pool); len(got) != 6 {
			t.Errorf("got %v, want 6 samples", got)
		}
	})
}

func TestReadingGoesOnWhereTheLogWasCut(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	exec(t, pool, `insert into log_offsets (log_id, consumer, partition, epoch, next_offset) values ($1, $2, 0, 1, 1000)`, logID, samples.Consumer)
	w := newWriter(pool)
	if offset, err := w.Assigned(ctxFor(t), 0); err != nil || offset != 1000 {
		t.Fatal(offset, err)
	}
	w.Lost(0, nil, 0)
	w.Lost(7, nil, 0) // not assigned: nothing
	l := newTopic()
	l.samples(org(1), up("a", step(0), 1))
	if err := w.Batch(ctxFor(t), 0, l.recs, true); err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(ctxFor(t), 0, l.recs, true); err == nil {
		t.Error("an offset that goes back was taken")
	}
	if n := count(t, pool, `select next_offset from log_offsets`); n != 1 {
		t.Errorf("next offset %d, want 1", n)
	}
}
