package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/disklog"
)

// reader is a consumer that gathers the pings of all partitions, until each has been read to its end.
type reader struct {
	mu    sync.Mutex
	pings []record.Ping
	err   error
	ended map[int]bool
	done  func()
	want  int
}

func (r *reader) Assigned(context.Context, int) (int64, error) { return 0, nil }
func (r *reader) Revoked(int)                                  {}

func (r *reader) Batch(_ context.Context, partition int, recs []record.Entry, atEnd bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range recs {
		h, err := record.ParseHeader(e.Value)
		if err == nil && h.Type == record.TypePing {
			var p record.Ping
			if p, err = record.ParsePing(append([]byte(nil), e.Value...)); err == nil {
				r.pings = append(r.pings, p)
			}
		}
		r.err = errors.Join(r.err, err)
	}
	if r.ended[partition] = r.ended[partition] || atEnd; atEnd && len(r.ended) == r.want {
		r.done()
	}
	return nil
}

// TestPingsReachTheDisk sends pings of every kind to an Ingest on a real log on disk, closes that, and reads it anew: each
// answered ping is there once, as it was sent.
func TestPingsReachTheDisk(t *testing.T) {
	const partitions = 4
	dir := t.TempDir()
	disk, err := disklog.Open(disklog.Options{Dir: dir, Partitions: partitions, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	log := eventlog.NewAppender(disk, eventlog.AppenderOptions{})
	ctx, stop := context.WithCancel(t.Context())
	markers := make(chan error, 1)
	go func() { markers <- log.Run(ctx) }()

	b := start(t, func(o *Options) { o.Appender, o.Partitions = log, partitions })
	for i := range 50 {
		b.src.set(targetOf(orgA(), projA(), uuid.NewString(), fmt.Sprintf("job-%d", i)))
	}
	var mu sync.Mutex
	answered := map[string]string{} // ping id → body
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				body := strings.Repeat(fmt.Sprintf("%d/%d ", w, i), 1+i*i)
				r := b.do(http.MethodPost, fmt.Sprintf("/ping/%s/job-%d/%d", projKey, (w*20+i)%50, i%3), strings.NewReader(body))
				r.want(t, 200, "OK")
				mu.Lock()
				answered[r.header.Get("Ping-Id")] = body
				mu.Unlock()
			}
		})
	}
	var batch strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&batch, "{\"slug\":\"job-%d\",\"kind\":\"log\",\"body\":\"batch\"}\n", i%50)
	}
	if a := b.batch(strings.NewReader(batch.String())).taken(t); a.Accepted != 1000 {
		t.Errorf("%+v", a)
	}
	wg.Wait()
	stop()
	if err := <-markers; err != nil {
		t.Fatal(err)
	}
	b.get("/ping/"+mainKey).want(t, 503, "try again") // the log takes no more
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}

	disk, err = disklog.Open(disklog.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	ctx, done := context.WithCancel(t.Context())
	r := &reader{ended: map[int]bool{}, done: done, want: partitions}
	if err := disk.Consume(ctx, "test", r); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	batched := 0
	for _, p := range r.pings {
		if string(p.Body) == "batch" {
			batched++
			continue
		}
		want, ok := answered[p.ID.String()]
		if !ok || string(p.Body) != want || p.At.IsZero() {
			t.Errorf("ping %v: %d bytes of body at %v; answered: %v", p.ID, len(p.Body), p.At, ok)
		}
		delete(answered, p.ID.String())
	}
	if len(answered) > 0 || batched != 1000 {
		t.Errorf("%d answered pings are missing; %d of 1000 of the batch are there", len(answered), batched)
	}
}
