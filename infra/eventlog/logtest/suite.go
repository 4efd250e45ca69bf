// Package logtest is the conformance suite of event logs: what every implementation of eventlog.Log must do.
package logtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Topic is a log's content, which can be opened again and again.
type Topic struct {
	// Open opens it. The suite closes what it opened before it opens it again, unless Shared.
	Open func(t testing.TB) eventlog.Log
	// Group makes consumer names that no other test uses.
	Group string
}

// Kind is an implementation under test.
type Kind struct {
	// New makes an empty log of so many partitions.
	New func(t testing.TB, partitions int) Topic
	// Shared: several processes may have the log open, and share partitions.
	Shared bool
	// Lasts: records survive the closing of the log.
	Lasts bool
}

// Run runs the suite.
func Run(t *testing.T, k Kind) {
	tests := []struct {
		name string
		f    func(t *testing.T, k Kind)
	}{
		{"append and read in order", testOrder},
		{"read from any offset", testOffsets},
		{"survive closing", testReopen},
		{"batches are bounded", testBatches},
		{"idle and empty", testIdle},
		{"at end is true", testAtEnd},
		{"follow the end", testFollow},
		{"an error of Batch is a new start", testBatchError},
		{"an error of Assigned is a new start", testAssignError},
		{"large records", testLarge},
		{"end", testEnd},
		{"trim", testTrim},
		{"groups are apart", testGroups},
		{"stop", testStop},
		{"closed", testClosed},
		{"arguments", testArguments},
		{"appender", testAppender},
		{"two members share", testShare},
		{"a member that hangs is fenced", testFenced},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { tc.f(t, k) })
	}
}

