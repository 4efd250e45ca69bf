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
	"github.com/hashicorp/raft-wal/types"

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

// Reading from the start to the end, as a consumer that has fallen behind does.
func BenchmarkRead(b *testing.B) {
	for name, perEntry := range map[string]int{"1 an append": 1, "32 an append": 32} {
		b.Run(name, func(b *testing.B) {
			l, err := Open(Options{Dir: b.TempDir(), files: unsynced{}})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			const n = 128_000
			values := make([][]byte, perEntry)
			for i := range values {
				values[i] = ping("")
			}
			for range n / perEntry {
				if _, err := l.AppendBatch(context.Background(), 0, values); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r, err := l.open(context.Background(), 0, 0)
				if err != nil {
					b.Fatal(err)
				}
				for got := 0; got < n; {
					recs, _, err := r.Next(context.Background(), 0)
					if err != nil {
						b.Fatal(err)
					}
					got += len(recs)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// unsynced makes writing quick, where it is not what is measured.
type unsynced struct{ osFiles }

func (u unsynced) Create(dir, name string, size uint64) (types.WritableFile, error) {
	w, err := u.osFiles.Create(dir, name, size)
	return unsyncedFile{w}, err
}

type unsyncedFile struct{ types.WritableFile }

func (unsyncedFile) Sync() error { return nil }
