package tsdb_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// BenchmarkWriter writes pings of 10,000 monitors, in the batches in which the log hands them over, from 1 and from 2
// partitions at once. One op is one ping.
func BenchmarkWriter(b *testing.B) {
	for _, level := range []string{"plain", "community"} {
		for _, partitions := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/partitions=%d", level, partitions), func(b *testing.B) { benchmarkWriter(b, level, partitions) })
		}
	}
}

func benchmarkWriter(b *testing.B, level string, partitions int) {
	const batch = 5_000
	pool := pgtest.On(b, level)
	w := newWriter(pool)
	for p := range partitions {
		if _, err := w.Assigned(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	each := b.N/partitions + 1
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	for p := range partitions {
		go func() {
			done <- func() error {
				recs := make([]record.Entry, 0, batch)
				for n := 0; n < each; {
					recs = recs[:0]
					for len(recs) < batch && n < each {
						recs = append(recs, record.Entry{Offset: int64(n), Value: benchRecord(p, n)})
						n++
					}
					if err := w.Batch(b.Context(), p, recs, false); err != nil {
						return err
					}
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
	b.ReportMetric(float64(each*partitions)/b.Elapsed().Seconds(), "pings/s")
}

func benchRecord(partition, n int) []byte {
	ping := record.Ping{
		Org: org(1), Kind: record.Success, ExitCode: record.NoExitCode, Duration: record.NoDuration,
		RemoteAddr: "192.0.2.17", UserAgent: "curl/8.5.0", Method: "GET",
	}
	ping.Monitor = monitorID(n % 10_000)
	binary.BigEndian.PutUint64(ping.ID[:], uint64(n))
	ping.ID[15] = byte(partition)
	rec := record.AppendPing(nil, &ping)
	record.Stamp(rec, uint64(partition)+1, uint64(n)+1, at("2026-03-01 00:00:00").Add(time.Duration(n)*20*time.Microsecond))
	return rec
}

// monitorID is the n-th monitor's, spread like random ids.
func monitorID(n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, binary.BigEndian.AppendUint32(nil, uint32(n)))
}
