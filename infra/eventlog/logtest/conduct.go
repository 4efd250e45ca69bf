package logtest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

func testIdle(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"idle", r)
	r.Await("ten batches of an empty log", func() bool { return atEnds(r) >= 20 })
	last := map[int]time.Time{}
	for _, c := range r.Calls() {
		if c.Records != 0 {
			t.Errorf("an empty log gave %d records", c.Records)
		}
		if at, ok := last[c.Partition]; ok && c.At.Sub(at) > 10*eventlog.IdleWait {
			t.Errorf("partition %d: %v between two calls", c.Partition, c.At.Sub(at))
		}
		last[c.Partition] = c.At
	}
}

// testAtEnd holds every atEnd to what was durable before the read began.
func testAtEnd(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	w := &watcher{Recorder: NewRecorder(t, NewOffsets())}
	stop := Consume(t, l, topic.Group+"atend", w)
	const n = 300
	for i := range n {
		put(t, l, 0, numbered(0, i*3, 3)...)
		w.durable.Store(int64(i*3 + 3))
	}
	w.AwaitCount(0, 3*n)
	w.Await("the end", func() bool {
		calls := w.Calls()
		c := calls[len(calls)-1]
		return c.AtEnd && c.Next == 3*n
	})
	stop()
	if w.wrong > 0 {
		t.Errorf("%d of %d times atEnd with records missing", w.wrong, atEnds(w.Recorder))
	}
}

// watcher is a Recorder that counts untrue atEnds.
type watcher struct {
	*Recorder
	durable atomic.Int64 // offset that the writer knows of
	had     int64        // durable when the last batch was done with, which is when the next read begins at the earliest
	wrong   int
}

// Batch is eventlog.Consumer's.
func (w *watcher) Batch(ctx context.Context, partition int, recs []record.Entry, atEnd bool) error {
	err := w.Recorder.Batch(ctx, partition, recs, atEnd)
	w.mu.Lock()
	next := w.next[partition]
	w.mu.Unlock()
	if atEnd && next < w.had {
		w.wrong++
	}
	w.had = w.durable.Load()
	return err
}

func testBatchError(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	all := numbered(0, 0, 30)
	for i := 0; i < 30; i += 5 {
		put(t, l, 0, all[i:i+5]...)
	}
	r := NewRecorder(t, NewOffsets())
	failures := 0
	r.OnBatch(func(_ int, recs []record.Entry) error {
		if len(recs) > 0 && failures < 3 {
			failures++
			return errors.New("as the test wants")
		}
		return nil
	})
	Consume(t, l, topic.Group+"batcherror", r)
	r.AwaitCount(0, 30)
	if d := cmp.Diff(records(0, all), r.Got(0)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want := "assigned batch! revoked assigned batch! revoked assigned batch! revoked assigned batch"
	if got := outline(r.Calls()); !strings.HasPrefix(got, want) {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}

// outline is the calls without idle batches; failed ones have an exclamation mark.
func outline(calls []Call) string {
	var words []string
	for _, c := range calls {
		if c.Kind == "batch" && c.Records == 0 {
			continue
		}
		w := c.Kind
		if c.Failed {
			w += "!"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func testAssignError(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	put(t, l, 0, "a")
	r := NewRecorder(t, NewOffsets())
	failures := 0
	r.OnAssign(func(int) error {
		if failures++; failures <= 2 {
			return errors.New("as the test wants")
		}
		return nil
	})
	Consume(t, l, topic.Group+"assignerror", r)
	r.AwaitCount(0, 1)
	want := "assigned! revoked assigned! revoked assigned batch"
	if got := outline(r.Calls()); !strings.HasPrefix(got, want) {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}

func testStop(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	put(t, l, 0, "a")
	store := NewOffsets()
	r := NewRecorder(t, store)
	stop := Consume(t, l, topic.Group+"stop", r)
	r.AwaitCount(0, 1)
	r.Await("both partitions", func() bool { return len(r.Owned()) == 2 })
	stop()
	if owned := r.Owned(); len(owned) > 0 {
		t.Errorf("still assigned after the end: %v", owned)
	}
	n := len(r.Calls())
	put(t, l, 0, "b")
	again := NewRecorder(t, store)
	Consume(t, l, topic.Group+"stop", again)
	again.AwaitCount(0, 1)
	if d := cmp.Diff([]Record{{1, "b"}}, again.Got(0)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(r.Calls()) != n {
		t.Error("a consumer was called after Consume had returned")
	}
}

func testClosed(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := topic.Open(t)
	put(t, l, 0, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := l.AppendBatch(ctx, 0, [][]byte{[]byte("b")}); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("AppendBatch on a closed log: %v", err)
	}
	if _, err := l.End(ctx, 0); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("End of a closed log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func testArguments(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	ctx := context.Background()
	for _, p := range []int{-1, 2} {
		if _, err := l.AppendBatch(ctx, p, [][]byte{[]byte("a")}); err == nil {
			t.Errorf("an append to partition %d of 2 succeeded", p)
		}
		if _, err := l.End(ctx, p); err == nil {
			t.Errorf("partition %d of 2 has an end", p)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.AppendBatch(ended, 0, [][]byte{[]byte("a")}); err == nil {
		t.Error("an append with an ended context succeeded")
	}
	if err := l.Trim(ctx, 0, 0); err != nil {
		t.Errorf("Trim of nothing: %v", err)
	}
}
