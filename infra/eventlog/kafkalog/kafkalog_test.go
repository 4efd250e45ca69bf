package kafkalog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
	"github.com/tokiflow/tokiflow/test/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testLogger writes what a log says into the test's output.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// fakeBroker starts an in-process broker, for what must be fast.
func fakeBroker(t testing.TB) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// topicName makes names that no other test on the broker has.
func topicName(t testing.TB, n *atomic.Int64) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%s-%d-%d", name[:min(len(name), 60)], time.Now().UnixNano(), n.Add(1))
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // many tests close it earlier
	return l
}

func conformance(t *testing.T, broker string) {
	var n atomic.Int64
	logtest.Run(t, logtest.Kind{
		New: func(t testing.TB, partitions int) logtest.Topic {
			name := topicName(t, &n)
			return logtest.Topic{Open: func(t testing.TB) eventlog.Log {
				return mustOpen(t, Options{Brokers: []string{broker}, Topic: name, Partitions: partitions, Logger: testLogger(t)})
			}}
		},
		Shared: true,
		Lasts:  true,
	})
}

func TestConformanceFake(t *testing.T) { conformance(t, fakeBroker(t)) }

func TestConformance(t *testing.T) { conformance(t, services.Kafka(t)) }
