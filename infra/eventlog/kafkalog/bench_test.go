package kafkalog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// benchAppend lets 64 callers append to 8 partitions, as 64 connections of many monitors do.
func benchAppend(b *testing.B, broker, compression string) {
	var n atomic.Int64
	l := mustOpen(b, Options{Brokers: []string{broker}, Topic: topicName(b, &n), Compression: compression})
	var requests, records atomic.Int64
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{Observe: func(n int, _ time.Duration, err error) {
		if err == nil {
			requests.Add(1)
			records.Add(int64(n))
		}
	}})
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if _, err := a.Append(context.Background(), int(i*7%8), logtest.Ping(uint64(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(records.Load())/float64(requests.Load()), "records/batch")
}

// cpuTime is what this process has used, the broker in it included where it is a fake one.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkAppend64Fake(b *testing.B) { benchAppend(b, fakeBroker(b), "lz4") }

func BenchmarkAppend64(b *testing.B) {
	for _, c := range []string{"none", "lz4", "zstd", "snappy"} {
		b.Run(c, func(b *testing.B) { benchAppend(b, services.Kafka(b), c) })
	}
}

// counter is a Consumer that only counts.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func (c *counter) Assigned(context.Context, int) (int64, error) { return 0, nil }
func (c *counter) Revoked(int)                                  {}
func (c *counter) Batch(_ context.Context, _ int, recs []record.Entry, _ bool) error {
	if len(recs) > 0 && c.left.Add(-int64(len(recs))) == 0 {
		close(c.done)
	}
	return nil
}

func benchRead(b *testing.B, broker, compression string) {
	var n atomic.Int64
	l := mustOpen(b, Options{Brokers: []string{broker}, Topic: topicName(b, &n), Compression: compression})
	const total = 400_000
	values := make([][]byte, 100)
	for i := range total / len(values) {
		for j := range values {
			values[j] = logtest.Ping(uint64(i*len(values) + j))
		}
		if _, err := l.AppendBatch(context.Background(), i%8, values); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	cpu := cpuTime()
	for i := range b.N {
		c := &counter{done: make(chan struct{})}
		c.left.Store(total)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = l.Consume(ctx, fmt.Sprintf("bench%d", i), c) // ctx ends it
		}()
		<-c.done
		cancel()
		<-ended
	}
	b.ReportMetric(float64(b.N)*total/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/total, "cpu-ns/record")
}

func BenchmarkReadFake(b *testing.B) { benchRead(b, fakeBroker(b), "lz4") }

func BenchmarkRead(b *testing.B) {
	for _, c := range []string{"none", "lz4", "zstd"} {
		b.Run(c, func(b *testing.B) { benchRead(b, services.Kafka(b), c) })
	}
}

// BenchmarkIdle is what a consumer of eight quiet partitions costs this process in a second.
func BenchmarkIdle(b *testing.B) {
	var n atomic.Int64
	l := mustOpen(b, Options{Brokers: []string{services.Kafka(b)}, Topic: topicName(b, &n)})
	r := logtest.NewRecorder(b, logtest.NewOffsets())
	logtest.Consume(b, l, "idle", r)
	r.Await("all partitions", func() bool { return len(r.Owned()) == 8 })
	b.ResetTimer()
	cpu := cpuTime()
	for range b.N {
		time.Sleep(time.Second)
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1e6, "cpu-ms/s")
}
