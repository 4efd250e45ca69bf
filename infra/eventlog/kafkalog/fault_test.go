package kafkalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// TestKillBroker kills the broker under load, several times. Every record that was answered for is read, by a consumer
// that was there all the time and by one that comes later; a record that is in the log twice has the same stamp.
func TestKillBroker(t *testing.T) {
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	if n, err := strconv.Atoi(os.Getenv("TOKIFLOW_TEST_ROUNDS")); err == nil {
		rounds = n
	}
	broker := services.StartKafka(t, services.KafkaOptions{})
	const partitions = 3
	l := mustOpen(t, Options{Brokers: []string{broker.Addr}, Topic: "kill", Partitions: partitions, Logger: testLogger(t)})
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{Logger: testLogger(t)})
	runCtx, stopRun := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(runCtx) }()
	always := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "always", always)

	var answered sync.Map // number to partition
	var next, refused atomic.Int64
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				n := uint64(next.Add(1))
				p := int(n % partitions)
				if _, err := a.Append(context.Background(), p, logtest.Ping(n)); err == nil {
					answered.Store(n, p)
				} else if refused.Add(1); !errors.Is(err, eventlog.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	for range rounds {
		time.Sleep(time.Duration(500+rand.IntN(2000)) * time.Millisecond)
		broker.Kill(t)
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		broker.Restart(t)
	}
	time.Sleep(time.Second)
	close(stop)
	writers.Wait()
	stopRun()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}

	later := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "later", later)
	total, twice := 0, 0
	seen := map[uint64]bool{}
	for p := range partitions {
		end, err := l.End(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*logtest.Recorder{always, later} {
			r.AwaitCount(p, int(end))
		}
		one, two := always.Got(p), later.Got(p)
		var last uint64
		for i := range one {
			if one[i] != two[i] {
				t.Fatalf("partition %d: two consumers read different records at %d", p, i)
			}
			h, err := record.ParseHeader([]byte(one[i].Value))
			if err != nil {
				t.Fatal(err)
			}
			if h.Seq <= last {
				twice++ // a retry; whoever reads knows it by its number
				continue
			}
			last = h.Seq
			seen[logtest.Number([]byte(one[i].Value))] = true
		}
		total += len(one)
	}
	lost := 0
	answered.Range(func(n, _ any) bool {
		if !seen[n.(uint64)] {
			lost++
		}
		return true
	})
	if lost > 0 {
		t.Errorf("%d pings were answered for and are lost", lost)
	}
	t.Logf("%d rounds: %d records, %d of them twice, %d refused", rounds, total, twice, refused.Load())
}

// A broker that is gone for longer than the append timeout: appends are refused in time, and go on when it is back.
func TestBrokerAway(t *testing.T) {
	broker := services.StartKafka(t, services.KafkaOptions{})
	l := mustOpen(t, Options{Brokers: []string{broker.Addr}, Topic: "away", Partitions: 1, Logger: testLogger(t)})
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: time.Second, Logger: testLogger(t)})
	if _, err := a.Append(t.Context(), 0, logtest.Ping(1)); err != nil {
		t.Fatal(err)
	}
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "c", r)
	r.AwaitCount(0, 1)
	broker.Kill(t)
	start, away := time.Now(), time.Now()
	if _, err := a.Append(t.Context(), 0, logtest.Ping(2)); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("Append without a broker: %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it was refused after %v", d)
	}
	if a.Healthy() == nil {
		t.Error("healthy without a broker")
	}
	calls := len(r.Calls())
	r.Await("idle batches without a broker", func() bool { return len(r.Calls()) > calls+5 })
	if n := len(r.Owned()); n != 1 {
		t.Errorf("%d partitions assigned", n)
	}
	broker.Restart(t)
	start = time.Now()
	for n := uint64(3); ; n++ {
		if _, err := a.Append(t.Context(), 0, logtest.Ping(n)); err == nil {
			break
		}
	}
	t.Logf("appending went on %v after the restart", time.Since(start))
	start = time.Now()
	r.Await("the new record", func() bool { return len(r.Got(0)) >= 2 })
	t.Logf("reading went on %v later", time.Since(start))
	// Longer than its session a consumer must not hold on to what it has.
	if n := assignedTimes(r); n != 1 && time.Since(away) < defaultSessionTimeout {
		t.Errorf("the partition was assigned %d times: a restart of the broker is no reason to", n)
	}
}

func assignedTimes(r *logtest.Recorder) int {
	n := 0
	for _, c := range r.Calls() {
		if c.Kind == "assigned" {
			n++
		}
	}
	return n
}

// Records that the topic's retention has removed: the consumer is told, and goes on with the oldest.
func TestExpiredRecords(t *testing.T) {
	l := mustOpen(t, Options{Brokers: []string{fakeBroker(t)}, Topic: "expired", Partitions: 1, Logger: testLogger(t)})
	for range 3 {
		if _, err := l.AppendBatch(t.Context(), 0, [][]byte{[]byte("a"), []byte("b")}); err != nil {
			t.Fatal(err)
		}
	}
	store := logtest.NewOffsets()
	store.Set(0, 100) // read from a topic that was deleted and made again
	r := logtest.NewRecorder(t, store)
	logtest.Consume(t, l, "c", r)
	r.Await("the loss", func() bool { return len(r.Losses()) > 0 })
	if err := r.Losses()[0]; !errors.Is(err, eventlog.ErrBeyondEnd) || err.Error() != "the log ends before what was already read from it: asked for offset 100, the log ends at 6; was an older copy of it restored?" {
		t.Errorf("told: %v", err)
	}
	if _, err := l.AppendBatch(t.Context(), 0, [][]byte{[]byte("new")}); err != nil {
		t.Fatal(err)
	}
	r.AwaitCount(0, 1)
	if got := r.Got(0)[0]; got != (logtest.Record{Offset: 6, Value: "new"}) {
		t.Errorf("reading went on with %v", got)
	}
}
