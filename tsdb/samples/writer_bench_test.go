package samples_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
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
	for _, level := range []string{"plain", "apache", "community"} {
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
	b.ReportMetric(bytesPerSample(b, pool), "B/sample")
}

// bytesPerSample is what samples and their indexes take on disk.
func bytesPerSample(b testing.TB, pool *pgxpool.Pool) float64 {
	b.Helper()
	var size, n float64
	err := pool.QueryRow(ctxFor(b), `
		select case when tokiflow_level() = 'plain' then pg_total_relation_size('samples')
		       else (select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'samples'::regclass) end
		       + pg_total_relation_size('samples_packed'), (select count(*) from samples)`).Scan(&size, &n)
	if err != nil {
		b.Fatal(err)
	}
	return size / n
}
