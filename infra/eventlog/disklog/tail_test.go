package disklog

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// TestReaderKeepsUp reads at the very end of the log while records of every size are appended, across many segments. What
// the reader has read of the file ahead of the appends must never be taken for what stands there later.
func TestReaderKeepsUp(t *testing.T) {
	const records = 20_000
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 64 << 10, Logger: quiet(t)})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		for n := uint64(0); n < records; {
			var batch [][]byte
			for range 1 + rnd.IntN(20) {
				size := 8 + rnd.IntN(64)
				if rnd.IntN(50) == 0 {
					size = 8 + rnd.IntN(40<<10) // across a window
				}
				b := make([]byte, size)
				binary.BigEndian.PutUint64(b, n)
				b[size-1] = byte(n)
				batch = append(batch, b)
				n++
			}
			if _, err := l.AppendBatch(ctx, 0, batch); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		wg.Go(func() { follow(ctx, t, l, records) })
	}
	wg.Wait()
}

func follow(ctx context.Context, t *testing.T, l *Log, records int64) {
	r, err := l.parts[0].reader(0, 1000)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = r.Close() }()
	for next := int64(0); next < records; {
		recs, _, err := r.Next(ctx, eventlog.IdleWait)
		if err != nil {
			t.Errorf("at offset %d: %v", next, err)
			return
		}
		for _, rec := range recs {
			n := binary.BigEndian.Uint64(rec.Value)
			if rec.Offset != next || n != uint64(next) || len(rec.Value) > 8 && rec.Value[len(rec.Value)-1] != byte(n) {
				t.Errorf("offset %d holds record %d where %d should be", rec.Offset, n, next)
				return
			}
			next++
		}
	}
}