// open opens a topic and closes it with the test.
func open(t *testing.T, topic Topic) eventlog.Log {
	t.Helper()
	l := topic.Open(t)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// put appends values as one batch and returns the offset of the first.
func put(t testing.TB, l eventlog.Log, partition int, values ...string) int64 {
	t.Helper()
	bs := make([][]byte, len(values))
	for i, v := range values {
		bs[i] = []byte(v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first, err := l.AppendBatch(ctx, partition, bs)
	if err != nil {
		t.Fatalf("AppendBatch: %v", err)
	}
	return first
}

// numbered returns n values, each of which says its partition and number.
func numbered(partition, from, n int) []string {
	vs := make([]string, n)
	for i := range vs {
		vs[i] = fmt.Sprintf("p%d-%06d", partition, from+i)
	}
	return vs
}

// records are values at consecutive offsets.
func records(first int64, values []string) []Record {
	rs := make([]Record, len(values))
	for i, v := range values {
		rs[i] = Record{first + int64(i), v}
	}
	return rs
}

func testOrder(t *testing.T, k Kind) {
	topic := k.New(t, 3)
	l := open(t, topic)
	if l.Partitions() != 3 {
		t.Fatalf("%d partitions", l.Partitions())
	}
	want := map[int][]string{}
	for i, n := range []int{1, 7, 1, 100, 3, 1} {
		for p := range 3 {
			vs := numbered(p, len(want[p]), n+p)
			if first := put(t, l, p, vs...); first != int64(len(want[p])) {
				t.Errorf("append %d to partition %d: first offset %d instead of %d", i, p, first, len(want[p]))
			}
			want[p] = append(want[p], vs...)
		}
	}
	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"order", r)
	for p := range 3 {
		r.AwaitCount(p, len(want[p]))
		if d := cmp.Diff(records(0, want[p]), r.Got(p)); d != "" {
			t.Errorf("partition %d (-want +got):\n%s", p, d)
		}
	}
}

func testOffsets(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	var all []string
	for _, n := range []int{5, 1, 10, 4} { // so that offsets fall into the middle of appends
		vs := numbered(0, len(all), n)
		put(t, l, 0, vs...)
		all = append(all, vs...)
	}
	for _, from := range []int{0, 1, 4, 5, 6, 15, 19} {
		store := NewOffsets()
		store.Set(0, int64(from))
		r := NewRecorder(t, store)
		stop := Consume(t, l, fmt.Sprintf("%sfrom%d", topic.Group, from), r)
		r.AwaitCount(0, len(all)-from)
		stop()
		if d := cmp.Diff(records(int64(from), all[from:]), r.Got(0)); d != "" {
			t.Errorf("from %d (-want +got):\n%s", from, d)
		}
	}
	store := NewOffsets()
	store.Set(0, int64(len(all)))
	r := NewRecorder(t, store)
	Consume(t, l, topic.Group+"fromend", r)
	r.Await("an idle batch at the end", func() bool { return atEnds(r) > 0 })
	put(t, l, 0, "more")
	r.AwaitCount(0, 1)
	if d := cmp.Diff([]Record{{int64(len(all)), "more"}}, r.Got(0)); d != "" {
		t.Errorf("from the end (-want +got):\n%s", d)
	}
}

// atEnds counts the batches that said they were at the end.
func atEnds(r *Recorder) int {
	n := 0
	for _, c := range r.Calls() {
		if c.Kind == "batch" && c.AtEnd {
			n++
		}
	}
	return n
}

func testReopen(t *testing.T, k Kind) {
	if !k.Lasts {
		t.Skip("it lives in memory")
	}
	topic := k.New(t, 2)
	var id string
	want := []string{}
	for i := range 4 {
		l := topic.Open(t)
		if id == "" {
			id = l.ID()
		}
		if l.ID() != id || id == "" {
			t.Errorf("opened again, the id is %q instead of %q", l.ID(), id)
		}
		vs := numbered(1, len(want), 10+i)
		if first := put(t, l, 1, vs...); first != int64(len(want)) {
			t.Errorf("opened again, the first offset is %d instead of %d", first, len(want))
		}
		want = append(want, vs...)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := NewRecorder(t, NewOffsets())
	Consume(t, open(t, topic), topic.Group+"reopen", r)
	r.AwaitCount(1, len(want))
	if d := cmp.Diff(records(0, want), r.Got(1)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func testBatches(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	const n = 12_500
	for i := 0; i < n; i += 2500 {
		put(t, l, 0, numbered(0, i, 2500)...)
	}
	put(t, l, 0, numbered(0, n, eventlog.DefaultMaxBatch+1)...) // one append that is larger than a batch
	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"batches", r)
	r.AwaitCount(0, n+eventlog.DefaultMaxBatch+1)
	calls := 0
	for _, c := range r.Calls() {
		if c.Records > eventlog.DefaultMaxBatch {
			t.Errorf("a batch of %d records", c.Records)
		}
		if c.Records > 0 {
			calls++
		}
	}
	if calls > n/100 {
		t.Errorf("%d records came in %d batches: too small", n, calls)
	}
	for i, rec := range r.Got(0) {
		if want := numbered(0, i, 1)[0]; rec.Value != want {
			t.Fatalf("record %d is %q", i, rec.Value)
		}
	}
}

func testFollow(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"follow", r)
	r.Await("the assignment", func() bool { return atEnds(r) > 0 })
	var slowest time.Duration
	for i := range 20 {
		put(t, l, 0, numbered(0, i, 1)...)
		start := time.Now()
		r.AwaitCount(0, i+1)
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("the slowest of 20 single records came after %v", slowest)
	if slowest > 2*time.Second {
		t.Errorf("a record took %v to come", slowest)
	}
}

func testLarge(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	var all []string
	for i := range 3 {
		all = append(all, strings.Repeat(string(rune('a'+i)), 1<<20))
	}
	all = append(all, "", "small") // an empty value is a value
	put(t, l, 0, all...)
	var many []string
	for i := range 80 {
		many = append(many, strings.Repeat(fmt.Sprintf("%02d", i), 50_000)) // 8 MB in one append
	}
	put(t, l, 0, many...)
	all = append(all, many...)
	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"large", r)
	r.AwaitCount(0, len(all))
	for i, rec := range r.Got(0) {
		if rec.Value != all[i] {
			t.Errorf("record %d: %d bytes instead of %d, or others", i, len(rec.Value), len(all[i]))
		}
	}
}

func testEnd(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	ctx := context.Background()
	for i, want := range []int64{0, 4, 8} {
		if i > 0 {
			put(t, l, 1, numbered(1, i*4, 4)...)
		}
		if end, err := l.End(ctx, 1); err != nil || end != want {
			t.Errorf("End(1) is %d, %v instead of %d", end, err, want)
		}
		if end, err := l.End(ctx, 0); err != nil || end != 0 {
			t.Errorf("End(0) is %d, %v instead of 0", end, err)
		}
	}
}

func testGroups(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	a, b := NewRecorder(t, NewOffsets()), NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"a", a)
	Consume(t, l, topic.Group+"b", b)
	for p := range 2 {
		put(t, l, p, numbered(p, 0, 10)...)
	}
	for _, r := range []*Recorder{a, b} {
		for p := range 2 {
			r.AwaitCount(p, 10)
			if d := cmp.Diff(records(0, numbered(p, 0, 10)), r.Got(p)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		}
	}
}

// testTrim: what a consumer has not read is never trimmed, and offsets go on.
func testTrim(t *testing.T, k Kind) {
	topic := k.New(t, 1)
	l := open(t, topic)
	all := numbered(0, 0, 200)
	for i := 0; i < 200; i += 10 {
		put(t, l, 0, all[i:i+10]...)
	}
	store := NewOffsets()
	for _, offset := range []int64{95, 30, 200, 1000} {
		if err := l.Trim(context.Background(), 0, offset); err != nil {
			t.Fatal(err)
		}
		if offset != 95 {
			continue
		}
		store.Set(0, offset)
		r := NewRecorder(t, store)
		stop := Consume(t, l, topic.Group+"trim", r)
		r.AwaitCount(0, len(all)-int(offset))
		stop()
		if d := cmp.Diff(records(offset, all[offset:]), r.Got(0)); d != "" {
			t.Errorf("trimmed to %d (-want +got):\n%s", offset, d)
		}
	}
	if first := put(t, l, 0, "next"); first != 200 {
		t.Errorf("after trimming all the next offset is %d", first)
	}
}
