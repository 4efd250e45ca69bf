package samples_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// scraper makes records as Prometheus' remote write sends them: 10,000 series, each with a sample every 15 s, in requests of
// 2,000.
type scraper struct {
	series []series.Series
	rand   *rand.Rand
	now    time.Time
	next   int
	n      int // records made
}

func newScraper(partition, n int) *scraper {
	s := &scraper{rand: rand.New(rand.NewPCG(1, uint64(partition))), now: at("2026-03-01 00:00:00")}
	for i := range n {
		s.series = append(s.series, series.Series{
			Labels: labelled("__name__", fmt.Sprintf("node_metric_%d_total", i/100), "instance", fmt.Sprintf("host-%d.example.net:9100", i%100),
				"job", "node", "partition", fmt.Sprint(partition), "device", "nvme0n1", "mode", "idle", "cluster", "eu-west-1", "env", "production"),
			Floats: []series.Float{{At: s.now.UnixMilli(), Value: float64(s.rand.IntN(1 << 20))}},
		})
	}
	return s
}

// record makes the next one. A third of the series are constant, a third counters, a third gauges with a few digits.
func (s *scraper) record() []byte {
	const request = 2_000
	if s.next >= len(s.series) {
		s.next = 0
		s.now = s.now.Add(15 * time.Second)
	}
	some := s.series[s.next:min(s.next+request, len(s.series))]
	for i := range some {
		f := &some[i].Floats[0]
		f.At = s.now.UnixMilli() + int64(i%7)
		switch i % 3 {
		case 1:
			f.Value += float64(s.rand.IntN(1000))
		case 2:
			f.Value = float64(s.rand.IntN(100_000)) / 100
		}
	}
	s.next += request
	s.n++
	rec := record.AppendSamples(nil, org(1), some, nil)
	record.Stamp(rec, 9, uint64(s.n), s.now)
	return rec
}

// BenchmarkWriter writes 10,000 series from 1 and from 2 partitions at once. One op is one sample.
func BenchmarkWriter(b *testing.B) {
	for _, level := range []string{"plain", "community"} {
		for _, partitions := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/partitions=%d", level, partitions), func(b *testing.B) { benchmarkWriter(b, level, partitions) })
		}
	}
}

