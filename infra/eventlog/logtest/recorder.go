package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// patience bounds every wait. It is only ever used up by a failure.
const patience = 60 * time.Second

// Recorder is a Consumer that keeps all it gets, and checks the contract while it does. Its committed offsets outlive an
// assignment, as rows of the database would, and a commit is fenced as there: only the last assignee may commit.
type Recorder struct {
	t     testing.TB
	store *Offsets

	mu       sync.Mutex
	epoch    map[int]int64    // of the current assignment
	next     map[int]int64    // expected offset within the assignment
	got      map[int][]Record // what was committed through this Recorder, in order
	calls    []Call
	lost     []error
	changed  chan struct{} // closed and replaced at every call
	onBatch  func(partition int, recs []record.Entry) error
	onAssign func(partition int) error
}

// Record is a copy of an Entry.
type Record struct {
	Offset int64
	Value  string
}

// Call is one call of the Consumer's methods.
type Call struct {
	Kind      string // assigned, batch, revoked
	Partition int
	At        time.Time
	Records   int
	AtEnd     bool
	Next      int64 // offset behind the last record handed over so far
	Failed    bool
}

// Offsets is what the database would hold.
type Offsets struct {
	mu    sync.Mutex
	next  map[int]int64
	epoch map[int]int64
}

// NewOffsets makes an empty store.
func NewOffsets() *Offsets { return &Offsets{next: map[int]int64{}, epoch: map[int]int64{}} }

var errFenced = errors.New("another consumer has the partition")

func (o *Offsets) assign(partition int) (next, epoch int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.epoch[partition]++
	return o.next[partition], o.epoch[partition]
}

func (o *Offsets) commit(partition int, epoch, next int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.epoch[partition] != epoch {
		return errFenced
	}
	o.next[partition] = next
	return nil
}

// Set makes a partition begin at an offset.
func (o *Offsets) Set(partition int, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next[partition] = next
}

// NewRecorder makes a Recorder that starts where store says.
func NewRecorder(t testing.TB, store *Offsets) *Recorder {
	return &Recorder{
		t: t, store: store, epoch: map[int]int64{}, next: map[int]int64{}, got: map[int][]Record{}, changed: make(chan struct{}),
	}
}

// OnBatch makes f decide about every batch before it counts.
func (r *Recorder) OnBatch(f func(partition int, recs []record.Entry) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onBatch = f
}

// OnAssign makes f decide about every assignment.
func (r *Recorder) OnAssign(f func(partition int) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onAssign = f
}

// Assigned is eventlog.Consumer's.
func (r *Recorder) Assigned(_ context.Context, partition int) (int64, error) {
	next, epoch := r.store.assign(partition)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch[partition] != 0 {
		r.t.Errorf("partition %d: assigned twice without being revoked", partition)
	}
	r.epoch[partition], r.next[partition] = epoch, next
	var err error
	if r.onAssign != nil {
		err = r.onAssign(partition)
	}
	r.note(Call{Kind: "assigned", Partition: partition, Next: next, Failed: err != nil})
	return next, err
}

// Batch is eventlog.Consumer's.
func (r *Recorder) Batch(_ context.Context, partition int, recs []record.Entry, atEnd bool) error {
	r.mu.Lock()
	hook := r.onBatch
	epoch := r.epoch[partition]
	next := r.next[partition]
	r.mu.Unlock()
	if epoch == 0 {
		r.t.Errorf("partition %d: a batch without an assignment", partition)
	}
	for _, e := range recs {
		if e.Offset != next {
			r.t.Errorf("partition %d: offset %d instead of %d", partition, e.Offset, next)
		}
		next = e.Offset + 1
	}
	var err error
	if hook != nil {
		err = hook(partition, recs)
	}
	if err == nil && len(recs) > 0 {
		err = r.store.commit(partition, epoch, next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.next[partition] = next
		for _, e := range recs {
			r.got[partition] = append(r.got[partition], Record{e.Offset, string(e.Value)})
		}
	}
	r.note(Call{Kind: "batch", Partition: partition, Records: len(recs), AtEnd: atEnd, Next: next, Failed: err != nil})
	return err
}

// Revoked is eventlog.Consumer's.
func (r *Recorder) Revoked(partition int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch[partition] == 0 {
		r.t.Errorf("partition %d: revoked without an assignment", partition)
	}
	r.epoch[partition] = 0
	r.note(Call{Kind: "revoked", Partition: partition})
}

// Lost is eventlog.LossObserver's.
func (r *Recorder) Lost(partition int, err error, next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, err)
	r.next[partition] = next
	r.note(Call{Kind: "lost", Partition: partition, Next: next})
}

func (r *Recorder) note(c Call) {
	c.At = time.Now()
	r.calls = append(r.calls, c)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Calls returns the calls so far.
func (r *Recorder) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Losses returns what the Recorder was told of missing records.
func (r *Recorder) Losses() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lost)
}

// Got returns what was committed of a partition, in order.
func (r *Recorder) Got(partition int) []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[partition])
}

// Owned returns the partitions that are assigned now.
func (r *Recorder) Owned() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ps []int
	for p, e := range r.epoch {
		if e != 0 {
			ps = append(ps, p)
		}
	}
	slices.Sort(ps)
	return ps
}

// Await waits until cond holds. cond is called without locks held.
func (r *Recorder) Await(what string, cond func() bool) {
	r.t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-limit:
			r.t.Fatalf("waited %v for %s; %s", patience, what, r.summary())
		}
	}
}

func (r *Recorder) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s strings.Builder
	s.WriteString("the last calls:")
	for _, c := range r.calls[max(0, len(r.calls)-10):] {
		_, _ = fmt.Fprintf(&s, "\n  %+v", c)
	}
	return s.String()
}

// AwaitCount waits until n records of a partition were committed.
func (r *Recorder) AwaitCount(partition, n int) {
	r.t.Helper()
	r.Await(fmt.Sprintf("%d records of partition %d", n, partition), func() bool { return len(r.Got(partition)) >= n })
}

// Consume runs l.Consume until the returned function is called, which waits for its end.
func Consume(t testing.TB, l eventlog.Log, group string, c eventlog.Consumer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Consume(ctx, group, c) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Consume returned %v", err)
				}
			case <-time.After(patience):
				t.Error("Consume does not return")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}
