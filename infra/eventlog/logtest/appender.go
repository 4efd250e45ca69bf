package logtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Ping makes an unstamped record that carries n.
func Ping(n uint64) []byte {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], n)
	return record.AppendPing(make([]byte, 0, 160), &record.Ping{
		ID: id, Monitor: uuid.UUID{1}, Kind: record.Success, ExitCode: record.NoExitCode, Duration: record.NoDuration,
		RemoteAddr: "192.0.2.1", UserAgent: "curl/8.5.0", Method: "GET",
	})
}

// Number is the n of a record made by Ping; 0 of any other record.
func Number(rec []byte) uint64 {
	p, err := record.ParsePing(rec)
	if err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(p.ID[8:])
}

// testAppender lets many callers append at once, some of them several records, while markers go on.
func testAppender(t *testing.T, k Kind) {
	topic := k.New(t, 2)
	l := open(t, topic)
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{MarkerInterval: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()

	const callers, each = 64, 20
	type answer struct {
		at    time.Time
		order int // of the caller
	}
	answers := make([]answer, callers*each*3+1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				n := uint64(c*each*3 + i*3 + 1)
				recs := [][]byte{Ping(n)}
				var at time.Time
				var err error
				if i%4 == 3 {
					recs = append(recs, Ping(n+1), Ping(n+2))
					at, err = a.AppendAll(context.Background(), c%2, recs)
				} else {
					at, err = a.Append(context.Background(), c%2, recs[0])
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for j := range recs {
					answers[n+uint64(j)] = answer{at, i}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}

	r := NewRecorder(t, NewOffsets())
	Consume(t, l, topic.Group+"appender", r)
	seen := map[uint64]int{}
	for p := range 2 {
		end, err := l.End(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		r.AwaitCount(p, int(end))
		for n := range checkStamps(t, p, a.ID(), r.Got(p)) {
			seen[n]++
		}
		for _, rec := range r.Got(p) {
			h, _ := record.ParseHeader([]byte(rec.Value))
			if n := Number([]byte(rec.Value)); n > 0 && !answers[n].at.Equal(h.At) {
				t.Errorf("record %d: stamped %v, answered %v", n, h.At, answers[n].at)
			}
		}
	}
	for n, a := range answers {
		if want := 1; !a.at.IsZero() && seen[uint64(n)] != want {
			t.Errorf("record %d is %d times in the log", n, seen[uint64(n)])
		}
	}
}

// checkStamps checks that a partition written by one appender without failures begins with a marker, ends with a closing
// one, and never goes back. It returns the numbers of its pings.
func checkStamps(t *testing.T, partition int, appender uint64, recs []Record) map[uint64]bool {
	t.Helper()
	numbers := map[uint64]bool{}
	var last record.Header
	for i, rec := range recs {
		h, err := record.ParseHeader([]byte(rec.Value))
		if err != nil {
			t.Fatal(err)
		}
		if h.Appender != appender || h.Seq != uint64(i+1) || h.At.Before(last.At) {
			t.Fatalf("partition %d, record %d: %+v after %+v", partition, i, h, last)
		}
		last = h
		if h.Type == record.TypePing {
			numbers[Number([]byte(rec.Value))] = true
			continue
		}
		m, err := record.ParseMarker([]byte(rec.Value))
		if err != nil {
			t.Fatal(err)
		}
		if m.Closing != (i == len(recs)-1) {
			t.Errorf("partition %d, record %d of %d: closing is %v", partition, i, len(recs), m.Closing)
		}
	}
	if last.Type != record.TypeMarker {
		t.Errorf("partition %d: no closing marker", partition)
	}
	return numbers
}

// testShare: two members of a group share the partitions, one leaves, another comes; nothing is lost or comes twice.
func testShare(t *testing.T, k Kind) {
	if !k.Shared {
		t.Skip("one process has it alone")
	}
	const partitions = 4
	topic := k.New(t, partitions)
	l1, l2 := open(t, topic), open(t, topic)
	store := NewOffsets()
	want := make([][]string, partitions)
	write := func(n int) {
		for p := range partitions {
			vs := numbered(p, len(want[p]), n)
			put(t, l1, p, vs...)
			want[p] = append(want[p], vs...)
		}
	}
	write(50)
	a, b, c := NewRecorder(t, store), NewRecorder(t, store), NewRecorder(t, store)
	Consume(t, l1, topic.Group+"share", a)
	a.Await("all partitions", func() bool { return len(a.Owned()) == partitions })
	stopB := Consume(t, l2, topic.Group+"share", b)
	half := func(r *Recorder) func() bool { return func() bool { return len(r.Owned()) == partitions/2 } }
	b.Await("half of the partitions", half(b))
	a.Await("half of the partitions", half(a))
	if both := slices.Concat(a.Owned(), b.Owned()); !disjoint(both) {
		t.Errorf("assigned: %v and %v", a.Owned(), b.Owned())
	}
	write(50)
	for _, p := range a.Owned() { // a partition that stays is not handed over anew
		if n := assignments(a, p); n != 1 {
			t.Errorf("partition %d stayed and was assigned %d times", p, n)
		}
	}
	stopB()
	a.Await("all partitions again", func() bool { return len(a.Owned()) == partitions })
	write(50)
	Consume(t, l2, topic.Group+"share", c)
	c.Await("half of the partitions", half(c))
	write(50)
	for p := range partitions {
		var got []Record
		collect := func() bool {
			got = slices.Concat(a.Got(p), b.Got(p), c.Got(p))
			return len(got) >= len(want[p])
		}
		a.Await(fmt.Sprintf("everything of partition %d", p), collect)
		slices.SortFunc(got, func(x, y Record) int { return int(x.Offset - y.Offset) })
		if !slices.Equal(got, records(0, want[p])) {
			t.Errorf("partition %d: lost or doubled: %d records instead of %d", p, len(got), len(want[p]))
		}
	}
}

func disjoint(ps []int) bool {
	slices.Sort(ps)
	return len(slices.Compact(ps)) == len(ps)
}

func assignments(r *Recorder, partition int) int {
	n := 0
	for _, c := range r.Calls() {
		if c.Kind == "assigned" && c.Partition == partition {
			n++
		}
	}
	return n
}

// testFenced: a member that hangs in Batch while its partition goes to another may finish the batch, but not commit it.
func testFenced(t *testing.T, k Kind) {
	if !k.Shared {
		t.Skip("one process has it alone")
	}
	topic := k.New(t, 2)
	l1, l2 := open(t, topic), open(t, topic)
	store := NewOffsets()
	a, b := NewRecorder(t, store), NewRecorder(t, store)
	hung, release := make(chan int, 2), make(chan struct{})
	var once sync.Map
	a.OnBatch(func(p int, recs []record.Entry) error {
		if _, loaded := once.LoadOrStore(p, true); len(recs) > 0 && !loaded {
			hung <- p
			<-release
		}
		return nil
	})
	for p := range 2 {
		put(t, l1, p, numbered(p, 0, 5)...)
	}
	once.Clear()
	Consume(t, l1, topic.Group+"fenced", a)
	<-hung
	<-hung
	Consume(t, l2, topic.Group+"fenced", b)
	b.Await("one partition", func() bool { return len(b.Owned()) == 1 })
	p := b.Owned()[0]
	b.AwaitCount(p, 5)
	close(release)
	a.Await("the other partition", func() bool { return len(a.Owned()) == 1 && len(a.Got(1-p)) == 5 })
	if n := len(a.Got(p)); n > 0 {
		t.Errorf("a member that had lost partition %d committed %d records of it", p, n)
	}
	if !slices.Equal(b.Got(p), records(0, numbered(p, 0, 5))) {
		t.Errorf("the new owner got %v", b.Got(p))
	}
}