func benchmarkWriter(b *testing.B, level string, partitions int) {
	pool := pgtest.On(b, level)
	w := newWriter(pool)
	all := make([][]record.Entry, partitions)
	total := 0
	for p := range partitions {
		if _, err := w.Assigned(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		s := newScraper(p, 10_000/partitions)
		for n := 0; n < b.N/partitions+1; n += 2_000 {
			all[p] = append(all[p], record.Entry{Offset: int64(len(all[p])), Value: s.record()})
			total += 2_000
		}
	}
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	for p := range partitions {
		go func() {
			done <- func() error {
				for recs := all[p]; len(recs) > 0; {
					n := min(8, len(recs))
					if err := w.Batch(b.Context(), p, recs[:n], false); err != nil {
						return err
					}
					recs = recs[n:]
				}
				return nil
			}()
		}()
	}
	for range partitions {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(bytesPerSample(b, pool, total), "B/sample")
}

// bytesPerSample is what n samples and their indexes take on disk.
func bytesPerSample(b testing.TB, pool *pgxpool.Pool, n int) float64 {
	b.Helper()
	size := count(b, pool, `select pg_total_relation_size('samples_packed') + pg_total_relation_size('samples')`)
	if count(b, pool, `select count(*) from pg_extension where extname = 'timescaledb'`) == 1 {
		size = count(b, pool, `select hypertable_size('samples')`)
	}
	return float64(size) / float64(n)
}

// BenchmarkDisk writes 1,000 series of one day and says what a sample takes: as rows, and packed or compressed; and how long it takes
// to read 100 and 1,000 series of an hour and of the day, from both.
func BenchmarkDisk(b *testing.B) {
	for _, level := range []string{"plain", "community"} {
		b.Run(level, func(b *testing.B) {
			pool := pgtest.On(b, level)
			w := newWriter(pool)
			if _, err := w.Assigned(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
			s := newScraper(0, 1_000)
			const total = 24 * 240
			for n := range total {
				if err := w.Batch(b.Context(), 0, []record.Entry{{Offset: int64(n), Value: s.record()}}, false); err != nil {
					b.Fatal(err)
				}
			}
			for ended := false; !ended; {
				if err := w.Batch(b.Context(), 0, nil, true); err != nil {
					b.Fatal(err)
				}
				ended = count(b, pool, `select count(*) from samples`) == total*1_000
			}
			exec(b, pool, `vacuum analyze samples`)
			exec(b, pool, `analyze series`)
			b.ReportMetric(bytesPerSample(b, pool, total*1_000), "B/row")
			readAll(b, pool, s.now, "rows")
			begun := time.Now()
			if level == "plain" {
				u, err := samples.NewUpkeep(pool, 0, slog.New(slog.DiscardHandler))
				if err != nil {
					b.Fatal(err)
				}
				if err := u.Once(b.Context(), s.now.Add(24*time.Hour)); err != nil {
					b.Fatal(err)
				}
			} else {
				exec(b, pool, `select compress_chunk(c) from show_chunks('samples') c`)
			}
			b.ReportMetric(total*1_000/time.Since(begun).Seconds(), "packed/s")
			exec(b, pool, `vacuum full samples`)
			exec(b, pool, `vacuum analyze samples_packed`)
			b.ReportMetric(bytesPerSample(b, pool, total*1_000), "B/packed")
			readAll(b, pool, s.now, "packed")
		})
	}
}

func readAll(b *testing.B, pool *pgxpool.Pool, end time.Time, kind string) {
	b.Helper()
	store := samples.NewStore(pool, samples.Options{})
	var lines []string
	defer func() { b.Log(strings.Join(lines, "\n")) }() // go test keeps ten logs of a benchmark
	for _, back := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, c := range []struct {
			name    string
			matcher *labels.Matcher
			series  int
		}{
			{"1", labels.MustNewMatcher(labels.MatchEqual, "instance", "host-7.example.net:9100"), 10},
			{"100", labels.MustNewMatcher(labels.MatchEqual, "__name__", "node_metric_3_total"), 100},
			{"1000", labels.MustNewMatcher(labels.MatchRegexp, "__name__", "node_.+"), 1000},
		} {
			best := time.Hour
			for range 5 {
				begun := time.Now()
				q, err := store.Queryable(org(1)).Querier(end.Add(-back).UnixMilli(), end.UnixMilli())
				if err != nil {
					b.Fatal(err)
				}
				set, n := q.Select(b.Context(), true, nil, c.matcher), 0
				for set.Next() {
					n++
				}
				if set.Err() != nil || n != c.series {
					b.Fatal(n, set.Err())
				}
				best = min(best, time.Since(begun))
			}
			lines = append(lines, fmt.Sprintf("%s: %4d series, %6v: %v", kind, c.series, back, best))
		}
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(ctxFor(t), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (n int64) {
	t.Helper()
	if err := pool.QueryRow(ctxFor(t), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// BenchmarkLate writes samples that are all older than those already there, as a sender's backlog behind a restart: each is looked up.
func BenchmarkLate(b *testing.B) {
	for _, level := range []string{"plain", "community"} {
		b.Run(level, func(b *testing.B) {
			pool := pgtest.On(b, level)
			w := newWriter(pool)
			if _, err := w.Assigned(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
			s := newScraper(0, 10_000)
			s.now = s.now.Add(12 * time.Hour)
			var recs []record.Entry
			for n := range 5 + b.N/2_000 {
				if n == 5 {
					s.now = s.now.Add(-11 * time.Hour)
				}
				recs = append(recs, record.Entry{Offset: int64(n), Value: s.record()})
			}
			if err := w.Batch(b.Context(), 0, recs[:5], false); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for recs = recs[5:]; len(recs) > 0; {
				n := min(8, len(recs))
				if err := w.Batch(b.Context(), 0, recs[:n], false); err != nil {
					b.Fatal(err)
				}
				recs = recs[n:]
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// BenchmarkRestart is the first scrape of 10,000 series behind a restart, over ten days of samples: each series is asked for.
func BenchmarkRestart(b *testing.B) {
	for _, level := range []string{"plain", "community"} {
		b.Run(level, func(b *testing.B) {
			pool := pgtest.On(b, level)
			w := newWriter(pool)
			s := newScraper(0, 10_000)
			offset := int64(0)
			scrape := func(w *samples.Writer) {
				var recs []record.Entry
				for range 5 {
					recs = append(recs, record.Entry{Offset: offset, Value: s.record()})
					offset++
				}
				if err := w.Batch(b.Context(), 0, recs, false); err != nil {
					b.Fatal(err)
				}
			}
			for range 10 {
				if _, err := w.Assigned(b.Context(), 0); err != nil {
					b.Fatal(err)
				}
				scrape(w)
				s.now = s.now.Add(24 * time.Hour)
			}
			exec(b, pool, `analyze samples, series`)
			b.ResetTimer()
			for range b.N {
				if _, err := w.Assigned(b.Context(), 0); err != nil {
					b.Fatal(err)
				}
				scrape(w)
			}
		})
	}
}
