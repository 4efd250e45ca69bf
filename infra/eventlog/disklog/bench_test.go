package disklog

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

func ping(body string) []byte {
	return record.AppendPing(make([]byte, 0, 192), &record.Ping{
		ID: uuid.New(), Monitor: uuid.New(), Kind: record.Success, ExitCode: -1, Duration: -1,
		RemoteAddr: "192.0.2.1", UserAgent: "curl/8.5.0", Method: "GET", Body: []byte(body),
	})
}

// appenders runs f from n goroutines b.N times in all.
func appenders(b *testing.B, n int, f func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkAppend64(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var flights atomic.Int64
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{Observe: func(int, time.Duration, error) { flights.Add(1) }})
	b.ReportAllocs()
	b.ResetTimer()
	appenders(b, 64, func() error {
		_, err := a.Append(context.Background(), 0, ping(""))
		return err
	})
	b.ReportMetric(float64(b.N)/float64(flights.Load()), "records/fsync")
}

// The bare minimum: a goroutine for each caller, one write and one fsync for whatever has come together.
func BenchmarkBaseline64(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	type req struct {
		rec  []byte
		done chan error
	}
	ch := make(chan req, 64)
	go func() {
		var buf []byte
		var waiting []req
		for r := range ch {
			waiting = append(waiting[:0], r)
			for len(ch) > 0 {
				waiting = append(waiting, <-ch)
			}
			buf = buf[:0]
			for _, w := range waiting {
				buf = append(buf, w.rec...)
			}
			_, err := f.Write(buf)
			if err == nil {
				err = f.Sync()
			}
			for _, w := range waiting {
				w.done <- err
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	appenders(b, 64, func() error {
		r := req{ping(""), make(chan error, 1)}
		ch <- r
		return <-r.done
	})
	close(ch)
}
